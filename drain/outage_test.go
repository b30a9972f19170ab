package drain

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

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
						return redisdb.Unreadable() // nobody knows what it did
					}
					return nil
				})
				d := newDrainer(t, b, r)
				drained(t, d, b)
				r.exactly(t, ids)
				if s := d.Stats(); s.Reaped != 0 || op == "lease" && s.Repeated == 0 {
					t.Errorf("entries waited for their lease to end: %+v", s)
				}
				for _, id := range ids {
					if b.marked[id] != 1 {
						t.Fatalf("%s was marked %d times", id, b.marked[id])
					}
				}
			})
		})
	}
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

// A batch that is served in part is no outage: what failed waits and costs no attempt.
func TestPartOfABatchFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 20, 4)
		tries := 0
		r.poison = func(id run.ID, _ bool) error {
			if id == ids[3] {
				if tries++; tries <= 5 {
					return errDown
				}
			}
			return nil
		}
		d := newDrainer(t, b, r)
		d.Start()
		until(t, func() bool { return r.has(without2(ids, ids[3])) })
		if d.Paused() {
			t.Error("paused though the neighbours were served")
		}
		until(t, func() bool { return b.left() == 0 })
		stop(t, d)
		if s := d.Stats(); b.attempts() != 0 || s.Refused != 0 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
		r.exactly(t, ids)
	})
}
