package mollifier

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
)

// An organisation that has left is claimed for until its buffer was empty for a
// whole grace; a run of it, or a look that fails, begins the grace anew.
func TestLeavingTakesAnEmptyGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var enrolled, failing, holds atomic.Bool
		var looks atomic.Int64
		enrolled.Store(true)
		e := &enrolment{
			mollified: func(string) bool { return enrolled.Load() },
			holding: func(context.Context) (map[string]bool, error) {
				looks.Add(1)
				if failing.Load() {
					return nil, errors.New("redis is away")
				}
				return map[string]bool{"acme": holds.Load()}, nil
			},
			every: buffer.Grace / 10, grace: buffer.Grace, news: make(chan struct{}, 1),
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); e.watch(ctx) }()
		defer func() { stop(); <-done }()
		pass := func(d time.Duration) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
		}
		claims := func(want bool, when string) {
			t.Helper()
			if got := e.claims("acme"); got != want {
				t.Errorf("%s: claims %v", when, got)
			}
			synctest.Wait()
		}

		claims(true, "enrolled")
		pass(time.Hour)
		if n := looks.Load(); n != 0 {
			t.Errorf("%d looks while everybody is enrolled", n)
		}
		enrolled.Store(false)
		holds.Store(true)
		claims(true, "just left")
		pass(time.Hour)
		claims(true, "with runs in the buffer")
		holds.Store(false)
		pass(buffer.Grace)
		failing.Store(true)
		pass(buffer.Grace / 5)
		failing.Store(false)
		pass(buffer.Grace)
		claims(true, "after a look that failed")
		pass(buffer.Grace / 2)
		claims(false, "after an empty grace")
		before := looks.Load()
		pass(time.Hour)
		if n := looks.Load() - before; n != 0 {
			t.Errorf("%d looks after it has gone", n)
		}
		enrolled.Store(true)
		claims(true, "enrolled again")
		enrolled.Store(false)
		e.claims("other") // somebody else leaves: all are looked at
		enrolled.Store(true)
		pass(buffer.Grace)
		enrolled.Store(false)
		claims(true, "left again")
	})
}
