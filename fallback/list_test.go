package fallback_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// all follows a list to its end, in either direction, newest first.
func all(t *testing.T, w *world, env string, f runstore.Filter, limit int, up bool) (list []run.Run) {
	t.Helper()
	p := runstore.Page{Limit: limit}
	if up {
		p.Before = must(run.ParseID("a")) // below every id
	}
	for range 1000 {
		page, err := w.reader.List(t.Context(), env, f, p)
		if err != nil || page.Partial || len(page.Runs) > limit {
			t.Fatalf("%d of %d, partial %v: %v", len(page.Runs), limit, page.Partial, err)
		}
		if up {
			list = append(slices.Clone(page.Runs), list...)
			p.Before = page.Previous
		} else {
			list = append(list, page.Runs...)
			p.After = page.Next
		}
		if up && p.Before.IsZero() || !up && p.After.IsZero() {
			return list
		}
	}
	t.Fatal("a list without end")
	return nil
}

func idsOf(list []run.Run) []string {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID.String()
	}
	return ids
}

func descending(ids []string) []string {
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids
}

// Case 84: one list of both stores, in one order, whatever is where, on pages of
// any size, in both directions; each run as a read of it answers it.
func TestListOfBothStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	var want []string
	for i := range 4 {
		for s := leased; s <= gone; s++ {
			m := w.accept(env, run.Trigger{Tags: []string{fmt.Sprint(i)}})
			m.to(s)
			want = append(want, m.id.String())
		}
		want = append(want, w.settle(env, run.Trigger{}).String())
	}
	aliased(acked, settled)(w, env, run.Trigger{})
	for range 3 { // nobody leases after this
		want = append(want, w.accept(env, run.Trigger{}).id.String())
	}
	whole := all(t, w, env, runstore.Filter{}, 100, false)
	want = descending(append(want, stranger(whole, want).String()))
	if got := idsOf(whole); !slices.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
	for _, limit := range []int{1, 2, 7, 100} {
		for _, up := range []bool{false, true} {
			got := all(t, w, env, runstore.Filter{}, limit, up)
			if !slices.Equal(idsOf(got), want) {
				t.Errorf("limit %d up %v: got %v\nwant %v", limit, up, idsOf(got), want)
			}
			for i := range got {
				one := read(t, w, env, got[i].ID)
				if diff := cmp.Diff(one, got[i], comparable); diff != "" {
					t.Errorf("in the list: %s", diff)
				}
			}
		}
	}
	if got := all(t, w, w.env(), runstore.Filter{}, 10, false); len(got) != 0 {
		t.Errorf("another environment: %v", idsOf(got))
	}
}

// stranger is the run of a list that is not among those known: the one behind the alias.
func stranger(list []run.Run, known []string) run.ID {
	for _, r := range list {
		if !slices.Contains(known, r.ID.String()) {
			return r.ID
		}
	}
	return run.ID{}
}

// A run that moves between the calls of a list, in every way that it can, is in
// it once.
func TestListWhileARunMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for from := queued; from <= gone; from++ {
		for _, path := range paths(from, 4) {
			env := w.env()
			first := w.settle(env, run.Trigger{})
			m := w.accept(env, run.Trigger{})
			last := w.settle(env, run.Trigger{})
			m.to(from)
			calls := 0
			w.hooks.set(func(string) error {
				if calls < len(path) {
					m.to(path[calls])
					calls++
				}
				return nil
			})
			page, err := w.reader.List(t.Context(), env, runstore.Filter{Statuses: []run.Status{run.Queued}}, runstore.Page{Limit: 3})
			w.hooks.set(nil)
			want := descending([]string{first.String(), m.id.String(), last.String()})
			if err != nil || !slices.Equal(idsOf(page.Runs), want) || !page.Next.IsZero() {
				t.Errorf("path %v: %v, next %v, want %v (%v)", path, idsOf(page.Runs), page.Next, want, err)
			}
		}
	}
}

