package drain

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/runstore"
)

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
				r.before = func(context.Context, []runstore.Materialisation) error {
					<-time.After(5 * time.Millisecond)
					return nil
				}
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
