package runstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Many goroutines settle batches, reset, finish and take a few hot keys, with
// acceptance times from clocks that disagree. At no time, and least of all at
// the end, do two runs of one key have overlapping intervals.
func TestIntervalsNeverOverlap(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const (
		goroutines = 12
		rounds     = 40
		keys       = 5
		base       = run.Instant(1_700_000_000_000_000)
		hour       = run.Instant(time.Hour / time.Microsecond)
	)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			ctx := t.Context()
			at := func(round int) run.Instant {
				switch rnd.IntN(5) {
				case 0:
					return 0 // Postgres's clock
				case 1:
					return base + run.Instant(rnd.Int64N(int64(100*hour))) // a clock that jumps
				}
				return base + run.Instant(round)*hour + run.Instant(rnd.Int64N(int64(hour)))
			}
			key := func() string { return fmt.Sprint("key", rnd.IntN(keys)) }
			for round := range rounds {
				switch rnd.IntN(6) {
				case 0:
					if _, _, err := s.Reset(ctx, env, keyed(key(), 0).Hash, at(round)); err != nil {
						t.Errorf("reset: %v", err)
					}
				default:
					batch := make([]Settlement, 1+rnd.IntN(6))
					for i := range batch {
						snap := snapshot(run.Trigger{IdempotencyKey: key(), KeyTTL: time.Duration(1+rnd.IntN(7200)) * time.Second})
						snap.AcceptedAt = at(round)
						batch[i].Snapshot = snap
					}
					for i, a := range s.Settle(ctx, batch) {
						switch {
						case a.Err != nil:
							t.Errorf("settle: %v", a.Err)
						case a.Outcome == Stale:
							if at := batch[i].Snapshot.AcceptedAt; at == 0 || a.Floor <= at || !a.ID.IsZero() {
								t.Errorf("stale at %d: %+v", at, a)
							}
						case a.ID.IsZero() || (a.Outcome != Held) != (a.ID == batch[i].Snapshot.ID):
							t.Errorf("settled %q as %s", a.Outcome, a.ID)
						case a.Outcome != Held && rnd.IntN(2) == 0:
							ending := []run.Status{run.Failed, run.Completed, run.Crashed}[rnd.IntN(3)]
							if _, err := s.Finish(ctx, env, a.ID, run.Finish{Status: ending}); err != nil {
								t.Errorf("finish: %v", err)
							}
						}
					}
				}
				if round%10 == 0 {
					if n := s.count(overlaps); n != 0 {
						t.Errorf("%d overlaps", n)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := s.count(overlaps); n != 0 {
		t.Errorf("%d overlaps", n)
	}
	// Every key that was ever used has its slot filled, once.
	if used, slots := s.count("select count(distinct coalesce(key_slot, key_past)) from runs"),
		s.count("select count(*) from runs where key_slot is not null"); used != slots || used != keys {
		t.Errorf("%d keys were used, %d slots are filled", used, slots)
	}
	made, tombs := s.count("select count(*) from runs where kind = 0"), s.count("select count(*) from runs where kind = 2")
	t.Logf("%d runs, %d resets", made, tombs)
	if made < 3*keys || tombs < keys {
		t.Error("too little happened for this test to mean anything")
	}
}

// A settlement whose connection dies under it, with the outcome unknown, is
// settled again by itself and finds what happened meanwhile.
func TestConnectionLostWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		commit bool
		want   Outcome
	}{"rival commits": {true, Held}, "rival rolls back": {false, Created}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			rival, mine := keyed("k", 1000), keyed("k", 1001)
			tx, err := s.sql.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.WithoutCancel(t.Context()))
			it := item{snapshot: rival, options: "{}"}
			c := newColumns(false)
			c.add(&it, rival.AcceptedAt)
			if _, err := insertRows(t.Context(), tx, c, &inserting); err != nil {
				t.Fatal(err)
			}
			done := make(chan Settled, 1)
			go func() { done <- s.settleOne(mine) }()
			s.waitForBlocked(1)
			s.exec(`select pg_terminate_backend(pid) from pg_stat_activity
				where datname = current_database() and application_name = 'mollifier' and wait_event_type = 'Lock'`)
			s.waitForBlocked(1) // the next attempt waits again
			if end.commit {
				err = tx.Commit(t.Context())
			} else {
				err = tx.Rollback(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-done; got.Err != nil || got.Outcome != end.want {
				t.Errorf("settled as %q, %v", got.Outcome, got.Err)
			}
		})
	}
}

// The context ends while the outcome is open: the caller learns that it is.
func TestContextEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	rival, mine := keyed("k", 1000), keyed("k", 1001)
	tx, err := s.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	it := item{snapshot: rival, options: "{}"}
	c := newColumns(false)
	c.add(&it, rival.AcceptedAt)
	if _, err := insertRows(t.Context(), tx, c, &inserting); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan []Settled, 1)
	go func() { done <- s.Settle(ctx, []Settlement{{mine}, {snapshot(run.Trigger{})}}) }()
	s.waitForBlocked(1)
	cancel()
	for i, got := range <-done {
		checkRefused(t, got.Err, true)
		if !got.ID.IsZero() {
			t.Errorf("item %d: refused with an id", i)
		}
	}
}
