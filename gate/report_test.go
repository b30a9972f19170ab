package gate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
)

// slow is a Redis whose calls take as long as a test wants: before and after
// are what happens on their way there and back.
type slow struct {
	none
	t             *rapid.T
	c             *clock
	began         time.Time
	before, after func()
	fails         bool
	counter       counter
	applied       func(n, now int64, fresh bool)
}

func (s *slow) Available() bool { return true }

// Its clock is not the node's.
func (s *slow) now() int64 { return micros(s.c.Now().Sub(s.began)) + 9_000_000_000 }

func (s *slow) Run(_ context.Context, calls []redisdb.Call) []redisdb.Result {
	s.before()
	results := make([]redisdb.Result, len(calls))
	for i, c := range calls {
		if len(c.Keys) == 0 {
			continue // a reading of the clock
		}
		n := c.Args[0].(int64)
		l := limits{window: c.Args[1].(int64), threshold: c.Args[2].(int64), hold: c.Args[3].(int64)}
		if c.Script == scripts[GCRA] {
			l.algorithm = GCRA
		}
		now := s.now()
		fresh := s.counter.mark <= now
		s.counter.add(now, n, l)
		s.applied(n, now, fresh)
		ends := s.counter.mark - now
		if l.algorithm == GCRA {
			ends = (s.counter.level + 999) / 1000
		}
		results[i].Values = []any{now, max(s.counter.held-now, 0), ends, s.counter.level}
	}
	s.after()
	if s.fails {
		for i := range results {
			results[i] = redisdb.Result{Err: redisdb.Unreadable()}
		}
	}
	return results
}

// One node, and calls of any length within the budget: in none of Redis's
// windows does more than the threshold pass, and what trips is more than the
// threshold within a window and two calls.
func TestOneNodeIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		cfg := settings(c)
		cfg.Window = rapid.SampledFrom([]time.Duration{30, 60, 200}).Draw(rt, "window") * ms // calls take up to 40
		cfg.Threshold = rapid.IntRange(1, 8).Draw(rt, "threshold")
		cfg.Hold = rapid.SampledFrom([]time.Duration{ms, ms, 30 * ms, 500 * ms}).Draw(rt, "hold")
		var (
			unreported []bool // which passed, oldest first
			inWindow   int    // passed, in Redis's window
			all        []int64
		)
		r := &slow{t: rt, c: c, began: c.Now()}
		r.applied = func(n, _ int64, fresh bool) {
			if fresh {
				inWindow = 0
			}
			for _, passed := range unreported[:n] {
				if passed {
					inWindow++
				}
			}
			unreported = unreported[n:]
			if inWindow > cfg.Threshold {
				rt.Fatalf("%d passed in a window, at most %d may", inWindow, cfg.Threshold)
			}
		}
		g := gateOn(t, cfg, r)
		s := snapshot("env")
		// some triggers come, over at most the time given.
		some := func(most time.Duration, least int) {
			for range rapid.IntRange(least, 6).Draw(rt, "triggers") {
				if by := rapid.SampledFrom([]time.Duration{0, 0, 1, 5, 20}).Draw(rt, "after") * ms; by < most {
					most -= by
					c.pass(by)
				}
				was := g.State("env", c.Now()).Tripped
				passed := !g.Decide(s, c.Now()).Mollify()
				unreported = append(unreported, passed)
				now := micros(c.Now().Sub(r.began))
				all = append(all, now)
				if !passed && !was {
					near := 0
					for _, at := range all {
						if at > now-micros(cfg.Window+2*cfg.Budget) {
							near++
						}
					}
					if near <= cfg.Threshold {
						rt.Fatalf("tripped by %d, threshold %d", near, cfg.Threshold)
					}
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			r.before, r.after = func() { some(20*ms, 0) }, func() { some(20*ms, 0) }
			some(10*ms, 1)
			g.report(t.Context())
			if rapid.IntRange(0, 3).Draw(rt, "rest") == 0 {
				// Report goes on until nothing is pending.
				r.before, r.after = func() {}, func() {}
				g.report(t.Context())
				c.pass(rapid.SampledFrom([]time.Duration{1, 10, 29, 30, 59, 60, 61, 100, 199, 200, 201, 700}).Draw(rt, "passes") * ms)
			}
		}
	})
}

