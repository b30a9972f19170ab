package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/run"
)

// state is where a run may be, and how it gets there.
type state struct {
	name string
	make func(w *world, env string, t run.Trigger) *placed
}

// placed is a run somewhere.
type placed struct {
	id     run.ID
	moving *moving // nil once nothing moves any more
}

func buffered(s stage) func(*world, string, run.Trigger) *placed {
	return func(w *world, env string, t run.Trigger) *placed {
		m := w.accept(env, t)
		m.to(s)
		return &placed{m.id, m}
	}
}

// returned: a drainer had it, with or without writing its row, and gave it back.
func returned(s stage) func(*world, string, run.Trigger) *placed {
	return func(w *world, env string, t run.Trigger) *placed {
		m := w.accept(env, t)
		m.to(s)
		m.lapse()
		return &placed{m.id, m}
	}
}

// aliased: another name of a run that got in first. holder is where that run is.
func aliased(holder, s stage) func(*world, string, run.Trigger) *placed {
	return func(w *world, env string, t run.Trigger) *placed {
		t.IdempotencyKey = "alias"
		first := w.accept(env, t)
		first.to(holder)
		forget(w, env, t)
		m := w.accept(env, t)
		m.to(s)
		if m.answer.Canonical != first.id {
			w.t.Fatalf("no alias: %+v", m.answer)
		}
		return &placed{m.id, m}
	}
}

