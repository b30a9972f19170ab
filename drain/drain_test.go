package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// drained runs a drainer until the buffer is empty.
func drained(t *testing.T, d *Drainer, b *fakeBuffer) {
	t.Helper()
	d.Start()
	until(t, func() bool { return b.left() == 0 })
	stop(t, d)
}

// until waits in the bubble's time, which costs none.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	step := time.Millisecond
	for end := time.Now().Add(time.Hour); !ok(); step = min(step+step/2, 100*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to be within an hour")
		}
		pass(step)
	}
}

// pass lets the bubble's time go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (f *fakeRuns) exactly(t *testing.T, ids []run.ID) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rows) != len(ids) {
		t.Errorf("%d rows, want %d", len(f.rows), len(ids))
	}
	for _, id := range ids {
		if f.rows[id] == nil {
			t.Errorf("%s has no row", id)
		}
	}
}

func TestEverythingLandsOnceInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 1000, 4)
		d := newDrainer(t, b, r)
		drained(t, d, b)
		r.exactly(t, ids)
		byPartition := make(map[int][]run.ID)
		for _, call := range b.turns {
			for _, id := range call.ids {
				p, _ := id.Partition()
				byPartition[p] = append(byPartition[p], id)
			}
		}
		for p, got := range byPartition {
			if !slices.IsSortedFunc(got, byID) {
				t.Errorf("partition %d was not taken in order", p)
			}
		}
		for _, id := range ids {
			if b.marked[id] != 1 {
				t.Fatalf("%s was marked %d times", id, b.marked[id])
			}
		}
		if s := d.Stats(); s.Materialised != 1000 || s.GivenBack != 0 || s.RedisErrors != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Cases 51, 53: with a storm of 100,000 entries of one organisation, in one or
// many environments, the ten of another are materialised within the first two
// rotations, counted in batches: two turns of each organisation.
func TestAStormDelaysNobody(t *testing.T) {
	t.Parallel()
	for _, storms := range []int{1, 50} {
		t.Run(fmt.Sprint(storms), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, r := newFakeBuffer(), newFakeRuns()
				for i := range storms {
					b.put("a-storm", fmt.Sprintf("storm-%d", i), 100_000/storms, 64)
				}
				few := b.put("light", "light", 10, 64)
				d := newDrainer(t, b, r, func(c *Config) { c.Partitions, c.InFlight = 64, 1 })
				d.Start()
				until(t, func() bool { return d.Stats().Batches >= 4 })
				stop(t, d)
				var envs []string
				landed := 0
				for _, turn := range b.turns[:4] {
					envs = append(envs, turn.env)
					for _, id := range turn.ids {
						if slices.Contains(few, id) {
							landed++
						}
					}
				}
				if landed != len(few) || !r.has(few) {
					t.Errorf("%d of %d within the first two rotations: %v", landed, len(few), envs)
				}
			})
		})
	}
}

// Who comes while a storm is drained is seen soon, and then waits for no more
// than the batch that is under way in each place.
func TestNewcomerDuringAStorm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		b.put("storm", "storm", 20_000, 64)
		r.before = func(context.Context, []runstore.Materialisation) error {
			<-time.After(5 * time.Millisecond)
			return nil
		}
		d := newDrainer(t, b, r, func(c *Config) { c.Partitions = 64 })
		d.Start()
		until(t, func() bool { return d.Stats().Batches > 20 })
		few := b.put("zz-light", "light", 10, 64)
		began := time.Now()
		until(t, func() bool { return r.has(few) })
		if took := time.Since(began); took > refreshEvery+20*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		if b.left() == 0 {
			t.Error("the storm was over: nothing was shown")
		}
		stop(t, d)
	})
}

func (f *fakeRuns) has(ids []run.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if f.rows[id] == nil {
			return false
		}
	}
	return true
}

// Case 49: nothing is leased that is not being worked on.
func TestLeasesNoMoreThanIsWorkedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		b.put("o", "e", 5000, 4)
		r.before = func(context.Context, []runstore.Materialisation) error {
			<-time.After(10 * time.Millisecond)
			return nil
		}
		d := newDrainer(t, b, r, func(c *Config) { c.BatchSize, c.InFlight = 50, 3 })
		drained(t, d, b)
		if b.most > 150 {
			t.Errorf("%d were leased at once, want at most 150", b.most)
		}
	})
}