// One node with GCRA, however long calls take and whether or not they fail: by
// the time of the triggers, no more pass than the bucket lets through.
func TestOneNodeGCRA(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		cfg := settings(c)
		cfg.Algorithm, cfg.Pause = GCRA, 0
		cfg.Threshold = rapid.IntRange(1, 20).Draw(rt, "threshold")
		cfg.Hold = ms
		r := &slow{t: rt, c: c, began: c.Now(), applied: func(int64, int64, bool) {}}
		g := gateOn(t, cfg, r)
		l, _ := g.overrides.of("env")
		var bucket counter
		s := snapshot("env")
		some := func() {
			for range rapid.IntRange(0, 6).Draw(rt, "triggers") {
				c.pass(rapid.SampledFrom([]time.Duration{0, 0, 1, 5}).Draw(rt, "after") * ms)
				if !g.Decide(s, c.Now()).Mollify() {
					bucket.held = 0
					if bucket.add(g.at(c.Now()), 1, l); bucket.held != 0 {
						rt.Fatalf("passed, though the bucket is full (threshold %d)", cfg.Threshold)
					}
				}
			}
		}
		r.before, r.after = some, some
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			some()
			r.fails = rapid.IntRange(0, 3).Draw(rt, "fails") == 0
			g.report(t.Context())
			if rapid.IntRange(0, 3).Draw(rt, "rest") == 0 {
				c.pass(rapid.SampledFrom([]time.Duration{1, 10, 199, 200, 700}).Draw(rt, "passes") * ms)
			}
		}
	})
}

// minute has windows that no test outlasts.
func minute(threshold int) Config {
	cfg := Defaults()
	cfg.Enrolled = everyone
	cfg.Limits = Limits{Window: time.Minute, Threshold: threshold, Hold: time.Minute}
	cfg.Budget = time.Second // of a machine that may be busy
	return cfg
}

// Several nodes over one Redis, in any order of triggers and reports: each
// further node lets through at most one batch too many.
func TestFleet(t *testing.T) {
	t.Parallel()
	eachAlgorithm(t, func(t *testing.T, a Algorithm) {
		db, _ := shared(t)
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			round++
			environment := fmt.Sprint(a, round)
			s := snapshot(environment)
			cfg := minute(rapid.IntRange(1, 30).Draw(rt, "threshold"))
			cfg.Algorithm = a
			if a == GCRA {
				cfg.Window = time.Hour // the bucket does not drain during the test
			}
			const nodes = 3
			var gates [nodes]*Gate
			var batch, largest [nodes]int
			for i := range gates {
				gates[i] = gateOn(t, cfg, db)
			}
			passed := 0
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				i := rapid.IntRange(0, nodes-1).Draw(rt, "node")
				if rapid.IntRange(0, 2).Draw(rt, "step") == 0 {
					gates[i].report(t.Context())
					batch[i] = 0
					continue
				}
				for range rapid.IntRange(1, 10).Draw(rt, "triggers") {
					batch[i]++
					largest[i] = max(largest[i], batch[i])
					if !gates[i].Decide(s, time.Now()).Mollify() {
						passed++
					}
				}
			}
			// One node is exact, the one whose reading was the last below the
			// threshold; it may be any.
			most := cfg.Threshold + largest[0] + largest[1] + largest[2] - min(largest[0], largest[1], largest[2])
			if passed > most {
				rt.Fatalf("%d passed, threshold %d, batches %v", passed, cfg.Threshold, largest)
			}
			// By their next reading all nodes know.
			counted := 0
			for _, g := range gates {
				g.report(t.Context())
				if st := g.Stats(); st.Failures != 0 {
					rt.Fatalf("%+v", st)
				}
			}
			for _, g := range gates {
				g.Decide(s, time.Now())
				g.report(t.Context())
				counted = max(counted, g.State(environment, time.Now()).Count)
			}
			for i, g := range gates {
				if tripped := g.Route(s, time.Now()).Mollify(); tripped != gates[2].Route(s, time.Now()).Mollify() && counted > cfg.Threshold+nodes {
					rt.Fatalf("node %d tripped %t, counted %d", i, tripped, counted)
				}
			}
		})
	})
}

// reporting runs Report until the test ends.
func reporting(t *testing.T, g *Gate) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Report(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Report: %v", err)
		}
	})
}

