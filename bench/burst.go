package bench

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// Bursts is an engine that is triggered by so many callers at once, each burst
// with one new key. One operation is a burst.
func Bursts(e *mollifier.Engine, name string, callers int, payload []byte) *load.Contestant {
	prefix := load.Fresh()
	return &load.Contestant{
		Name: name, Each: callers, Counts: func() load.Counts { return counts(e) },
		Do: func(ctx context.Context, i int) error {
			t := Trigger(prefix+strconv.Itoa(i), payload)
			return AtOnce(callers, func() error {
				_, err := e.Trigger(ctx, t)
				return err
			})
		},
	}
}

// AtOnce has so many callers do one thing at once, and returns one of their errors.
func AtOnce(callers int, do func() error) error {
	var (
		wait  sync.WaitGroup
		fault atomic.Pointer[error]
		start = make(chan struct{})
	)
	for range callers {
		wait.Go(func() {
			<-start
			if err := do(); err != nil {
				fault.CompareAndSwap(nil, &err)
			}
		})
	}
	close(start)
	wait.Wait()
	if err := fault.Load(); err != nil {
		return *err
	}
	return nil
}
