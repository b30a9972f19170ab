package mollifier

import (
	"context"
	"log/slog"
	"time"
)

const (
	sweepEvery = time.Second
	sweepLimit = 1000 // runs moved by one statement; more follow at once
)

// Sweep moves at most limit runs whose time has come: delayed runs become
// QUEUED, runs whose ttl has passed EXPIRED. The engine does so every second by
// itself, unless [Config.NoSweep] is set. Any node may, at any time: they skip each
// other's rows.
func (e *Engine) Sweep(ctx context.Context, limit int) (expired, released int, err error) {
	return e.runs.Sweep(ctx, limit)
}

// sweep sweeps until ctx ends. Of failures in a row the first is logged.
func (e *Engine) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	failed := false
	for {
		err := e.sweepAll(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			e.cfg.Logger.Warn("sweep failed; it is tried again every second", slog.Any("error", err))
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) sweepAll(ctx context.Context) error {
	for {
		expired, released, err := e.Sweep(ctx, sweepLimit)
		if err != nil || max(expired, released) < sweepLimit {
			return err
		}
	}
}