// Cases 117, 134: a drainer dies between pop and ack, before or after its rows
// are written. Another one recovers the entries, and each run is there once.
func TestADrainerDies(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"leased", "written"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, r := newFakeBuffer(), newFakeRuns()
				ids := b.put("o", "e", 100, 4)
				dead := newDrainer(t, b, r)
				entries, err := dead.lease(turn{"o", "e", []part{{0, 10}, {1, 10}}})
				if err != nil || len(entries) != 20 {
					t.Fatal(err)
				}
				if when == "written" {
					items := make([]runstore.Materialisation, len(entries))
					for i := range entries {
						items[i] = entries[i].materialisation()
					}
					r.Materialise(t.Context(), items)
				}
				b.patch(entries[0].ID, run.Patch{Cancel: &run.Cancellation{}})
				d := newDrainer(t, b, r)
				began := time.Now()
				drained(t, d, b)
				r.exactly(t, ids)
				if took := time.Since(began); took > d.cfg.Lease+2*d.cfg.ReapEvery {
					t.Errorf("it took %s", took)
				}
				if s := d.Stats(); s.Reaped != 20 {
					t.Errorf("%+v", s)
				}
				// The cancellation came after the lease and survived it.
				if row, _ := r.row(entries[0].ID); row.status != run.Canceled {
					t.Errorf("the cancelled run is %s", row.status)
				}
			})
		})
	}
}

// Cases 123, 138: an outage of Postgres costs no attempt, is not met with a hot
// loop, and everything lands after it.
func TestOutageOfPostgresPauses(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"refused", "hangs", "reply lost", "breaker"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, r := newFakeBuffer(), newFakeRuns()
				ids := b.put("o", "e", 2000, 4)
				switch how {
				case "refused":
					r.before = func(context.Context, []runstore.Materialisation) error { return errDown }
				case "hangs":
					r.before = func(ctx context.Context, _ []runstore.Materialisation) error {
						<-ctx.Done()
						return errDown
					}
				case "reply lost":
					r.after = func() error { return errDown }
				case "breaker":
					r.down = true
				}
				d := newDrainer(t, b, r)
				d.Start()
				pass(2 * time.Minute)
				if r.calls > 80 {
					t.Errorf("%d calls in two minutes of outage", r.calls)
				}
				if how == "breaker" && (r.calls > 0 || len(b.turns) > 0) {
					t.Errorf("%d calls, %d leases though the breaker was open", r.calls, len(b.turns))
				}
				if n := b.attempts(); n != 0 {
					t.Errorf("%d attempts were spent", n)
				}
				if b.left() != 2000 {
					t.Errorf("%d left in the buffer, want all", b.left())
				}
				if how != "breaker" && !d.Paused() {
					t.Error("not paused")
				}
				r.set(func() { r.before, r.after, r.down = nil, nil, false })
				back := time.Now()
				until(t, func() bool { return b.left() == 0 })
				if took := time.Since(back); took > d.cfg.PauseMax+d.cfg.Deadline+10*time.Second {
					t.Errorf("it took %s after the outage", took)
				}
				stop(t, d)
				r.exactly(t, ids)
				if s := d.Stats(); s.Failed != 0 || s.Refused != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Cases 47, 54: a Redis that does not answer is neither the end of the loop nor
// a hot one.
func TestOutageOfRedis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 500, 4)
		d := newDrainer(t, b, r)
		d.Start()
		b.setFault(func(string, bool) error { return errDown })
		pass(10 * time.Minute)
		total := 0
		for _, n := range b.calls {
			total += n
		}
		if total > 3000 {
			t.Errorf("%d calls in ten minutes of outage: %v", total, b.calls)
		}
		b.setFault(nil)
		until(t, func() bool { return b.left() == 0 })
		stop(t, d)
		r.exactly(t, ids)
		if n := b.attempts(); n != 0 {
			t.Errorf("%d attempts were spent", n)
		}
	})
}

// An error with one environment ends neither the pass nor the others' turns.
func TestOneEnvironmentsErrorIsItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		bad := b.put("a", "bad", 20, 4)
		good := b.put("b", "good", 20_000, 4)
		r.before = func(_ context.Context, items []runstore.Materialisation) error {
			if items[0].Snapshot.Trigger.Environment == "bad" && len(items) > 0 {
				for _, m := range items {
					if m.Snapshot.ID == bad[3] {
						return errDown // as of the whole store, but it is not
					}
				}
			}
			return nil
		}
		d := newDrainer(t, b, r)
		d.Start()
		until(t, func() bool { return r.has(good) })
		// What is at fault is isolated, and its neighbours pass it.
		until(t, func() bool { return b.left() == 1 })
		if b.state(bad[3]) == "materialised" || b.attempts() != 0 {
			t.Errorf("state %s, %d attempts", b.state(bad[3]), b.attempts())
		}
		stop(t, d)
	})
}

