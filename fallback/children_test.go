package fallback_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// place writes a batch whose places name these runs; a zero one leaves its place free.
func (w *world) place(env, batch string, ids ...run.ID) {
	w.t.Helper()
	if _, err := w.rows.CreateBatch(w.t.Context(), runstore.NewBatch{Environment: env, ID: batch, Items: len(ids)}); err != nil {
		w.t.Fatal(err)
	}
	var places []runstore.Place
	for i, id := range ids {
		if !id.IsZero() {
			places = append(places, runstore.Place{Index: i, Run: id})
		}
	}
	if _, err := w.rows.PlaceBatch(w.t.Context(), env, batch, places); err != nil {
		w.t.Fatal(err)
	}
}

// The runs of a batch are found by its places: whatever else is in the buffer is not
// looked at. They are listed in pages, in both directions, wherever they are.
func TestListOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	var ids []run.ID
	var want []string
	for i := range 12 {
		m := w.accept(env, run.Trigger{BatchItem: run.BatchItem{Batch: "batch_l", Index: i}})
		if i < 11 { // one that is queued is in the way of the next one's lease
			m.to([]stage{leased, settled, gone}[i%3])
		}
		ids, want = append(ids, m.id), append(want, m.id.String())
	}
	slices.Sort(want)                               // within a millisecond ids tie
	w.place(env, "batch_l", append(ids, ids[0])...) // an item that has the run of another
	if _, err := w.reader.Cancel(t.Context(), env, ids[1], ""); err != nil {
		t.Fatal(err)
	}
	w.hooks.set(down("entries.list"))
	for _, up := range []bool{false, true} {
		runs := all(t, w, env, runstore.Filter{Batch: "batch_l"}, 5, up)
		got := idsOf(runs)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("up %v: %v, want %v", up, got, want)
		}
	}
	if runs := all(t, w, env, runstore.Filter{Batch: "batch_l", Statuses: []run.Status{run.Canceled}}, 5, false); len(runs) != 1 || runs[0].ID != ids[1] {
		t.Errorf("cancelled: %v", idsOf(runs))
	}
	for _, other := range []string{"batch_none", "batch_1"} {
		if runs := all(t, w, env, runstore.Filter{Batch: other}, 5, false); len(runs) != 0 {
			t.Errorf("%s: %v", other, idsOf(runs))
		}
	}
	page, err := w.reader.List(t.Context(), w.env(), runstore.Filter{Batch: "batch_l"}, runstore.Page{Limit: 5})
	if err != nil || len(page.Runs) != 0 || page.Partial {
		t.Errorf("of another environment: %+v, %v", page, err)
	}
}

// The children of a run, by any of its names, wherever they are; none twice, none of
// another parent or environment.
func TestChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	parent, stranger := w.settle(env, run.Trigger{IdempotencyKey: "k"}), w.settle(env, run.Trigger{})
	alias := w.accept(env, run.Trigger{IdempotencyKey: "k"})
	alias.to(gone)
	var want []string
	for _, s := range []stage{gone, acked, settled, leased, queued} {
		m := w.accept(env, run.Trigger{ParentRun: parent, Tags: []string{s.String()}, Payload: []byte("1"), Metadata: []byte(`{"a":1}`)})
		m.to(s)
		want = append(want, m.id.String())
		if s == settled || s == leased {
			if _, _, err := w.reader.AddTags(t.Context(), env, m.id, []string{"late"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want = append(want, w.settle(env, run.Trigger{ParentRun: alias.id}).String())
	w.settle(env, run.Trigger{ParentRun: stranger})
	w.accept(env, run.Trigger{ParentRun: stranger})
	w.accept(w.env(), run.Trigger{ParentRun: parent})
	child := w.settle(env, run.Trigger{ParentRun: stranger, IdempotencyKey: "child"})
	other := w.accept(env, run.Trigger{ParentRun: parent, IdempotencyKey: "child"})
	slices.Sort(want) // by id, which ties within a millisecond too
	slices.Reverse(want)
	got, partial, err := w.reader.Children(t.Context(), env, parent, alias.id)
	if err != nil || partial {
		t.Fatalf("partial %v, %v", partial, err)
	}
	if ids := idsOf(got); !slices.Equal(ids[1:], want) || ids[0] != other.id.String() {
		t.Errorf("%v, want %v after %v, which is going to be another name of %v", ids, want, other.id, child)
	}
	for _, r := range got[1:] {
		if r.Depth != 1 || r.RootRun != parent || (len(r.Trigger.Metadata) > 0) != (len(r.Trigger.Tags) > 0) {
			t.Errorf("%+v", r)
		}
		stage := slices.Concat(r.Trigger.Tags, []string{""})[0]
		if late := slices.Contains(r.Trigger.Tags, "late"); late != (stage == "settled" || stage == "leased") {
			t.Errorf("%s: tags %v", stage, r.Trigger.Tags)
		}
	}
	w.hooks.set(down("entries"))
	if got, partial, err := w.reader.Children(t.Context(), env, parent); err != nil || !partial || len(got) != 3 {
		t.Errorf("without the buffer: %d, partial %v, %v", len(got), partial, err)
	}
	w.hooks.set(down("rows"))
	if _, _, err := w.reader.Children(t.Context(), env, parent); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("without Postgres: %v", err)
	}
}