// Many callers on one node, with reports under way all the time: exactly the
// threshold passes, and Redis counts every trigger.
func TestOneNodeInParallel(t *testing.T) {
	t.Parallel()
	eachAlgorithm(t, func(t *testing.T, a Algorithm) {
		db, _ := shared(t)
		cfg := minute(100)
		cfg.Algorithm = a
		if a == GCRA {
			cfg.Window = time.Hour
		}
		g := gateOn(t, cfg, db)
		reporting(t, g)
		var passed [3]atomic.Int64
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for i := range 300 {
					env := i % len(passed)
					if !g.Decide(snapshot(fmt.Sprint("env", env)), time.Now()).Mollify() {
						passed[env].Add(1)
					}
				}
			})
		}
		callers.Wait()
		for i := range passed {
			if n := passed[i].Load(); n != 100 {
				t.Errorf("%d passed of environment %d", n, i)
			}
		}
		eventually(t, "all is reported", func() bool { return g.Stats().Reported == 2400 })
		if st := g.Stats(); st.Kept != 0 || st.Failures != 0 || st.Calls > 2400 {
			t.Errorf("%+v", st)
		}
		if n := g.State("env0", time.Now()).Count; a == FixedWindow && n != 800 || a == GCRA && n != 100 {
			t.Errorf("Redis counted %d", n)
		}
	})
}

// A storm on one node is known on another with its next reading; while one
// node renews the hold, the others' hold moves too.
func TestHoldIsTheFleets(t *testing.T) {
	t.Parallel()
	db, raw := shared(t)
	cfg := minute(10)
	a, b := gateOn(t, cfg, db), gateOn(t, cfg, db)
	s := snapshot("env")
	a.Count("env", 11, time.Now())
	a.report(t.Context())
	if !a.Route(s, time.Now()).Mollify() || b.Route(s, time.Now()).Mollify() {
		t.Fatal("a trips itself, b has not heard")
	}
	if b.Decide(s, time.Now()).Mollify() {
		t.Fatal("b's first trigger")
	}
	b.report(t.Context())
	if !b.Route(s, time.Now()).Mollify() {
		t.Fatal("b has had a reading")
	}
	// The hold is nearly over in Redis; one more trigger over the threshold of
	// either node begins it again, for both.
	name := a.rateName("env")
	now := raw.Time(t.Context()).Val().UnixMicro()
	nearly := counter{held: now + micros(time.Second), mark: now + micros(time.Minute), level: 50}
	if err := raw.Set(t.Context(), name, nearly.written(FixedWindow), time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	b.Decide(s, time.Now())
	b.report(t.Context())
	c := gateOn(t, cfg, db)
	c.Decide(s, time.Now())
	c.report(t.Context())
	for i, g := range []*Gate{b, c} {
		if st := g.State("env", time.Now()); !st.Tripped || st.Hold < 50*time.Second {
			t.Errorf("node %d: %+v", i, st)
		}
	}
	if n := c.Stats().Trips; n != 1 {
		t.Errorf("%d trips seen by the third node", n)
	}
}

// broken is a Redis that fails every call at once.
type broken struct {
	none
	calls atomic.Int64
}

func (b *broken) Available() bool { return true }

func (b *broken) Run(ctx context.Context, calls []redisdb.Call) []redisdb.Result {
	b.calls.Add(1)
	return b.none.Run(ctx, calls)
}

// Case 125: a Redis that fails is not asked again for a pause, nothing is sent
// twice, and the node's own gate goes on.
func TestNoStormOfRetries(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := &broken{}
	cfg := settings(c)
	g := gateOn(t, cfg, b)
	s := snapshot("env")
	passed := 0
	for range 1000 { // one trigger each ms, for a second
		if !g.Decide(s, c.Now()).Mollify() {
			passed++
		}
		g.report(t.Context())
		c.pass(ms)
	}
	if n := b.calls.Load(); n != 10 {
		t.Errorf("%d calls in a second of failures, want one each %s", n, cfg.Pause)
	}
	if st := g.Stats(); st.Kept != 1000 || st.Reported != 0 || st.Failures != 10 {
		t.Errorf("%+v", st)
	}
	if passed != 100 { // tripped after 100, and the overage of every window renews the hold
		t.Errorf("%d passed", passed)
	}
}

// Below the threshold nothing is mollified without Redis, however long.
func TestWithoutRedisTheRateStays(t *testing.T) {
	t.Parallel()
	for name, redis := range map[string]Redis{"fails": &broken{}, "away": none{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, reports := range []bool{true, false} {
				c := newClock()
				g := gateOn(t, settings(c), redis)
				for i := range 5000 { // 66 a window
					if d := g.Decide(snapshot("env"), c.Now()); d.Mollify() {
						t.Fatalf("trigger %d is mollified (reports %t)", i, reports)
					}
					c.pass(3 * ms)
					if reports {
						g.report(t.Context())
					}
				}
			}
		})
	}
}

