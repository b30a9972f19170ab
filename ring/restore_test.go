package ring

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/run"
)

const much = 64 << 20

// same wants an entry back as it was, but for its status.
func (m *member) same(s *run.Snapshot, was buffer.Entry) {
	m.t.Helper()
	now, found := m.entry(s)
	if !found || now.Status != buffer.Returned || now.Snapshot.AcceptedAt != was.Snapshot.AcceptedAt || now.Snapshot.KeyUntil != was.Snapshot.KeyUntil ||
		!bytes.Equal(now.Snapshot.Trigger.Payload, was.Snapshot.Trigger.Payload) || now.Snapshot.Hash != was.Snapshot.Hash ||
		now.Ver != was.Ver || !reflect.DeepEqual(now.Patches, was.Patches) || now.Size != was.Size {
		m.t.Fatalf("%s came back (%t) as %s %+v, was %+v", s.ID, found, now.Status, now.Patched(), was.Patched())
	}
}

// Redis is emptied: what only it had comes back, once, without the records of keys.
func TestEmptied(t *testing.T) {
	t.Parallel()
	m := newPlace(t).node(much)
	var early, late []*run.Snapshot
	for n := range 20 {
		early = append(early, m.trigger(n, fmt.Sprint("early", n)))
	}
	m.drain(true)
	entries := map[run.ID]buffer.Entry{}
	for n := range 600 {
		s := m.trigger(100+n, map[bool]string{true: fmt.Sprint("late", n)}[n%2 == 0])
		if n%7 == 0 {
			m.patch(s, run.Patch{AddTags: []string{"a"}})
			m.patch(s, run.Patch{Cancel: &run.Cancellation{Reason: "enough"}})
		}
		entries[s.ID], _ = m.entry(s)
		late = append(late, s)
	}
	m.beat(0)
	m.flush()
	if !m.Holds(env, late[0].ID) {
		t.Fatal("the ring does not know what it has to bring back")
	}
	m.beat(partitions)
	m.look()
	m.beat(0)
	for _, s := range late {
		m.same(s, entries[s.ID])
	}
	for _, s := range early {
		if _, found := m.entry(s); found {
			t.Fatal("a run that is in Postgres came back")
		}
	}
	if names := m.records(); len(names) != 0 {
		t.Fatalf("records of keys came back: %v", names)
	}
	if u, err := m.buffer.Total(t.Context()); err != nil || u.Entries != 600 {
		t.Fatalf("%+v %v", u, err)
	}
	if s := m.Stats(); s.Runs != 600 || s.Entries != 600 {
		t.Fatalf("%+v", s)
	}
	m.look() // again: nothing is missing
	if got := m.drain(true); got != 600 {
		t.Fatalf("%d were drained", got)
	}
	m.look()
	if s := m.Stats(); s.Runs != 600 || s.Entries != 0 || s.Bytes != 0 {
		t.Fatalf("%+v", s)
	}
	for i, s := range late {
		if r := m.row(s); (i%7 == 0) != (r.Status == run.Canceled) {
			t.Fatalf("%d is %s", i, r.Status)
		}
	}
}

// Redis starts from an earlier file: what it has is as it was then, what came later
// comes back, and what was drained since is drained as a repeat.
func TestEarlierFile(t *testing.T) {
	t.Parallel()
	var dir string
	p := newPlace(t, func(c *devstack.RedisConfig) { dir = c.Dir })
	m := p.node(much)
	old, drained, cancelled := m.trigger(1, "old"), m.trigger(2, "drained"), m.trigger(3, "")
	m.patch(cancelled, run.Patch{AddTags: []string{"a"}})
	saved := p.keep(dir)

	m.drain(true)
	m.patch(m.trigger(5, "b"), run.Patch{Delay: run.InstantOf(time.Now())})
	young := m.trigger(6, "young")
	m.look() // those that were drained leave
	another := m.trigger(7, "")
	m.patch(another, run.Patch{AddTags: []string{"a"}})
	wasYoung, _ := m.entry(young)
	wasAnother, _ := m.entry(another)

	p.goBack(dir, saved)
	eventually(t, func() bool { return p.raw.Ping(t.Context()).Err() == nil })
	m.beat(partitions)
	m.look()
	m.same(young, wasYoung)
	m.same(another, wasAnother)
	if e, found := m.entry(drained); !found || e.Status == buffer.Materialised {
		t.Fatalf("%+v", e)
	}
	if got := m.drain(true); got != 6 {
		t.Fatalf("%d were drained", got)
	}
	for _, s := range []*run.Snapshot{old, drained, cancelled, young, another} {
		if r := m.row(s); r.ID != s.ID || r.Canonical != s.ID {
			t.Fatalf("%+v", r)
		}
	}
	m.look()
	if s := m.Stats(); s.Entries != 0 {
		t.Fatalf("%+v", s)
	}
}

