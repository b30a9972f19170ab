package mollifier_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// load triggers keyed and keyless runs on several engines until it is ended.
type load struct {
	engines []*mollifier.Engine
	witness *witness
	allowed func(error) bool // refusals that the outage excuses

	mu     sync.Mutex
	byKey  map[string]map[run.ID]bool // every id that a key was answered with, and why
	states map[run.State]int
	wrong  []error
	total  atomic.Int64
	ended  atomic.Bool
	done   sync.WaitGroup
}

func (l *load) start() {
	l.byKey, l.states = map[string]map[run.ID]bool{}, map[run.State]int{}
	for w := range 8 {
		l.done.Go(func() {
			for i := 0; !l.ended.Load(); i++ {
				key := "" // two workers share the keys
				if w < 6 {
					key = fmt.Sprint(w/2, "-", i)
				}
				r, err := l.engines[w%len(l.engines)].Trigger(context.Background(), order(key))
				l.mu.Lock()
				switch {
				case err == nil:
					l.witness.acknowledged(r)
					l.states[r.State()]++
					if key != "" {
						if l.byKey[key] == nil {
							l.byKey[key] = map[run.ID]bool{}
						}
						l.byKey[key][r.ID()] = true
					}
				case !l.allowed(err):
					l.wrong = append(l.wrong, err)
				}
				l.mu.Unlock()
				l.total.Add(1)
			}
		})
	}
}

func (l *load) end(t *testing.T) {
	t.Helper()
	l.ended.Store(true)
	l.done.Wait()
	for i, err := range l.wrong {
		if i == 5 {
			t.Errorf("and %d more", len(l.wrong)-i)
			break
		}
		t.Errorf("refused: %v", err)
	}
}

// more waits until n further triggers have been answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	from := l.total.Load()
	waitFor(t, "triggers are answered", func() bool { return l.total.Load() >= from+n })
}

// settled checks, after a recovery, that everything that was acknowledged is
// there: each id has one row, each key one run, whatever ids it was given.
func (l *load) settled(t *testing.T, postgres string) {
	t.Helper()
	e := l.engines[len(l.engines)-1]
	read := func(id run.ID) (r run.Run) {
		waitFor(t, "stores that do not keep a reader waiting", func() (ok bool) {
			var err error
			if r, err = e.Run(t.Context(), "prod", id); err != nil && !errors.Is(err, run.ErrUnavailable) {
				t.Fatalf("the acknowledged run %s: %v", id, err)
			}
			return err == nil
		})
		return r
	}
	real := map[run.ID]bool{}
	for _, id := range l.witness.all() {
		real[read(id).Canonical] = true
	}
	for key, ids := range l.byKey {
		canonical := map[run.ID]bool{}
		for id := range ids {
			canonical[read(id).Canonical] = true
		}
		if len(canonical) != 1 {
			t.Errorf("%s: %d ids are %d runs", key, len(ids), len(canonical))
		}
	}
	disjoint(t, postgres)
	if n := count(t, postgres, `select count(*) from runs where kind = 0 and accepted_at is not null`); n < len(real) {
		t.Errorf("%d rows for %d runs", n, len(real))
	}
}

// Postgres is killed while two nodes trigger: after the breakers are open nobody
// is refused, what comes is taken into the buffer, every acknowledged run is
// found throughout, and the recovery drains it all.
func TestPostgresStopsUnderLoad(t *testing.T) {
	t.Parallel()
	postgres := stacktest.PrivatePostgres(t)
	cfg := mollifier.Config{Postgres: postgres.URL(), Migrate: true, Partitions: 16, PostgresDeadline: 500 * time.Millisecond}
	cfg.Redis, cfg.Prefix = stacktest.Redis(t)
	cfg.Gate = mollifier.GateConfig{Window: time.Second, Threshold: 1_000_000}
	a, b := open(t, cfg), open(t, cfg)
	l := &load{engines: []*mollifier.Engine{a, b}, witness: watchBothWays(t, 10*time.Second, a, b)}
	var open atomic.Bool
	l.allowed = func(err error) bool { return !open.Load() && errors.Is(err, run.ErrUnavailable) }
	l.start()
	l.more(t, 200)
	if err := postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both nodes divert", func() bool {
		for _, e := range l.engines {
			if r, err := e.Trigger(t.Context(), order("")); err != nil || r.State() != run.Buffered {
				return false
			}
		}
		return true
	})
	l.more(t, 16) // who was on the way when the breakers opened
	open.Store(true)
	l.more(t, 300)
	if r := trigger(t, a, order("new")); r.State() != run.Buffered || r.Identity() != run.Provisional {
		t.Errorf("while Postgres is down: %s, %s", r.State(), r.Identity())
	}
	if err := postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "triggers pass again", func() bool {
		r, err := a.Trigger(t.Context(), order(""))
		return err == nil && r.State() == run.Materialised
	})
	l.end(t)
	drained(t, cfg)
	l.witness.end()
	l.settled(t, cfg.Postgres)
}