// forget makes Redis lose what it knew of a key.
func forget(w *world, env string, t run.Trigger) {
	w.t.Helper()
	t.Environment = env
	if t.Task == "" {
		t.Task = "task"
	}
	hash := t.Key().Hash()
	for p := range partitions {
		if err := w.raw.Del(w.t.Context(), w.db.Names().Record(p, hash)).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// states are all places in which a run that waits to be taken may be. The first
// is the measure for the others.
var states = []state{
	{"passed through", func(w *world, env string, t run.Trigger) *placed { return &placed{id: w.settle(env, t)} }},
	{"queued", buffered(queued)},
	{"draining", buffered(leased)},
	{"draining, with a row", buffered(settled)},
	{"returned", returned(leased)},
	{"returned, with a row", returned(settled)},
	{"in grace", buffered(acked)},
	{"materialised", buffered(gone)},
	{"alias of a draining run", aliased(settled, acked)},
	{"alias in grace", aliased(acked, acked)},
	{"alias", aliased(gone, gone)},
}

// step is one read or change: what the caller is told besides the run.
type step func(ctx context.Context, w *world, env string, id run.ID) (r run.Run, told string, err error)

func doRead(ctx context.Context, w *world, env string, id run.ID) (run.Run, string, error) {
	r, err := w.reader.Run(ctx, env, id)
	return r, "", err
}

func doCancel(reason string) step {
	return func(ctx context.Context, w *world, env string, id run.ID) (run.Run, string, error) {
		r, err := w.reader.Cancel(ctx, env, id, reason)
		return r, "", err
	}
}

func doTags(tags ...string) step {
	return func(ctx context.Context, w *world, env string, id run.ID) (run.Run, string, error) {
		r, n, err := w.reader.AddTags(ctx, env, id, tags)
		return r, fmt.Sprint(n), err
	}
}

func doMetadata(c run.MetadataChange) step {
	return func(ctx context.Context, w *world, env string, id run.ID) (run.Run, string, error) {
		r, err := w.reader.SetMetadata(ctx, env, id, c)
		return r, "", err
	}
}

func doOperations(ops ...run.MetadataOperation) step {
	return doMetadata(run.MetadataChange{Operations: append([]run.MetadataOperation{}, ops...)})
}

func doReschedule(until time.Time) step {
	return func(ctx context.Context, w *world, env string, id run.ID) (run.Run, string, error) {
		r, err := w.reader.Reschedule(ctx, env, id, until)
		return r, "", err
	}
}

func doReplay(ctx context.Context, w *world, env string, id run.ID) (run.Run, string, error) {
	t, err := w.reader.Replay(ctx, env, id)
	return run.Run{Trigger: t}, "", err
}

// Cases 10, 33, 34, 85, 90, 91, 94 and 95: every read and change answers the
// same wherever the run is, and leaves the same run behind when it has arrived.
func TestNobodyCanTellWhereARunIs(t *testing.T) {
	t.Parallel()
	soon, later := time.Now().Add(time.Hour).Truncate(time.Microsecond).UTC(), time.Now().Add(2*time.Hour).Truncate(time.Microsecond).UTC()
	plain := run.Trigger{Payload: []byte(`{"x":1}`), Tags: []string{"a"}, Metadata: []byte(`{"n":1,"l":[]}`), Queue: "q", Machine: "micro"}
	delayed := plain
	delayed.DelayUntil = soon
	keyed := plain
	keyed.IdempotencyKey, keyed.KeyOptions, keyed.RequestKey = "alias", run.KeyOptions{Key: "mine"}, "req"
	text := plain
	text.Metadata, text.MetadataType = []byte("no JSON"), "text/plain"
	inc := run.MetadataOperation{Type: run.OpIncrement, Key: "n", Value: []byte("2")}
	var many []string
	for i := range run.MaxTags {
		many = append(many, fmt.Sprint("t", i))
	}
	full := everything(run.ID{})
	full.Debounce = nil // it is Postgres's; a buffered run keeps its delay
	for _, script := range []struct {
		name    string
		trigger run.Trigger
		steps   []step
	}{
		{"read", keyed, []step{doRead, doReplay}},
		{"read everything", full, []step{doRead, doReplay}},
		{"cancel", plain, []step{doCancel("why"), doRead, doCancel("again"), doRead}},
		{"cancel without a reason", delayed, []step{doCancel(""), doRead}},
		{"tags", plain, []step{doTags("b", "a", "b"), doTags("b"), doTags(), doRead}},
		{"too many tags", plain, []step{doTags(many...), doRead, doTags(many[:9]...), doTags("one more"), doRead}},
		{"bad tags", plain, []step{doTags(" "), doTags(strings.Repeat("x", 129)), doRead}},
		{"metadata", plain, []step{doMetadata(set(`{"y":2}`)), doRead, doMetadata(set("")), doRead}},
		{"operations", plain, []step{doOperations(inc, inc), doRead, doOperations(run.MetadataOperation{Type: run.OpAppend, Key: "l", Value: []byte("{}")}), doRead}},
		{"no operations", plain, []step{doOperations(), doMetadata(run.MetadataChange{}), doMetadata(run.MetadataChange{Replace: &run.Metadata{}, Operations: []run.MetadataOperation{}}), doRead}},
		{"operations and metadata", plain, []step{doMetadata(run.MetadataChange{Replace: &run.Metadata{Bytes: []byte(`{"n":9}`)}, Operations: []run.MetadataOperation{inc}}), doRead}},
		{"bad operations", plain, []step{doOperations(run.MetadataOperation{Type: "x", Key: "n", Value: []byte("1")}), doOperations(inc, run.MetadataOperation{Type: run.OpSet, Key: "n", Value: []byte("{")}), doRead}},
		{"operations on text", text, []step{doOperations(inc), doRead}},
		{"too much metadata", plain, []step{doMetadata(set(strings.Repeat("x", run.MaxMetadata+1))), doRead}},
		{"reschedule", delayed, []step{doReschedule(later), doRead, doReschedule(soon), doRead}},
		{"reschedule to the past", delayed, []step{doReschedule(time.Now().Add(-time.Minute)), doReschedule(later)}},
		{"reschedule what is not delayed", plain, []step{doReschedule(later), doRead}},
		{"reschedule to nothing", delayed, []step{doReschedule(time.Time{}), doRead}},
		{"change what is cancelled", delayed, []step{doCancel("x"), doMetadata(set("{}")), doOperations(inc), doReschedule(later), doTags("late"), doRead, doReplay}},
		{"all", delayed, []step{doTags("b"), doOperations(inc), doReschedule(later), doRead, doTags("c"), doCancel("done"), doRead}},
	} {
		t.Run(script.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var want []answer
			for i, s := range states {
				env := w.env()
				p := s.make(w, env, script.trigger)
				var got []answer
				for _, step := range script.steps {
					r, told, err := step(t.Context(), w, env, p.id)
					got = append(got, seen(r, told, err, p.id))
				}
				if p.moving != nil {
					p.moving.to(gone)
				}
				r, err := w.reader.Run(t.Context(), env, p.id)
				got = append(got, seen(r, "", err, p.id))
				if i == 0 {
					want = got
					continue
				}
				for n := range got {
					got, want := got[n], want[n]
					if strings.HasPrefix(s.name, "alias") {
						got.run.Trigger.IdempotencyKey, want.run.Trigger.IdempotencyKey = "", ""
						got.held, want.held = 0, 0
					}
					if diff := cmp.Diff(want, got, comparable, cmp.AllowUnexported(answer{})); diff != "" {
						t.Errorf("%s: step %d: %s", s.name, n, diff)
					}
				}
			}
		})
	}
}

// answer is what a caller sees, without what differs between any two runs.
type answer struct {
	run     run.Run
	held    time.Duration
	ended   bool
	told    string
	fault   string
	strange string
}

func seen(r run.Run, told string, err error, id run.ID) answer {
	a := answer{told: told, fault: fault(err)}
	if err != nil {
		return a
	}
	a.run, a.ended = r, !r.FinishedAt.IsZero()
	if !r.ID.IsZero() {
		if r.ID != id || r.Canonical.IsZero() || r.CreatedAt.IsZero() || r.UpdatedAt.Before(r.CreatedAt) {
			a.strange = fmt.Sprint(r.ID, r.Canonical, r.CreatedAt, r.UpdatedAt)
		}
		if !r.KeyUntil.IsZero() {
			a.held = r.KeyUntil.Sub(r.CreatedAt)
		}
	}
	a.run.ID, a.run.Canonical = run.ID{}, run.ID{}
	a.run.CreatedAt, a.run.UpdatedAt, a.run.KeyUntil, a.run.FinishedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if a.run.Trigger.DelayUntil.Before(time.Now()) {
		a.run.Trigger.DelayUntil = time.Time{}
	}
	a.run.Trigger.Environment = ""
	a.run.RequestHash = run.Digest{} // it is one of the environment
	return a
}

// A run that a worker has, or that has ended, while its drainer has not said so:
// the worker's status counts, and the rules for it.
func TestWorkedOnBeforeTheAck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		status          run.Status
		cancel, changed string
	}{
		{run.Executing, "CANCELED", ""},
		{run.Completed, "COMPLETED", "conflict"},
		{run.Failed, "FAILED", "conflict"},
		{run.Canceled, "CANCELED", "conflict"},
	} {
		for _, s := range []stage{settled, acked, gone} {
			for _, back := range []bool{false, s == settled} {
				env := w.env()
				m := w.accept(env, run.Trigger{Metadata: []byte(`{"n":1}`), Tags: []string{"a"}})
				m.to(s)
				if _, err := w.rows.Finish(t.Context(), env, m.id, run.Finish{Status: c.status}); err != nil {
					t.Fatal(err)
				}
				if back {
					m.lapse()
				}
				_, err := w.reader.SetMetadata(t.Context(), env, m.id, set(`{"n":2}`))
				if fault(err) != c.changed {
					t.Errorf("%v %v: metadata: %v", c.status, s, err)
				}
				if _, err := w.reader.Reschedule(t.Context(), env, m.id, time.Now().Add(time.Hour)); !errors.Is(err, run.ErrConflict) {
					t.Errorf("%v %v: reschedule: %v", c.status, s, err)
				}
				if _, n, err := w.reader.AddTags(t.Context(), env, m.id, []string{"b"}); n != 1 || err != nil {
					t.Errorf("%v %v: tags: %d %v", c.status, s, n, err)
				}
				if got, err := w.reader.Cancel(t.Context(), env, m.id, "x"); err != nil || string(got.Status) != c.cancel {
					t.Errorf("%v %v: cancel: %v %v", c.status, s, got.Status, err)
				}
				for range 2 {
					got := read(t, w, env, m.id)
					if string(got.Status) != c.cancel || !slices.Equal(got.Trigger.Tags, []string{"a", "b"}) {
						t.Errorf("%v %v: %v %v", c.status, s, got.Status, got.Trigger.Tags)
					}
					m.to(gone)
				}
			}
		}
	}
}

