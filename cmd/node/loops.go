package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// loops are goroutines that end together.
type loops struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

func (l *loops) init() {
	l.once.Do(func() { l.ctx, l.cancel = context.WithCancel(context.Background()) })
}

func (l *loops) start(all ...func(context.Context)) {
	l.init()
	for _, loop := range all {
		l.wait.Go(func() { loop(l.ctx) })
	}
}

// stop returns when all have ended.
func (l *loops) stop() {
	l.init()
	l.cancel()
	l.wait.Wait()
}

// every calls f at once and then regularly until ctx ends.
func every(ctx context.Context, pause time.Duration, f func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

const probeEvery = time.Second

// probe knows whether the node should get traffic: while at least one store works
// and the node is not stopping. It asks the stores by itself, so that a flood of
// questions costs them nothing.
type probe struct {
	ask   func(context.Context) error
	ended atomic.Bool
	last  atomic.Pointer[error]
}

var errStopping = errors.New("the node is stopping")

func newProbe(ask func(context.Context) error) *probe { return &probe{ask: ask} }

func (p *probe) loop(ctx context.Context) {
	every(ctx, probeEvery, func() {
		err := p.ask(ctx)
		if ctx.Err() == nil {
			p.last.Store(&err)
		}
	})
}

func (p *probe) stopping() { p.ended.Store(true) }

// ready is nil before the first answer: the start has just used both stores.
func (p *probe) ready(context.Context) error {
	if p.ended.Load() {
		return errStopping
	}
	if last := p.last.Load(); last != nil {
		return *last
	}
	return nil
}
