package drain

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

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

// A change that this build can not read keeps its run in the buffer.
func TestUnreadableChangeIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, r := newFakeBuffer(), newFakeRuns()
		id := b.put("o", "e", 1, 1)[0]
		b.setFault(func(op string, lost bool) error {
			if op == "ack" {
				return run.ErrUnknownVersion
			}
			return nil
		})
		d := newDrainer(t, b, r)
		d.Start()
		pass(10 * time.Minute)
		if b.state(id) == "materialised" || b.calls["ack"] > 30 {
			t.Errorf("%s after %d acks", b.state(id), b.calls["ack"])
		}
		b.setFault(nil)
		until(t, func() bool { return b.left() == 0 })
		stop(t, d)
	})
}
