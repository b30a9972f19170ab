package drain

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/e0ff5a15/mollifier/run"
)

func TestEverythingLandsOnceInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		ids := b.put("o", "e", 1000, 4)
		d := newDrainer(t, b, r)
		drained(t, d, b)
		r.exactly(t, ids)
		for p, got := range b.taken {
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

// What changes while it is materialised is applied before
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
			if changes == 1 {
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
		if row, _ := r.row(ids[2]); row.status != run.Canceled {
			t.Errorf("the cancelled run is %s", row.status)
		}
		// At once, and not after the lease had run out.
		if s := d.Stats(); s.Dirty < 4 || s.Reaped != 0 || s.Materialised != 50 {
			t.Errorf("%+v", s)
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