// A filter means the same for a buffered run as for its row.
func TestFiltersMeanTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	yes, no := true, false
	old := run.Trigger{Task: "old", Queue: "q1", Tags: []string{"a", "b"}, Machine: "micro", Region: "eu", LockToVersion: "1"}
	other := run.Trigger{
		Task: "other", Queue: "q2", Tags: []string{"b", "c"}, Machine: "small-1x", Region: "us", LockToVersion: "2", Test: true,
		BatchItem: run.BatchItem{Batch: "batch_1", Index: 1}, BulkAction: "bulk", DelayUntil: time.Now().Add(time.Hour),
	}
	var (
		list  []*moving
		named = map[string]string{}
	)
	add := func(name string, t run.Trigger) *moving {
		m := w.accept(env, t)
		list, named[m.id.String()] = append(list, m), name
		return m
	}
	add("old", old)
	add("other", other)
	add("bare", run.Trigger{})
	cancelled := add("cancelled", old)
	if _, err := w.reader.Cancel(t.Context(), env, cancelled.id, ""); err != nil {
		t.Fatal(err)
	}
	tagged := add("tagged", run.Trigger{})
	if _, _, err := w.reader.AddTags(t.Context(), env, tagged.id, []string{"late"}); err != nil {
		t.Fatal(err)
	}
	for id, name := range named {
		if name == "other" {
			w.place(env, "batch_1", run.ID{}, must(run.ParseID(id)))
		}
	}
	middle := read(t, w, env, tagged.id).CreatedAt
	filters := []struct {
		f    runstore.Filter
		want []string
	}{
		{runstore.Filter{}, []string{"bare", "cancelled", "old", "other", "tagged"}},
		{runstore.Filter{Statuses: []run.Status{run.Queued}}, []string{"bare", "old", "tagged"}},
		{runstore.Filter{Statuses: []run.Status{run.Delayed, run.Canceled}}, []string{"cancelled", "other"}},
		{runstore.Filter{Statuses: []run.Status{run.Completed}}, nil},
		{runstore.Filter{Tasks: []string{"old", "nobody"}}, []string{"cancelled", "old"}},
		{runstore.Filter{Versions: []string{"2"}}, []string{"other"}},
		{runstore.Filter{Tags: []string{"a", "c"}}, []string{"cancelled", "old", "other"}},
		{runstore.Filter{Tags: []string{"late"}}, []string{"tagged"}},
		{runstore.Filter{Regions: []string{"eu"}}, []string{"cancelled", "old"}},
		{runstore.Filter{Queues: []string{"task/task", "q2"}}, []string{"bare", "other", "tagged"}},
		{runstore.Filter{Machines: []string{"micro"}}, []string{"cancelled", "old"}},
		{runstore.Filter{Test: &yes}, []string{"other"}},
		{runstore.Filter{Test: &no, Tasks: []string{"other"}}, nil},
		{runstore.Filter{Batch: "batch_1"}, []string{"other"}},
		{runstore.Filter{BulkAction: "bulk"}, []string{"other"}},
		{runstore.Filter{From: middle}, []string{"tagged"}},
		{runstore.Filter{From: middle, To: middle}, []string{"tagged"}},
		{runstore.Filter{From: middle.Add(time.Microsecond)}, nil},
		{runstore.Filter{To: middle.Add(-time.Microsecond)}, []string{"bare", "cancelled", "old", "other"}},
	}
	check := func(when string) {
		for _, c := range filters {
			var got []string
			for _, r := range all(t, w, env, c.f, 2, false) {
				got = append(got, named[r.ID.String()])
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, %+v: got %v, want %v", when, c.f, got, c.want)
			}
		}
	}
	check("buffered")
	drain(list, settled)
	check("settled")
	drain(list, gone)
	check("materialised")
}

// drain moves runs of one environment on together, the oldest lease first.
func drain(list []*moving, s stage) {
	byPartition := map[int][]*moving{}
	for _, m := range list {
		p, _ := m.id.Partition()
		byPartition[p] = append(byPartition[p], m)
	}
	for _, group := range byPartition {
		for _, m := range group {
			m.to(s)
		}
	}
}

// A row that a worker has moved on is judged by what it is, also while its entry
// is still there; and one that was cancelled in its entry is cancelled.
func TestFilterOnRunsInBothStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	worked := w.accept(env, run.Trigger{})
	worked.to(settled)
	if _, err := w.rows.Finish(t.Context(), env, worked.id, run.Finish{Status: run.Executing}); err != nil {
		t.Fatal(err)
	}
	stopped := w.accept(env, run.Trigger{})
	stopped.to(settled)
	if _, err := w.reader.Cancel(t.Context(), env, stopped.id, ""); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[run.Status][]string{
		run.Queued: nil, run.Executing: {worked.id.String()}, run.Canceled: {stopped.id.String()},
	} {
		got := idsOf(all(t, w, env, runstore.Filter{Statuses: []run.Status{status}}, 5, false))
		if !slices.Equal(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%s: %v, want %v", status, got, want)
		}
	}
}

