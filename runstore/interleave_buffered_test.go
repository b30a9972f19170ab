package runstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// The direct path, buffered runs delivered in any order and any number of
// times, resets, ends and cancellations meet on a few keys, with acceptance
// times from clocks that disagree. No two runs of a key ever overlap, every id
// that was handed out resolves to a run, and no cancellation is lost.
func TestBufferedIntervalsNeverOverlap(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const (
		goroutines = 10
		rounds     = 30
		keys       = 4
		base       = run.Instant(1_700_000_000_000_000)
		hour       = run.Instant(time.Hour / time.Microsecond)
	)
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		outcomes = make(map[Outcome]int)
		promised = make(map[run.ID]bool) // acknowledged ids, and whether they were cancelled
	)
	for g := range goroutines {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 2))
			ctx := t.Context()
			at := func(round int) run.Instant {
				if rnd.IntN(4) == 0 {
					return base + run.Instant(rnd.Int64N(int64(rounds*hour)))
				}
				return base + run.Instant(round)*hour + run.Instant(rnd.Int64N(int64(hour)))
			}
			key := func() string { return fmt.Sprint("key", rnd.IntN(keys)) }
			trigger := func() *run.Snapshot {
				return snapshot(run.Trigger{
					IdempotencyKey: key(), KeyTTL: time.Duration(1+rnd.IntN(10800)) * time.Second, Tags: []string{fmt.Sprint(rnd.IntN(30))},
				})
			}
			var waiting []Materialisation // accepted, and not surely drained
			for round := range rounds {
				switch rnd.IntN(8) {
				case 0:
					if _, _, err := s.Reset(ctx, env, keyed(key(), 0).Hash, at(round)); err != nil {
						t.Errorf("reset: %v", err)
					}
				case 1, 2:
					snap := trigger()
					snap.AcceptedAt = at(round)
					a := s.settleOne(snap)
					if a.Outcome == Stale && a.Floor > snap.AcceptedAt {
						continue
					}
					if a.Err != nil || a.ID.IsZero() {
						t.Errorf("settle: %+v", a)
						continue
					}
					if a.Outcome != Held && rnd.IntN(2) == 0 {
						ending := []run.Status{run.Failed, run.Completed, run.Crashed}[rnd.IntN(3)]
						if _, err := s.Finish(ctx, env, a.ID, run.Finish{Status: ending}); err != nil && !errors.Is(err, run.ErrConflict) {
							t.Errorf("finish: %v", err)
						}
					}
					mu.Lock()
					promised[a.ID] = promised[a.ID] || false
					mu.Unlock()
				default:
					for range 1 + rnd.IntN(4) {
						snap := trigger()
						snap.Accept(at(round))
						m := Materialisation{Snapshot: snap}
						if rnd.IntN(6) == 0 {
							m = m.with(cancelled(1))
						}
						waiting = append(waiting, m)
					}
					rnd.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
					n := rnd.IntN(len(waiting) + 1)
					for i, a := range s.Materialise(ctx, waiting[:n]) {
						m := waiting[i]
						if a.Err != nil || a.ID != m.Snapshot.ID || a.Canonical.IsZero() {
							t.Errorf("materialise: %+v", a)
						}
						mu.Lock()
						outcomes[a.Outcome]++
						promised[a.ID] = promised[a.ID] || m.Ver > 0
						mu.Unlock()
					}
					rest := waiting[n:]
					for _, m := range waiting[:n] {
						switch rnd.IntN(6) {
						case 0: // the reply was lost
							rest = append(rest, m)
						case 1: // cancelled during the lease
							rest = append(rest, m.with(cancelled(m.Ver+1)))
						}
					}
					waiting = rest
				}
				if round%10 == 0 {
					if n := s.count(overlaps); n != 0 {
						t.Errorf("%d overlaps", n)
					}
				}
			}
			for _, a := range s.Materialise(ctx, waiting) {
				if a.Err != nil {
					t.Errorf("materialise: %v", a.Err)
				}
			}
		})
	}
	wg.Wait()
	s.disjoint()
	for _, c := range []struct{ what, sql string }{
		{"aliases of no run", "select count(*) from runs a where kind = 1 and not exists (select from runs w where w.id = a.alias_of and w.kind = 0)"},
		{"intervals that end before they begin", "select count(*) from runs where key_until < accepted_at"},
		{"merged acceptances outside of their run", "select count(*) from runs where key_last >= key_until and kind = 0"},
		{"keys without a slot", "select count(*) from (select coalesce(key_slot, key_past) k from runs group by k having coalesce(key_slot, key_past) is not null and count(key_slot) = 0) x"},
		{"runs with too many tags", "select count(*) from runs where cardinality(tags) > 10"},
	} {
		if n := s.count(c.sql); n != 0 {
			t.Errorf("%d %s", n, c.what)
		}
	}
	all := make([]run.ID, 0, len(promised))
	for id := range promised {
		all = append(all, id)
	}
	found, err := s.Runs(t.Context(), env, all)
	if err != nil {
		t.Fatal(err)
	}
	for id, gone := range promised {
		r, ok := found[id]
		if !ok {
			t.Errorf("%s does not resolve", id)
		} else if gone && !r.Status.Final() {
			t.Errorf("%s was cancelled, and is %s", id, r.Status)
		}
	}
	t.Logf("%v", outcomes)
	for _, o := range []Outcome{Created, TookOver, Replayed, Aliased, OwnClosed, Cancelled} {
		if o != Created && outcomes[o] < 3 {
			t.Errorf("%s happened %d times: too few for this test to mean anything", o, outcomes[o])
		}
	}
}

// A merge whose connection dies under it is made again, and finds what happened
// meanwhile.
func TestMergeSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.drain(Created, fromBuffer("k", 1000, 2000))
	tx, err := s.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), "select 1 from runs where id = $1 for update", w.ID.String()); err != nil {
		t.Fatal(err)
	}
	batch := []Materialisation{
		fromBuffer("k", 1500, 2500), fromBuffer("k", 2000, 3000), fromBuffer("k", 2100, 3100), fromBuffer("free", 1, 2),
		fromBuffer("k", 1600, 2500).with(cancelled(1)), fromBuffer("k", 100, 200),
	}
	want := []Outcome{Aliased, TookOver, Aliased, Created, Cancelled, OwnClosed}
	done := make(chan []Materialised, 1)
	go func() { done <- s.Materialise(t.Context(), batch) }()
	s.waitForBlocked(1)
	s.exec(`select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and application_name = 'mollifier' and wait_event_type = 'Lock'`)
	s.waitForBlocked(1)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, a := range <-done {
		if a.Err != nil || a.Outcome != want[i] {
			t.Errorf("%d: %q, %v, want %q", i, a.Outcome, a.Err, want[i])
		}
	}
	s.disjoint()
}
