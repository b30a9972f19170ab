package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Readiness follows the stores within a second, and ends with the node for good.
func TestProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		var state atomic.Pointer[error]
		var asked atomic.Int64
		p := newProbe(func(context.Context) error {
			asked.Add(1)
			return *state.Load()
		})
		if err := p.ready(t.Context()); err != nil {
			t.Errorf("before the first answer: %v", err)
		}
		var l loops
		state.Store(new(error))
		l.start(p.loop)
		for _, want := range []error{nil, down, nil} {
			state.Store(&want)
			<-time.After(probeEvery + time.Millisecond)
			if err := p.ready(t.Context()); !errors.Is(err, want) {
				t.Errorf("ready says %v, want %v", err, want)
			}
		}
		before := asked.Load()
		for range 1000 {
			_ = p.ready(t.Context())
		}
		if asked.Load() != before {
			t.Error("questions reach the stores")
		}
		p.stopping()
		if err := p.ready(t.Context()); !errors.Is(err, errStopping) {
			t.Errorf("while stopping: %v", err)
		}
		l.stop()
		l.stop() // no harm
	})
}

// A node that failed before it had loops is closed like any other.
func TestLoopsNeverStarted(t *testing.T) {
	t.Parallel()
	var l loops
	l.stop()
}