// Cases 39 and 45: a run that could not be stored is there, failed, and can be
// replayed no further than it was kept.
func TestFailedRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	m := w.accept(env, run.Trigger{Tags: []string{"a"}})
	m.failed = &run.Failure{Message: "can not be stored"}
	m.to(settled)
	before := read(t, w, env, m.id)
	m.to(gone)
	after := read(t, w, env, m.id)
	if diff := cmp.Diff(before, after, comparable); diff != "" || after.Status != run.SystemFailure || after.Error.Message != m.failed.Message {
		t.Errorf("%v %v: %s", after.Status, after.Error, diff)
	}
	if _, err := w.reader.SetMetadata(t.Context(), env, m.id, set("{}")); !errors.Is(err, run.ErrConflict) {
		t.Errorf("metadata: %v", err)
	}
	if got, err := w.reader.Cancel(t.Context(), env, m.id, ""); err != nil || got.Status != run.SystemFailure {
		t.Errorf("cancel: %v %v", got.Status, err)
	}
}

// A ttl that has passed shows once the run is materialised; until then it can
// be cancelled, and that is never lost.
func TestExpiryIsDecidedInPostgres(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, cancelled := range []bool{false, true} {
		env := w.env()
		m := w.accept(env, run.Trigger{TTL: time.Second})
		p, _ := m.id.Partition()
		long := run.InstantOf(time.Now().Add(-time.Hour))
		if err := w.raw.SetRange(t.Context(), w.db.Names().Entry(p, env, m.id), 36, fmt.Sprintf("%016d", long)).Err(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, w, env, m.id); got.Status != run.Queued || got.Trigger.TTL != time.Second {
			t.Errorf("%v %v", got.Status, got.Trigger.TTL)
		}
		want := run.Expired
		if cancelled {
			want = run.Canceled
			if got, err := w.reader.Cancel(t.Context(), env, m.id, ""); err != nil || got.Status != want {
				t.Errorf("%v, %v", got.Status, err)
			}
		}
		m.to(acked)
		if got := read(t, w, env, m.id); got.Status != want || got.Trigger.TTL != time.Second {
			t.Errorf("%v, want %v", got.Status, want)
		}
	}
}