// A lost reply of any call to Redis harms nothing.
func TestLostRepliesOfRedis(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"ack", "lease", "extend", "reap", "revive", "heads", "sweep"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, r := newFakeBuffer(), newFakeRuns()
				ids := b.put("o", "e", 300, 4)
				var n atomic.Int64
				b.setFault(func(o string, lost bool) error {
					if o == op && lost == (op == "ack" || op == "lease") && n.Add(1)%3 == 1 {
						return errDown
					}
					return nil
				})
				d := newDrainer(t, b, r)
				drained(t, d, b)
				r.exactly(t, ids)
				for _, id := range ids {
					if b.marked[id] != 1 {
						t.Fatalf("%s was marked %d times", id, b.marked[id])
					}
				}
			})
		})
	}
}

// Decision by version: what changes while it is materialised is applied before
// it is acknowledged, and a change that comes in each round ends nothing.
func TestChangesDuringALease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 50, 4)
		b.patch(ids[1], run.Patch{AddTags: []string{"before"}})
		changes := 0
		r.after = func() error {
			if changes++; changes <= 3 {
				b.patch(ids[0], run.Patch{AddTags: []string{fmt.Sprint(changes)}})
			}
			if changes == 3 {
				b.patch(ids[2], run.Patch{Cancel: &run.Cancellation{}})
			}
			return nil
		}
		d := newDrainer(t, b, r, func(c *Config) { c.InFlight = 1 })
		drained(t, d, b)
		r.exactly(t, ids)
		if row, _ := r.row(ids[0]); !slices.Equal(row.applied, []int64{1, 2, 3}) {
			t.Errorf("applied %v", row.applied)
		}
		if row, _ := r.row(ids[1]); !slices.Equal(row.applied, []int64{1}) {
			t.Errorf("applied %v", row.applied)
		}
	})
}

// A run that is changed without end is not acknowledged with a change missing.
func TestEndlessChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		id := b.put("o", "e", 1, 1)[0]
		n := 0
		r.after = func() error {
			if n++; n <= 100 {
				b.patch(id, run.Patch{AddTags: []string{fmt.Sprint(n % 10)}})
			}
			return nil
		}
		d := newDrainer(t, b, r)
		drained(t, d, b)
		if row, _ := r.row(id); row.ver != 100 || len(row.applied) != 100 {
			t.Errorf("version %d, %d applied", row.ver, len(row.applied))
		}
	})
}

// Cases 39 to 41, 105, 124: a poisoned entry fails alone, after its attempts,
// visibly, and only when its failure is written.
func TestPoisonAmongNeighbours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 100, 4)
		bad := ids[17]
		failures := 0
		r.poison = func(id run.ID, failed bool) error {
			if id != bad {
				return nil
			}
			if !failed {
				return rejected()
			}
			if failures++; failures < 3 {
				return errDown // case 41: the failure's own row fails for a while
			}
			return nil
		}
		d := newDrainer(t, b, r)
		d.Start()
		until(t, func() bool { return r.has(without2(ids, bad)) })
		if b.state(bad) == "gone" {
			t.Error("dropped before its attempts were spent")
		}
		began := time.Now()
		until(t, func() bool { return b.state(bad) == "gone" })
		stop(t, d)
		if time.Since(began) < d.cfg.Retry {
			t.Errorf("all attempts within %s", time.Since(began))
		}
		row, ok := r.row(bad)
		if !ok || row.status != run.SystemFailure {
			t.Fatalf("the failed run is %+v", row)
		}
		if s := d.Stats(); s.Failed != 1 || s.Refused != 5 || failures != 3 {
			t.Errorf("%d failures, %+v", failures, s)
		}
	})
}

func without2(ids []run.ID, one run.ID) []run.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id run.ID) bool { return id == one })
}

// A failure that can not be written either keeps its entry, and not in a hot loop.
func TestFailureThatCanNotBeWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		id := b.put("o", "e", 1, 1)[0]
		r.poison = func(run.ID, bool) error { return rejected() }
		d := newDrainer(t, b, r)
		d.Start()
		pass(10 * time.Minute)
		if b.state(id) == "gone" || len(r.rows) != 0 {
			t.Errorf("the entry is %s", b.state(id))
		}
		if r.calls > 60 {
			t.Errorf("%d calls", r.calls)
		}
		// A build that can store it does.
		r.set(func() { r.poison = nil })
		until(t, func() bool { return b.left() == 0 })
		stop(t, d)
		if row, _ := r.row(id); row.status != run.Queued {
			t.Errorf("the run is %s", row.status)
		}
	})
}