// A Redis without a file is started again.
func TestRestartWithoutFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t, func(c *devstack.RedisConfig) { c.Settings = map[string]string{"appendonly": "no"} })
	m := p.node(much)
	s := m.trigger(1, "key")
	was, _ := m.entry(s)
	if err := p.server.Kill(); err != nil {
		t.Fatal(err)
	}
	if back := m.pulse(t.Context(), m.db); len(back) != 0 {
		t.Fatalf("a Redis that does not answer signals %v", back)
	}
	if err := m.looker.all(t.Context(), map[int]bool{1: true}); err == nil {
		t.Fatal("copies were judged without Redis")
	}
	p.start()
	eventually(t, func() bool { return p.raw.Ping(t.Context()).Err() == nil })
	m.beat(partitions)
	m.look()
	m.same(s, was)
}

// Without a signal the rounds find what is missing, and forget what has landed.
func TestRounds(t *testing.T) {
	t.Parallel()
	m := newPlace(t).node(much)
	for n := range 3*partSize + 10 {
		m.trigger(n, "")
	}
	m.drain(true) // 256 of each partition: all
	s := m.trigger(10_000, "key")
	was, _ := m.entry(s)
	m.flush()
	m.looker.round(t.Context())
	m.same(s, was)
	if got := m.Stats().Entries; got != 1 {
		t.Fatalf("%d are left", got)
	}
	m.drain(true)
	m.looker.round(t.Context())
	if got := m.Stats().Entries; got != 0 {
		t.Fatalf("%d are left", got)
	}
	// A backlog that does not move costs two parts a round, one of which goes round.
	for n := range 4 * partSize {
		m.trigger(20_000+n, "")
	}
	m.flush()
	found := uint64(0)
	for _, want := range []uint64{1, 1, 1, 1} { // the oldest part, and from then on the one whose turn it is
		m.looker.round(t.Context())
		got := m.Stats().Runs - 1 - found
		if found += got; got == 0 && found != 4*partSize {
			t.Fatalf("a round has found %d, want more than %d", got, want)
		}
	}
	if found != 4*partSize {
		t.Fatalf("four rounds have found %d of %d", found, 4*partSize)
	}
}

// Two nodes have acknowledged changes of a run that a third has accepted. Whoever
// restores first, all changes are there afterwards, once and in their order.
func TestTwoNodesRestoreOneRun(t *testing.T) {
	t.Parallel()
	for _, shorterFirst := range []bool{true, false} {
		p := newPlace(t)
		accepted, first, second := p.node(much), p.node(much), p.node(much)
		s := accepted.trigger(1, "key")
		first.patch(s, run.Patch{AddTags: []string{"a"}, Metadata: &run.Metadata{Bytes: []byte("1"), Type: "t"}})
		second.patch(s, run.Patch{Metadata: &run.Metadata{Bytes: []byte("2"), Type: "t"}})
		was, _ := first.entry(s)
		accepted.flush()
		order := []*member{accepted, first, second}
		if !shorterFirst {
			slices.Reverse(order)
		}
		for _, m := range append(order, order...) {
			m.beat(map[bool]int{true: partitions, false: 0}[m.beats[0].written == 1])
			m.look()
		}
		first.same(s, was)
		if got := first.drain(true); got != 1 {
			t.Fatalf("%d were drained", got)
		}
		if r := first.row(s); string(r.Trigger.Metadata) != "2" || !slices.Equal(r.Trigger.Tags, []string{"a"}) {
			t.Fatalf("%+v", r)
		}
	}
}

// The drain is faster than the restore: the entry that came back without its last
// changes is materialised. It waits again, and its row gets what it lacks.
func TestDrainedWithoutItsLastChanges(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		var dir string
		p := newPlace(t, func(c *devstack.RedisConfig) { dir = c.Dir })
		m := p.node(much)
		s := m.trigger(1, "key")
		m.patch(s, run.Patch{AddTags: []string{"a"}})
		saved := p.keep(dir)
		m.patch(s, run.Patch{AddTags: []string{"b"}})
		m.patch(s, run.Patch{Cancel: &run.Cancellation{}})
		p.goBack(dir, saved)
		eventually(t, func() bool { return p.raw.Ping(t.Context()).Err() == nil })
		if got := m.drain(true); got != 1 {
			t.Fatalf("%d were drained", got)
		}
		if gone { // its grace is over
			p.raw.Del(t.Context(), m.db.Names().Entry(1, env, s.ID))
		}
		m.look()
		e, found := m.entry(s)
		if !found || e.Status != buffer.Returned || e.Ver != 3 {
			t.Fatalf("%+v", e)
		}
		if u, err := m.buffer.Total(t.Context()); err != nil || u != (buffer.Usage{Entries: 1, Bytes: e.Size}) {
			t.Fatalf("%+v %v", u, err)
		}
		m.drain(true)
		m.look()
		if r := m.row(s); r.Status != run.Canceled || !slices.Equal(r.Trigger.Tags, []string{"a", "b"}) {
			t.Fatalf("%+v", r)
		}
		if got := m.Stats().Entries; got != 0 {
			t.Fatalf("%d are left", got)
		}
	}
}

