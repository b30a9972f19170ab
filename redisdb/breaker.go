package redisdb

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"
)

// breaker stops asking a Redis that does not answer. Closed, every call goes
// out; after a number of failures in a row it opens, and calls are refused
// without touching the network; after a pause one call goes out as a probe,
// and its outcome closes or opens the breaker again.
type breaker struct {
	cb    *gobreaker.CircuitBreaker[struct{}]
	pause time.Duration
}

var errRefused = &callError{text: "the breaker is open"}

func newBreaker(failures int, pause time.Duration, changed func(BreakerState)) *breaker {
	// The pause differs between nodes, so that they do not probe in step.
	pause += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(pause))
	return &breaker{pause: pause, cb: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        "redis",
		MaxRequests: 1,
		Timeout:     pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= failures },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if changed != nil {
				changed(stateOf(to))
			}
		},
		IsExcluded: func(err error) bool {
			var e *callError
			return errors.As(err, &e) && !e.down
		},
	})}
}

// do runs f unless the breaker is open. What f returns is counted as a failure
// if it is down, as a success if it is nil, and not at all otherwise. The
// error is errRefused if f did not run.
func (b *breaker) do(f func() *callError) error {
	_, err := b.cb.Execute(func() (struct{}, error) {
		if e := f(); e != nil {
			return struct{}{}, e
		}
		return struct{}{}, nil
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return errRefused
	}
	return err
}

// BreakerState is the state of the breaker in front of Redis.
type BreakerState string

// The states of the breaker.
const (
	BreakerClosed   BreakerState = "closed"    // calls go out
	BreakerOpen     BreakerState = "open"      // calls are refused at once
	BreakerHalfOpen BreakerState = "half-open" // one call goes out, to see
)

func stateOf(s gobreaker.State) BreakerState {
	switch s {
	case gobreaker.StateOpen:
		return BreakerOpen
	case gobreaker.StateHalfOpen:
		return BreakerHalfOpen
	}
	return BreakerClosed
}

func (b *breaker) state() BreakerState { return stateOf(b.cb.State()) }
