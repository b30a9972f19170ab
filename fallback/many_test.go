package fallback_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Many runs at once are read as one by one, wherever each of them is, whole and
// in outline, and before and after a change.
func TestManyAreReadAsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	outlines := fallback.New(fallback.Config{Rows: runstore.Outlines{Store: w.rows}, Entries: w.buffer})
	env := w.env()
	ids := make([]run.ID, 0, len(states))
	for _, s := range states {
		ids = append(ids, s.make(w, env+s.name, run.Trigger{Payload: []byte("p"), Tags: []string{"a"}, Metadata: []byte(`{}`), Context: []byte(`1`)}).id)
	}
	check := func() {
		t.Helper()
		for i, s := range states {
			one, err := w.reader.Run(t.Context(), env+s.name, ids[i])
			if err != nil {
				t.Fatal(s.name, err)
			}
			many, err := w.reader.Runs(t.Context(), env+s.name, ids) // the others are of other environments
			if err != nil || len(many) != 1 {
				t.Fatalf("%s: %d runs, %v", s.name, len(many), err)
			}
			if diff := cmp.Diff(one, many[ids[i]], cmp.AllowUnexported(run.ID{})); diff != "" {
				t.Errorf("%s: %s", s.name, diff)
			}
			outline, err := outlines.Runs(t.Context(), env+s.name, ids[i:i+1])
			if err != nil {
				t.Fatal(s.name, err)
			}
			bytes := cmpopts.IgnoreFields(run.Trigger{}, "Payload", "Metadata", "Context")
			if diff := cmp.Diff(one, outline[ids[i]], bytes, cmpopts.IgnoreFields(run.Run{}, "Error"), cmp.AllowUnexported(run.ID{})); diff != "" {
				t.Errorf("%s, in outline: %s", s.name, diff)
			}
		}
	}
	check()
	for i, s := range states {
		if _, err := w.reader.Cancel(t.Context(), env+s.name, ids[i], "enough"); err != nil {
			t.Fatal(s.name, err)
		}
	}
	check()
}

// A run that moves between the two looks is found; one that is nowhere is not in
// the answer; and what nobody could read is an error, beside what was read.
func TestManyWhileTheyMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	moving := w.accept(env, run.Trigger{})
	w.hooks.set(func(call string) error {
		if call == "entries.get" {
			w.hooks.set(nil)
			moving.to(gone)
		}
		return nil
	})
	nowhere, err := run.ParseID("run_nowhere")
	if err != nil {
		t.Fatal(err)
	}
	found, err := w.reader.Runs(t.Context(), env, []run.ID{moving.id, nowhere})
	if _, ok := found[moving.id]; err != nil || !ok || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	waiting, settled := w.accept(env, run.Trigger{}), w.settle(env, run.Trigger{})
	w.hooks.set(down("rows"))
	found, err = w.reader.Runs(t.Context(), env, []run.ID{waiting.id, settled})
	if _, ok := found[waiting.id]; !errors.Is(err, run.ErrUnavailable) || !ok || len(found) != 1 {
		t.Errorf("without Postgres: %v, %v", found, err)
	}
	w.hooks.set(down("entries"))
	found, err = w.reader.Runs(t.Context(), env, []run.ID{waiting.id, settled})
	if _, ok := found[settled]; !errors.Is(err, run.ErrUnavailable) || !ok || len(found) != 1 {
		t.Errorf("without Redis: %v, %v", found, err)
	}
}

// A run that nothing happened to is the same after it was drained: nobody who
// watches it is told of anything.
func TestMovingIsNoChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	m := w.accept(env, run.Trigger{})
	before, err := w.reader.Run(t.Context(), env, m.id)
	if err != nil {
		t.Fatal(err)
	}
	m.to(gone)
	after, err := w.reader.Run(t.Context(), env, m.id)
	if err != nil {
		t.Fatal(err)
	}
	if before.Status != after.Status || !before.UpdatedAt.Equal(after.UpdatedAt) {
		t.Errorf("%s %s became %s %s", before.Status, before.UpdatedAt, after.Status, after.UpdatedAt)
	}
}

// What one look at many followed runs costs: 500 are read in outline, from
// Postgres and from Redis, where they no longer are.
func BenchmarkOutlines(b *testing.B) {
	w := newWorld(b)
	outlines := fallback.New(fallback.Config{Rows: runstore.Outlines{Store: w.rows}, Entries: w.buffer})
	env := w.env()
	ids := make([]run.ID, 500)
	for i := range ids {
		ids[i] = w.settle(env, run.Trigger{Payload: make([]byte, 1000)})
	}
	for b.Loop() {
		if found, err := outlines.Runs(b.Context(), env, ids); err != nil || len(found) != len(ids) {
			b.Fatal(len(found), err)
		}
	}
}
