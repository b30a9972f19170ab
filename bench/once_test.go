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
	out, err := exec.CommandContext(t.Context(), program, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, figures, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "Benchmark") {
			load, _, _ := strings.Cut(strings.TrimPrefix(name, "Benchmark"), "/")
			lines[load] += figures
		}
	}
	for load, loads := range map[string]int{"HotKey": 4, "DistinctKeys": 6, "NoKeys": 3, "LoneTrigger": 4} {
		for _, figure := range [][]string{{" triggers/s", " writes/s"}, {" p50-ms"}, {" p99-ms"}} {
			n := 0
			for _, unit := range figure {
				n += strings.Count(lines[load], unit)
			}
			if n != loads {
				t.Errorf("%s: %v of %d loads, want %d", load, figure, n, loads)
			}
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