// The run was changed after Redis went back and before the restore, by this node or
// another: no acknowledged change is lost, and the later one has the last word.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ same, drained, rowFirst bool }{
		{}, {same: true}, {drained: true}, {rowFirst: true}, {same: true, rowFirst: true}, {true, true, false},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			var dir string
			p := newPlace(t, func(c *devstack.RedisConfig) { dir = c.Dir })
			m := p.node(much)
			other := p.node(much)
			s := m.trigger(1, "key")
			saved := p.keep(dir)
			m.patch(s, run.Patch{AddTags: []string{"lost"}, Metadata: &run.Metadata{Bytes: []byte("lost"), Type: "t"}})
			m.patch(s, run.Patch{AddTags: []string{"lost too"}})
			if c.rowFirst { // in Postgres with both; the ack is lost with the rest
				m.drain(false)
			}
			p.goBack(dir, saved)
			eventually(t, func() bool { return p.raw.Ping(t.Context()).Err() == nil })
			writer := other
			if c.same {
				writer = m
			}
			writer.patch(s, run.Patch{AddTags: []string{"new"}, Metadata: &run.Metadata{Bytes: []byte("new"), Type: "t"}})
			if c.drained {
				m.drain(true)
			}
			for range 3 { // what a restore keeps anew settles
				m.look()
				other.look()
			}
			m.drain(true)
			for range 3 {
				m.look()
				other.look()
				m.drain(true)
			}
			r := m.row(s)
			for _, tag := range []string{"lost", "lost too", "new"} {
				if !slices.Contains(r.Trigger.Tags, tag) {
					t.Errorf("%q is missing: %v", tag, r.Trigger.Tags)
				}
			}
			if string(r.Trigger.Metadata) != "new" {
				t.Errorf("metadata are %s", r.Trigger.Metadata)
			}
			m.look()
			other.look()
			if a, b := m.Stats(), other.Stats(); a.Entries != 0 || b.Entries != 0 || a.Refused+b.Refused != 0 {
				t.Errorf("%+v %+v", a, b)
			}
		})
	}
}

// A key that was triggered, or reset, after Redis went back: one run holds it.
func TestKeyMeanwhile(t *testing.T) {
	t.Parallel()
	m := newPlace(t).node(much)
	again, reset, before := m.trigger(1, "again"), m.trigger(2, "reset"), m.trigger(3, "before")
	m.resetKey(before)
	m.flush()
	second := m.trigger(5, "again")
	m.resetKey(reset)
	m.look()
	if names := m.records(); len(names) != 1 {
		t.Fatalf("records %v", names)
	}
	m.drain(true)
	a, b := m.row(again), m.row(second)
	if a.Canonical != b.Canonical {
		t.Fatalf("two runs: %s and %s", a.Canonical, b.Canonical)
	}
	for _, s := range []*run.Snapshot{reset, before} {
		states, err := m.rows.Keys(t.Context(), keyRefs(s))
		if r := m.row(s); err != nil || states[0].Live && states[0].Holder.ID == s.ID || !r.KeyUntil.Before(s.KeyUntil.Time()) {
			t.Fatalf("%s holds its key after the reset: %+v %v", s.ID, states, err)
		}
	}
}

// While Postgres does not answer nothing is put back that may have ended there.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	m := newPlace(t).node(much)
	s := m.trigger(1, "key")
	m.flush()
	m.looker.rows = away{}
	if err := m.looker.all(t.Context(), map[int]bool{1: true}); err == nil {
		t.Fatal("judged without Postgres")
	}
	if _, found := m.entry(s); found || !m.Holds(env, s.ID) {
		t.Fatal("it was put back, or forgotten")
	}
	m.looker.rows = m.rows
	m.look()
	if _, found := m.entry(s); !found {
		t.Fatal("it was not put back")
	}
}

type away struct{}

func (away) Versions(context.Context, string, []run.ID) (map[run.ID]int64, error) {
	return nil, run.ErrUnavailable
}

// The loop itself: it hears the signal and looks, until it is stopped.
func TestLoop(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	m := p.node(much)
	m.cfg.beat, m.cfg.rounds = 10*time.Millisecond, time.Hour
	s := m.trigger(1, "key")
	was, _ := m.entry(s)
	m.Start(m.db, m.buffer, p.rows, m.cfg.log)
	m.flush()
	eventually(t, func() bool { return m.Stats().Runs == 1 })
	m.Stop()
	m.same(s, was)
}
