package drain

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

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

// What is paused stays where it is, and keeps nobody else; told that the pause is
// over, the drain looks at once. What was leased before is finished.
func TestPausedEnvironment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var paused atomic.Bool
		b, r := newFakeBuffer(), newFakeRuns()
		under := make(chan struct{})
		r.before = func(context.Context, []runstore.Materialisation) error {
			<-under
			return nil
		}
		d := newDrainer(t, b, r, func(c *Config) {
			c.Paused = func(environment string) bool { return environment == "held" && paused.Load() }
		})
		first := b.put("o", "held", 3, 4)
		d.Start()
		synctest.Wait() // it waits for Postgres, with leases
		paused.Store(true)
		ids, others := b.put("o", "held", 5, 4), b.put("o", "e", 5, 4)
		close(under)
		until(t, func() bool { return r.has(others) && r.has(first) })
		pass(time.Minute)
		for _, id := range ids {
			if r.has([]run.ID{id}) {
				t.Errorf("%s was drained", id)
			}
		}
		paused.Store(false)
		d.Notify()
		synctest.Wait()
		if !r.has(ids) {
			t.Error("not drained when the pause was over")
		}
		stop(t, d)
	})
}
