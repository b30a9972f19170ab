package fallback_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// family is a run, its child and its grandchild, each triggered into the buffer
// or into Postgres, as its bit says.
type family struct {
	ids    [3]run.ID
	moving [3]*moving // nil for those in Postgres
}

func (w *world) family(env string, buffered int) (f family) {
	w.t.Helper()
	for i := range f.ids {
		var t run.Trigger
		if i > 0 {
			t.ParentRun = f.ids[i-1]
		}
		s := w.snapshot(env, t)
		s.ID = run.MintID(time.Now(), i) // a queue of its own
		f.ids[i] = s.ID
		if i > 0 {
			s.Lineage = w.reader.Lineages(w.t.Context(), env, []run.ID{t.ParentRun})[t.ParentRun]
		}
		if buffered&(1<<i) == 0 {
			if got := w.rows.Settle(w.t.Context(), []runstore.Settlement{{Snapshot: s}})[0]; got.Err != nil {
				w.t.Fatal(got.Err)
			}
			continue
		}
		if got := w.buffer.Accept(w.t.Context(), []buffer.Acceptance{{Snapshot: s, CheckSkipped: true}})[0]; got.State != buffer.AcceptedNew {
			w.t.Fatalf("accept: %v, %v", got.State, got.Err)
		}
		f.moving[i] = &moving{w: w, env: env, id: s.ID}
	}
	return f
}

func (w *world) wantLineage(env string, f family, when string) {
	w.t.Helper()
	many, err := w.reader.Runs(w.t.Context(), env, f.ids[:])
	if err != nil {
		w.t.Fatal(err)
	}
	listed := map[run.ID]run.Run{}
	page := must(w.reader.List(w.t.Context(), env, runstore.Filter{}, runstore.Page{Limit: 10}))
	for _, r := range page.Runs {
		listed[r.ID] = r
	}
	for depth, id := range f.ids {
		var root, parent run.ID
		if depth > 0 {
			root, parent = f.ids[0], f.ids[depth-1]
		}
		for how, r := range map[string]run.Run{"one": must(w.reader.Run(w.t.Context(), env, id)), "many": many[id], "listed": listed[id]} {
			if r.Depth != depth || r.RootRun != root || r.Trigger.ParentRun != parent {
				w.t.Errorf("%s, %s: depth %d, root %v, parent %v; want %d, %v, %v", when, how, r.Depth, r.RootRun, r.Trigger.ParentRun, depth, root, parent)
			}
		}
	}
}

// A grandchild has its root and its depth wherever its ancestors are when it is
// triggered, and in whatever order the drain writes them.
func TestLineage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for buffered := range 8 {
		for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			env := w.env()
			f := w.family(env, buffered)
			w.wantLineage(env, f, fmt.Sprintf("%03b, triggered", buffered))
			for n, i := range order {
				if f.moving[i] != nil {
					f.moving[i].to(gone)
				}
				w.wantLineage(env, f, fmt.Sprintf("%03b, %v drained", buffered, order[:n+1]))
			}
		}
	}
}

// A parent whose own run turns out to be another name of one that Postgres had
// gives its children that one's root, and so does one that has been drained and not
// yet forgotten.
func TestLineageBelowAnAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	root := w.settle(env, run.Trigger{})
	holder := w.settle(env, run.Trigger{ParentRun: root, IdempotencyKey: "k"})
	alias := w.accept(env, run.Trigger{IdempotencyKey: "k"})
	alias.to(acked)
	if got := w.reader.Lineages(t.Context(), env, []run.ID{alias.id}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	m := w.accept(env, run.Trigger{ParentRun: alias.id})
	for _, s := range []stage{queued, gone} {
		m.to(s)
		if r := read(t, w, env, m.id); r.Depth != 2 || r.RootRun != root || r.Trigger.ParentRun != alias.id {
			t.Errorf("%v: depth %d, root %v; the parent is %v, of %v", s, r.Depth, r.RootRun, alias.id, holder)
		}
	}
}

// Without Redis a trigger goes on with what it knows.
func TestLineageWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	w.hooks.set(down("entries"))
	if got := w.reader.Lineages(t.Context(), env, []run.ID{run.MintID(time.Now(), 0)}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