// A drainer dies after the failure's row and before the entry is dropped.
func TestFailureWrittenEntryNotDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		id := b.put("o", "e", 1, 1)[0]
		r.poison = func(_ run.ID, failed bool) error {
			if !failed {
				if r.rows[id] != nil {
					return nil // found by its id, before anything could refuse it
				}
				return rejected()
			}
			return nil
		}
		n := 0
		b.setFault(func(op string, lost bool) error {
			if op == "fail" && !lost {
				if n++; n == 1 {
					return errDown
				}
			}
			return nil
		})
		d := newDrainer(t, b, r)
		d.Start()
		until(t, func() bool { return b.state(id) == "gone" })
		stop(t, d)
		if row, _ := r.row(id); row.status != run.SystemFailure || len(b.dropped) != 1 {
			t.Errorf("%s, dropped %v", row.status, b.dropped)
		}
	})
}

// Case 126: an entry of an unknown version is kept and reported, and its
// neighbours pass it.
func TestUnknownVersionIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 10, 1)
		b.entries[ids[0]].unreadable = true
		var out logged
		d := newDrainer(t, b, r, func(c *Config) { c.Logger = out.logger() })
		d.Start()
		pass(5 * time.Minute)
		if !r.has(ids[1:]) || b.left() != 1 || len(r.rows) != 9 {
			t.Errorf("%d rows, %d left", len(r.rows), b.left())
		}
		if n := d.Stats().Unreadable; n < 1 || n > 2 {
			t.Errorf("looked at %d times in five minutes", n)
		}
		if !out.has("can not be read", ids[0].String(), "organisation=o") {
			t.Error("nothing was logged")
		}
		if l := d.Levels(); l.Dead != 1 || l.Total.Entries != 1 {
			t.Errorf("%+v", l)
		}
		stop(t, d)
		b.entries[ids[0]].unreadable = false // a build that knows the version
		d = newDrainer(t, b, r)
		drained(t, d, b)
		r.exactly(t, ids)
		if d.Stats().Revived != 1 {
			t.Errorf("%+v", d.Stats())
		}
	})
}

// Case 104: leases are renewed while a batch takes long.
func TestLeasesAreRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		b.put("o", "e", 10, 4)
		r.before = func(ctx context.Context, _ []runstore.Materialisation) error {
			<-time.After(50 * time.Second)
			return nil
		}
		d := newDrainer(t, b, r, func(c *Config) { c.Deadline, c.Lease = time.Minute, 3*time.Second })
		other := newDrainer(t, b, r)
		other.Start()
		d.Start()
		until(t, func() bool { return b.left() == 0 })
		stop(t, d)
		stop(t, other)
		if n := d.Stats().Reaped + other.Stats().Reaped; n != 0 || r.calls > 2 {
			t.Errorf("%d leases ran out, %d calls", n, r.calls)
		}
	})
}

// A drainer whose lease ran out may still acknowledge, and nothing else.
func TestLateDrainer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 2, 1)
		resume := make(chan struct{})
		var first atomic.Bool
		r.before = func(context.Context, []runstore.Materialisation) error {
			if first.CompareAndSwap(false, true) {
				<-resume
			}
			return nil
		}
		r.poison = func(id run.ID, failed bool) error {
			if id == ids[1] {
				return rejected()
			}
			return nil
		}
		frozen := newDrainer(t, b, r, func(c *Config) { c.Lease = time.Second; c.ReapEvery = time.Minute })
		b.setFault(func(op string, lost bool) error {
			if op == "extend" {
				return errAny // as if the whole process stood still
			}
			return nil
		})
		frozen.Start()
		until(t, first.Load)
		pass(2 * time.Second)
		for p := range 4 {
			if _, err := b.Reap(t.Context(), p, 10); err != nil {
				t.Fatal(err)
			}
		}
		token := buffer.NewToken()
		if got, _ := b.Lease(t.Context(), 0, "e", 2, token, time.Hour); len(got) != 2 {
			t.Fatalf("leased %d", len(got))
		}
		close(resume)
		until(t, func() bool { return b.state(ids[0]) == "materialised" })
		stop(t, frozen)
		if e := b.entries[ids[1]]; e.state != "leased" || e.token != token || e.e.Attempts != 0 {
			t.Errorf("the other's lease is %s, %d attempts", e.state, e.e.Attempts)
		}
		r.exactly(t, ids[:1])
	})
}

