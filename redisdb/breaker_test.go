package redisdb

import (
	"sync/atomic"
	"testing"
	"time"
)

// The breaker itself: opens after failures in a row, lets one probe through,
// and counts only outages.
func TestBreakerOneProbe(t *testing.T) {
	t.Parallel()
	states := make(chan BreakerState, 100)
	br := newBreaker(3, time.Millisecond, func(s BreakerState) { states <- s })
	down := &callError{text: "down", down: true}
	left := &callError{text: "left", unknown: true}
	next := func(want BreakerState) {
		t.Helper()
		if got := <-states; got != want {
			t.Fatalf("breaker became %s, want %s", got, want)
		}
	}
	for range 2 {
		_ = br.do(func() *callError { return down })
		_ = br.do(func() *callError { return left }) // neither breaks the row nor adds to it
	}
	_ = br.do(func() *callError { return nil }) // breaks the row
	for range 2 {
		_ = br.do(func() *callError { return down })
	}
	if s := br.state(); s != BreakerClosed {
		t.Fatalf("breaker %s", s)
	}
	_ = br.do(func() *callError { return down })
	next(BreakerOpen)

	// The pause has passed when a call is let through as the probe; while it is
	// under way, all others are refused.
	var probes atomic.Int32
	hold, began, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			err := br.do(func() *callError {
				probes.Add(1)
				close(began)
				<-hold
				return nil
			})
			if err != errRefused {
				ended <- err
				return
			}
		}
	}()
	<-began
	next(BreakerHalfOpen)
	for range 10 {
		if err := br.do(func() *callError { probes.Add(1); return nil }); err != errRefused {
			t.Fatalf("beside the probe: %v", err)
		}
	}
	close(hold)
	if err := <-ended; err != nil || probes.Load() != 1 {
		t.Fatalf("%v, %d probes", err, probes.Load())
	}
	next(BreakerClosed)
}