// A filter that nothing passes reads so many entries for a page, and no more;
// the list goes on from there and finds what is left.
func TestListOfABigBufferIsBounded(t *testing.T) {
	t.Parallel()
	env := "env"
	big := make(bigBuffer, 0, 2*fallback.MaxScanned+50)
	for i := range cap(big) {
		s := run.NewSnapshot(run.MintID(time.UnixMilli(int64(i)), 0), run.Key{}, run.Hash{}, run.Trigger{Organisation: "org", Environment: env, Task: "task"})
		s.Accept(run.Instant(i + 1))
		big = append(big, s)
	}
	big[0].Trigger.Tags = []string{"rare"} // the oldest
	old := run.Run{ID: must(run.ParseID("run_0")), Trigger: run.Trigger{Tags: []string{"rare"}}}
	gets := 0
	reader := fallback.New(fallback.Config{Rows: oldRow{old: old}, Entries: counted{big, &gets}})
	filter := runstore.Filter{Tags: []string{"rare"}}
	var found []string
	page, calls := runstore.Page{Limit: 1}, 0
	for ; calls == 0 || !page.After.IsZero(); calls++ {
		before := gets
		got, err := reader.List(t.Context(), env, filter, page)
		if err != nil || gets-before > fallback.MaxScanned || got.Next == page.After {
			t.Fatalf("page %d read %d entries, %v", calls, gets-before, err)
		}
		found = append(found, idsOf(got.Runs)...)
		page.After = got.Next
	}
	if want := []string{big[0].ID.String(), "run_0"}; !slices.Equal(found, want) || calls < 3 || calls > 5 {
		t.Errorf("%v in %d pages, want %v", found, calls, want)
	}
}

// bigBuffer is entries in ascending order.
type bigBuffer []run.Snapshot

type counted struct {
	bigBuffer
	gets *int
}

func (c counted) Get(_ context.Context, refs []buffer.Ref) []buffer.Got {
	*c.gets += len(refs)
	got := make([]buffer.Got, len(refs))
	for i, ref := range refs {
		for j := range c.bigBuffer {
			if s := c.bigBuffer[j]; s.ID == ref.ID {
				got[i] = buffer.Got{Found: true, Entry: buffer.Entry{Snapshot: s, Status: buffer.Queued, Now: 1 << 40}}
			}
		}
	}
	return got
}

func (c counted) Patch(context.Context, buffer.Ref, func(*buffer.Entry) (run.Patch, error)) (buffer.Entry, buffer.Outcome, error) {
	return buffer.Entry{}, buffer.NotFound, nil
}

func (c counted) List(_ context.Context, _ string, p buffer.Page) (ids []run.ID, err error) {
	for i := len(c.bigBuffer) - 1; i >= 0 && len(ids) < p.Limit; i-- {
		if id := c.bigBuffer[i].ID; p.Before.IsZero() || id.String() < p.Before.String() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// oldRow is a Postgres with one row, older than everything.
type oldRow struct {
	none
	old run.Run
}

func (o oldRow) List(_ context.Context, _ string, _ runstore.Filter, p runstore.Page) ([]run.Run, error) {
	if !p.After.IsZero() && p.After.String() <= o.old.ID.String() {
		return nil, nil
	}
	return []run.Run{o.old}, nil
}

// Without the buffer a list says that it is not whole; without Postgres there is none.
func TestListWhileAStoreIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	direct, m := w.settle(env, run.Trigger{}), w.accept(env, run.Trigger{})
	for _, call := range []string{"entries.list", "entries.get"} {
		w.hooks.set(down(call))
		page, err := w.reader.List(t.Context(), env, runstore.Filter{}, runstore.Page{Limit: 5})
		if err != nil || !page.Partial || !slices.Equal(idsOf(page.Runs), []string{direct.String()}) {
			t.Errorf("without %s: %+v, %v", call, page, err)
		}
	}
	for _, call := range []string{"rows.list", "rows.runs"} {
		w.hooks.set(down(call))
		if _, err := w.reader.List(t.Context(), env, runstore.Filter{}, runstore.Page{Limit: 5}); fault(err) != "store unavailable" {
			t.Errorf("without %s: %v", call, err)
		}
	}
	w.hooks.set(nil)
	if page, err := w.reader.List(t.Context(), env, runstore.Filter{}, runstore.Page{Limit: 5}); err != nil || len(page.Runs) != 2 || page.Runs[0].ID != m.id {
		t.Errorf("%+v, %v", page, err)
	}
	for _, limit := range []int{0, -1, fallback.MaxLimit + 1} {
		if _, err := w.reader.List(t.Context(), env, runstore.Filter{}, runstore.Page{Limit: limit}); fault(err) == "" {
			t.Errorf("limit %d", limit)
		}
	}
	if _, err := w.reader.List(t.Context(), "", runstore.Filter{}, runstore.Page{Limit: 1}); fault(err) == "" {
		t.Error("no environment")
	}
}