// Two drainers on one backlog write each run once.
func TestTwoDrainers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 3000, 4)
		r.before = func(context.Context, []runstore.Materialisation) error {
			<-time.After(3 * time.Millisecond)
			return nil
		}
		one, two := newDrainer(t, b, r), newDrainer(t, b, r)
		one.Start()
		two.Start()
		until(t, func() bool { return b.left() == 0 })
		stop(t, one)
		stop(t, two)
		r.exactly(t, ids)
		if a, c := one.Stats(), two.Stats(); a.Materialised+c.Materialised != 3000 || a.Materialised == 0 || c.Materialised == 0 {
			t.Errorf("%d and %d", a.Materialised, c.Materialised)
		}
	})
}

// Cases 57, 58, 69: a stop finishes or gives back what is under way, with its
// attempts as they were, and waits no longer than it may.
func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 1000, 4)
		r.before = func(ctx context.Context, _ []runstore.Materialisation) error {
			select {
			case <-ctx.Done():
				return errDown
			case <-time.After(time.Minute):
				return nil
			}
		}
		d := newDrainer(t, b, r, func(c *Config) { c.Deadline = time.Minute })
		d.Start()
		until(t, func() bool { return d.Stats().Leased > 0 })
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := d.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second || took < 3*time.Second {
			t.Errorf("stopped after %s", took)
		}
		if err := d.Stop(context.Background()); err != nil {
			t.Errorf("second stop: %v", err)
		}
		d.Start()
		if n := b.attempts(); n != 0 || b.left() != 1000 {
			t.Errorf("%d attempts, %d left", n, b.left())
		}
		// All are back in their order.
		var queued []run.ID
		for p := range 4 {
			ids := b.queues[place{p, "e"}]
			if !slices.IsSortedFunc(ids, byID) {
				t.Errorf("partition %d is out of order", p)
			}
			queued = append(queued, ids...)
		}
		if len(queued) != len(ids) {
			t.Errorf("%d queued", len(queued))
		}
		if d.Stats().Pauses != 0 {
			t.Error("a stop was taken for an outage")
		}
	})
}

func TestStopOfWhatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		b.put("o", "e", 10, 4)
		release := make(chan struct{})
		r.before = func(context.Context, []runstore.Materialisation) error {
			<-release
			return nil
		}
		d := newDrainer(t, b, r)
		d.Start()
		until(t, func() bool { return d.Stats().Leased > 0 })
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := d.Stop(ctx); !errors.Is(err, ErrStuck) {
			t.Errorf("stop: %v", err)
		}
		close(release)
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestStopBeforeStart(t *testing.T) {
	t.Parallel()
	d := newDrainer(t, newFakeBuffer(), newFakeRuns())
	for range 2 {
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
}

// Idle, it asks seldom; told, it looks at once.
func TestIdleAndNotified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		d := newDrainer(t, b, r)
		d.Start()
		pass(time.Minute)
		if n := b.calls["heads"]; n > 150 {
			t.Errorf("%d looks in a minute", n)
		}
		ids := b.put("o", "e", 5, 4)
		d.Notify()
		synctest.Wait()
		if !r.has(ids) {
			t.Error("not drained at once")
		}
		ids = b.put("o", "e", 5, 4)
		began := time.Now()
		until(t, func() bool { return r.has(ids) })
		if took := time.Since(began); took > d.cfg.IdleMax {
			t.Errorf("took %s unnoticed", took)
		}
		stop(t, d)
	})
}

// A panic in a store is survived; what was alone with it is blamed.
func TestPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 40, 4)
		r.before = func(_ context.Context, items []runstore.Materialisation) error {
			for _, m := range items {
				if m.Snapshot.ID == ids[7] && m.Failed == nil {
					panic("boom")
				}
			}
			return nil
		}
		d := newDrainer(t, b, r)
		drained(t, d, b)
		r.exactly(t, ids)
		if row, _ := r.row(ids[7]); row.status != run.SystemFailure {
			t.Errorf("blamed: %s", row.status)
		}
		if s := d.Stats(); s.Failed != 1 || s.Panics < 3 {
			t.Errorf("%+v", s)
		}
	})
}

// Large entries travel in small batches.
func TestBatchesAreBoundInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 60, 4)
		for _, id := range ids {
			b.entries[id].e.Snapshot.Trigger.Payload = make([]byte, 1<<20)
		}
		r.before = func(_ context.Context, items []runstore.Materialisation) error {
			if len(items) > 4 {
				t.Errorf("%d MiB in one transaction", len(items))
			}
			return nil
		}
		d := newDrainer(t, b, r)
		drained(t, d, b)
		r.exactly(t, ids)
		for i, call := range b.turns {
			if len(call.ids) > firstTake || (i > 2 && len(call.ids) > takeBytes>>20) {
				t.Errorf("lease %d took %d MiB", i, len(call.ids))
			}
		}
	})
}
