package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSimulate(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(trace, []byte("time,bytes\n0,1\n0,many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	simulate := func(args ...string) (code int, stdout, stderr string) {
		var out, errs strings.Builder
		code = execute(t.Context(), append([]string{"simulate"}, args...), nil, &out, &errs)
		return code, out.String(), errs.String()
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-burst", "1000"}, exitOK, "passed          100"},
		{[]string{"-burst", "1000", "-gate-threshold", "300"}, exitOK, "runs in the buffer"},
		{[]string{"-h"}, exitOK, "-postgres-rows-per-second"},
		{nil, exitUsage, "give -rate, -burst or -trace"},
		{[]string{"-burst", "1", "-hot", "2"}, exitUsage, "-hot: "},
		{[]string{"-burst", "1", "-buffer-entries", "0"}, exitUsage, "-buffer-entries: "},
		{[]string{"-burst", "1", "-postgres-rows-per-second", "0"}, exitUsage, "-postgres-rows-per-second: "},
		{[]string{"-burst", "1", "-trace", trace}, exitUsage, "-trace: give it or"},
		{[]string{"-trace", trace}, exitFailure, "line 3: bytes: must be"},
		{[]string{"-trace", trace + ".no"}, exitUsage, "-trace: "},
	} {
		code, stdout, stderr := simulate(c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
	code, stdout, _ := simulate("-burst", "1000", "-json")
	var got simulationJSON
	if err := json.Unmarshal([]byte(stdout), &got); code != exitOK || err != nil || got.Passed != 100 || got.Mollified != 900 || got.EmptyAfterMs == 0 {
		t.Errorf("%d, %v: %+v", code, err, got)
	}
}