// Redis is killed in a storm: triggers pass through and are provisional, runs
// that only Redis has are unavailable and never not found; when it is back,
// everything is drained.
func TestRedisIsKilledInAStorm(t *testing.T) {
	t.Parallel()
	redis := stacktest.PrivateRedis(t)
	cfg := mollifier.Config{Redis: redis.URL(), Postgres: stacktest.Postgres(t), Migrate: true, Partitions: 16}
	cfg.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 50, Hold: time.Hour}
	a, b := open(t, cfg), open(t, cfg)
	l := &load{engines: []*mollifier.Engine{a, b}, witness: watch(t, a, b)}
	l.allowed = func(error) bool { return false }
	l.start()
	waitFor(t, "the storm is mollified", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.states[run.Buffered] > 100
	})
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "triggers pass through", func() bool {
		r, err := a.Trigger(t.Context(), order("while-down"))
		return err == nil && r.State() == run.Materialised && r.Identity() == run.Provisional
	})
	l.more(t, 200)
	if err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "identities are confirmed", func() bool {
		r, err := a.Trigger(t.Context(), order("probe"))
		return err == nil && r.Identity() == run.Confirmed
	})
	l.more(t, 100)
	l.end(t)
	drained(t, cfg)
	l.witness.end()
	l.settled(t, cfg.Postgres)
}

// A run waits in the buffer when Redis is killed; a node that can not ask Redis gives
// the key another, which fails. Back again, Redis still says that the first run waits:
// no node answers that without having asked Postgres, where the key is free.
func TestBufferedRunIsDoubtedAfterAnOutage(t *testing.T) {
	t.Parallel()
	redis := stacktest.PrivateRedis(t)
	cfg := mollifier.Config{Redis: redis.URL(), Postgres: stacktest.Postgres(t), Migrate: true, Partitions: 16, NoDrain: true}
	cfg.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 1, Hold: time.Hour}
	a, b := open(t, cfg), open(t, cfg)
	for _, e := range []*mollifier.Engine{a, b} {
		trip(t, e)
	}
	first := trigger(t, a, order("k"))
	if again := trigger(t, b, order("k")); first.State() != run.Buffered || again.ID() != first.ID() {
		t.Fatalf("%s %s, then %s", first.State(), first.ID(), again.ID())
	}
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	between := trigger(t, b, order("k"))
	if between.ID() == first.ID() || between.Identity() != run.Provisional {
		t.Fatalf("without Redis: %s, %s", between.ID(), between.Identity())
	}
	if _, err := b.Finish(t.Context(), "prod", between.ID(), run.Finish{Status: run.Failed}); err != nil {
		t.Fatal(err)
	}
	if err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, e := range []*mollifier.Engine{a, b} {
		waitFor(t, "identities are confirmed", func() bool {
			r, err := e.Trigger(t.Context(), order("probe"))
			return err == nil && r.Identity() == run.Confirmed
		})
	}
	next := trigger(t, a, order("k"))
	if next.ID() == first.ID() || next.ID() == between.ID() || next.Identity() != run.Confirmed {
		t.Errorf("the key was given %s, then, without Redis, %s, which failed, and now %s (%s)", first.ID(), between.ID(), next.ID(), next.Identity())
	}
	cfg.NoDrain = false
	c := open(t, cfg)
	drained(t, cfg)
	for _, e := range []*mollifier.Engine{a, b, c} {
		if r := trigger(t, e, order("k")); r.ID() != next.ID() {
			t.Errorf("drained: %s, want %s", r.ID(), next.ID())
		}
	}
	if r, err := c.Run(t.Context(), "prod", first.ID()); err != nil || r.Canonical != between.ID() {
		t.Errorf("the first run: %s, %v; it shared its time with %s", r.Canonical, err, between.ID())
	}
	disjoint(t, cfg.Postgres)
}

// With both stores gone triggers are refused, and once the breakers are open
// without waiting for either: hundreds of refusals cost less than a few deadlines.
func TestBothStoresDown(t *testing.T) {
	t.Parallel()
	redis, postgres := stacktest.PrivateRedis(t), stacktest.PrivatePostgres(t)
	e := open(t, mollifier.Config{
		Redis: redis.URL(), Postgres: postgres.URL(), Migrate: true, Partitions: 16,
		RedisDeadline: time.Second, PostgresDeadline: 2 * time.Second,
	})
	kept := trigger(t, e, order("kept"))
	if err := errors.Join(redis.Pause(), postgres.Pause()); err != nil { // they hang, which is worse than gone
		t.Fatal(err)
	}
	for range 4 { // the first ones wait: nobody knows yet
		if _, err := e.Trigger(t.Context(), order("")); !errors.Is(err, run.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	// If each of these waited for a store, they would need 500 deadlines. Some
	// meet a breaker that tries again.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for j := range 50 {
				key := ""
				if j%2 == 0 {
					key = fmt.Sprint(i, "-", j)
				}
				_, err := e.Trigger(ctx, order(key))
				var refused *run.RefusedError
				if !errors.Is(err, run.ErrUnavailable) || !errors.As(err, &refused) {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if _, err := e.Run(ctx, "prod", kept.ID()); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("a read: %v", err)
	}
	if err := errors.Join(redis.Resume(), postgres.Resume()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "triggers are answered again", func() bool {
		r, err := e.Trigger(t.Context(), order("kept"))
		return err == nil && r.ID() == kept.ID()
	})
}

// A node that closes in a storm answers or refuses whoever it has, and what it
// acknowledged is drained by the others.
func TestNodeClosesInAStorm(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.Gate.Threshold = 20
	a, b := open(t, cfg), open(t, cfg)
	l := &load{engines: []*mollifier.Engine{a, b}, witness: watch(t, b)}
	l.allowed = func(err error) bool { return errors.Is(err, run.ErrClosed) }
	l.start()
	l.more(t, 300)
	if err := a.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	l.more(t, 200)
	l.end(t)
	drained(t, cfg)
	l.witness.end()
	l.settled(t, cfg.Postgres)
	if n := count(t, cfg.Postgres, `select count(*) from runs where kind = 1`); n != 0 {
		t.Errorf("%d aliases though both stores worked throughout", n)
	}
}
