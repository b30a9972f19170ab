package bench_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Every benchmark runs once with the tests, in a process of its own because that
// is how benchmarks are chosen, and prints its figures.
func TestEveryBenchmarkRuns(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.short").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		if name, figures, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "Benchmark") {
			load, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, "Benchmark"), "-2"), "/")
			lines[load] = append(lines[load], figures)
		}
	}
	for load, want := range map[string]struct {
		loads int
		unit  string
	}{
		"HotKeyInMemory": {4, "p99-ms"}, "HotKey": {4, "redis-calls/trigger"}, "Burst": {2, "redis-calls/trigger"},
		"PassThrough": {12, "redis-calls/trigger"}, "Mollified": {24, "redis-calls/trigger"}, "Off": {3, "p99-ms"},
		"Bulk": {1, "triggers/s"}, "Mixed": {1, "cpu-us/trigger"}, "LoneTrigger": {6, "p50-ms"},
		"Drain": {1, "entries/s"}, "Read": {4, "p99-ms"}, "HTTP": {6, "p99-ms"},
		"Shards": {4, "triggers/s"}, "Environments": {4, "triggers/s"}, "Nodes": {3, "triggers/s"}, "Memory": {1, "B/key"},
	} {
		n := 0
		for _, figures := range lines[load] {
			if strings.Contains(figures, " "+want.unit) {
				n++
			}
		}
		if n != want.loads {
			t.Errorf("%s: %s of %d loads, want %d", load, want.unit, n, want.loads)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
