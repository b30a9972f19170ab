package drain

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/run"
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

func without2(ids []run.ID, one run.ID) []run.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id run.ID) bool { return id == one })
}