// Without Redis a node has a gate of its own: it trips, and Postgres is spared.
func TestWithoutRedisTheGateTrips(t *testing.T) {
	t.Parallel()
	for name, redis := range map[string]Redis{"fails": &broken{}, "away": none{}} {
		c := newClock()
		g := gateOn(t, settings(c), redis)
		threshold := g.Limits("env").Threshold
		for i := range 2 * threshold {
			if d := g.Decide(snapshot("env"), c.Now()); d.Mollify() != (i >= threshold) {
				t.Fatalf("%s: trigger %d of %d in an instant: %+v", name, i, threshold, d)
			}
			if i%10 == 0 {
				g.report(t.Context())
			}
		}
		if !g.Route(snapshot("env"), c.Now()).Mollify() {
			t.Errorf("%s: open again", name)
		}
	}
}

// What was counted long ago is not told as if it were now.
func TestOldCountsAreNotABurst(t *testing.T) {
	t.Parallel()
	c := newClock()
	db, _ := shared(t)
	g := gateOn(t, settings(c), db)
	for range 5000 {
		g.Count("env", 1, c.Now())
		c.pass(3 * ms)
	}
	g.report(t.Context()) // Redis has just come
	if st := g.Stats(); st.Kept != 5000 || st.Reported != 0 || st.Trips != 0 {
		t.Errorf("%+v", st)
	}
	g.Count("env", 1, c.Now())
	g.report(t.Context())
	if st := g.Stats(); st.Reported != 1 || g.State("env", c.Now()).Count != 1 {
		t.Errorf("%+v %+v", st, g.State("env", c.Now()))
	}
}

// Case 125 on a Redis that hangs: no trigger waits, calls end with the budget,
// and they are few. When it comes back, the fleet's count does too.
func TestHang(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	db := open(t, server.URL(), "m")
	cfg := minute(100)
	cfg.Budget = 50 * ms
	g := gateOn(t, cfg, db)
	s := snapshot("env")
	eventually(t, "a first report", func() bool {
		g.Count("warm", 1, time.Now())
		g.report(t.Context())
		return g.Stats().Reported > 0
	})
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	g.Count("warm", 1, time.Now())
	began := time.Now()
	g.report(t.Context())
	if took := time.Since(began); took < cfg.Budget || took > 40*cfg.Budget {
		t.Errorf("a report to a Redis that hangs took %s", took)
	}
	reporting(t, g)
	before, began := g.Stats().Calls, time.Now()
	for passed := 0; ; {
		at := time.Now()
		d := g.Decide(s, at)
		if took := time.Since(at); took > time.Second {
			t.Fatalf("a decision took %s", took)
		}
		if !d.Mollify() {
			passed++
		}
		if d.Mollify() && g.Stats().Failures >= 4 {
			if passed != 100 {
				t.Errorf("%d passed by the node's own gate", passed)
			}
			break
		}
	}
	calls, took := g.Stats().Calls-before, time.Since(began)
	if most := uint64(took/(cfg.Budget+cfg.Pause)) + 2; calls > most {
		t.Errorf("%d calls in %s, at most %d", calls, took, most)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	reported := g.Stats().Reported
	eventually(t, "counts are reported again", func() bool {
		g.Decide(s, time.Now())
		return g.Stats().Reported > reported
	})
}

// A report that is cut short by the end of Report leaves nothing half done.
func TestReportEnds(t *testing.T) {
	t.Parallel()
	db, _ := shared(t)
	g := gateOn(t, minute(10), db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Count("env", 20, time.Now())
	g.report(ctx)
	if st := g.Stats(); st.Kept != 20 || !g.Route(snapshot("env"), time.Now()).Mollify() {
		t.Errorf("%+v", st)
	}
	if err := g.Report(ctx); err != context.Canceled {
		t.Errorf("%v", err)
	}
}

// More environments than one round trip takes.
func TestManyEnvironments(t *testing.T) {
	t.Parallel()
	db, _ := shared(t)
	g := gateOn(t, minute(10), db)
	for i := range 3*maxCalls + 1 {
		g.Count(fmt.Sprint("env", i), 2, time.Now())
	}
	g.report(t.Context())
	if st := g.Stats(); st.Reported != 2*(3*maxCalls+1) || st.Calls != 4 {
		t.Errorf("%+v", st)
	}
}

// eventually waits until ok, asking again and again.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s: not within 30s", what)
		}
	}
}
