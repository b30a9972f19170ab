package drain

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

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
				entries, err := dead.lease(t.Context(), turn{"o", "e", []part{{0, 10}, {1, 10}}})
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
