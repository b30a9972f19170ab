//go:build unix

package mollifiertest

import (
	"context"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// Reader reads runs. *mollifier.Engine is one, and so is a [Node].
type Reader interface {
	Run(ctx context.Context, environment string, id run.ID) (run.Run, error)
}

// RequireBuffered fails the test unless all results were answered by the buffer.
func RequireBuffered(t testing.TB, results ...run.Result) {
	t.Helper()
	for i, r := range results {
		if r.State() != run.Buffered {
			t.Fatalf("mollifiertest: result %d, %s, is %s, not %s", i, r.ID(), r.State(), run.Buffered)
		}
	}
}

// RequireOneRun fails the test unless all results stand for one run, which exactly one of
// them made, and the run can be read by each of their ids. It returns the run.
func RequireOneRun(t testing.TB, reader Reader, environment string, results ...run.Result) run.Run {
	t.Helper()
	if len(results) == 0 {
		t.Fatal("mollifiertest: no results")
	}
	var one run.Run
	made := 0
	for i, r := range results {
		found, err := reader.Run(t.Context(), environment, r.ID())
		switch {
		case err != nil:
			t.Fatalf("mollifiertest: result %d, %s: %v", i, r.ID(), err)
		case i == 0:
			one = found
		case found.Canonical != one.Canonical:
			t.Fatalf("mollifiertest: result %d is %s, and result 0 %s: two runs", i, found.Canonical, one.Canonical)
		}
		if !r.Cached() {
			made++
		}
	}
	if made != 1 {
		t.Fatalf("mollifiertest: %d results say that they made the run %s, not one", made, one.Canonical)
	}
	return one
}