// Case 35: of fifty increments at once, while the run moves from the buffer into
// Postgres, none is lost; nor is a tag or a cancellation.
func TestChangesAtOnceWhileARunMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	m := w.accept(env, run.Trigger{Metadata: []byte(`{"n":0}`)})
	const writers = 50
	var (
		done sync.WaitGroup
		gate = make(chan struct{}, writers)
	)
	for range writers {
		done.Go(func() {
			defer func() { gate <- struct{}{} }()
			_, err := w.reader.SetMetadata(t.Context(), env, m.id, run.MetadataChange{Operations: []run.MetadataOperation{
				{Type: run.OpIncrement, Key: "n", Value: []byte("1")},
			}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	// It moves on whenever some more have got through.
	for _, s := range []stage{leased, settled, acked} {
		for range writers / 5 {
			<-gate
		}
		m.to(s)
	}
	done.Wait()
	if got := read(t, w, env, m.id); string(got.Trigger.Metadata) != fmt.Sprintf(`{"n":%d}`, writers) {
		t.Errorf("%s", got.Trigger.Metadata)
	}
}

// A change is made while the run moves between the calls, in every way.
func TestChangeOfARunThatMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for from := queued; from <= gone; from++ {
		for _, path := range paths(from, 3) {
			for name, change := range map[string]step{
				"cancel": doCancel("x"), "tags": doTags("b"),
				"metadata": doOperations(run.MetadataOperation{Type: run.OpIncrement, Key: "n", Value: []byte("1")}),
			} {
				env := w.env()
				m := w.accept(env, run.Trigger{Metadata: []byte(`{"n":1}`), Tags: []string{"a"}})
				m.to(from)
				calls := 0
				w.hooks.set(func(string) error {
					if calls < len(path) {
						m.to(path[calls])
						calls++
					}
					return nil
				})
				answered, _, err := change(t.Context(), w, env, m.id)
				w.hooks.set(nil)
				if err != nil {
					t.Fatalf("%s %v: %v", name, path, err)
				}
				now := read(t, w, env, m.id)
				m.to(gone)
				last := read(t, w, env, m.id)
				for when, r := range map[string]run.Run{"answered": answered, "read": now, "at last": last} {
					if name == "cancel" && r.Status != run.Canceled ||
						name == "tags" && !slices.Equal(r.Trigger.Tags, []string{"a", "b"}) ||
						name == "metadata" && string(r.Trigger.Metadata) != `{"n":2}` {
						t.Errorf("%s %v, %s: %v %v %s", name, path, when, r.Status, r.Trigger.Tags, r.Trigger.Metadata)
					}
				}
			}
		}
	}
}
