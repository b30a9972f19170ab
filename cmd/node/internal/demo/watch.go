package demo

import (
	"context"
	"errors"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/client"
)

// watch reads acknowledged runs, over HTTP at random and some in Postgres until
// they are there.
type watch struct {
	readers map[string]*client.Client // by the key of their environment

	mu        sync.Mutex
	runs      []seen
	mollified int
	pending   map[string]time.Time // watched, and not yet in Postgres

	dwell *hdrhistogram.Histogram // microseconds
	count ReadCount
}

// seen is an acknowledged run and the key that may read it.
type seen struct{ id, key string }

// saw takes an acknowledged run into what is read and, if it is one of those,
// into what is watched.
func (w *watch) saw(a ack, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = append(w.runs, seen{a.id, key})
	if !a.queued {
		return
	}
	if w.mollified++; w.mollified%dwellSample != 1 {
		return
	}
	if w.pending == nil {
		w.pending = map[string]time.Time{}
	}
	w.pending[a.id] = a.at
}

// dwells looks for the rows of the watched runs until ctx ends.
func (w *watch) dwells(ctx context.Context, postgres string) error {
	w.dwell = newLatency()
	conn, err := connect(ctx, postgres)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(dwellEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.look(context.WithoutCancel(ctx), conn) // what the last look missed
		case <-tick.C:
		}
		if err := w.look(context.WithoutCancel(ctx), conn); err != nil {
			return err
		}
	}
}

func (w *watch) look(ctx context.Context, conn *pgx.Conn) error {
	w.mu.Lock()
	ids := slices.Collect(maps.Keys(w.pending))
	w.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	// Ids are indexed by environment.
	rows, err := conn.Query(ctx, `select r.id from environments as e join runs as r on r.env_id = e.id where r.id = any($1)`, ids)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range found {
		// An impossible dwell can only be one that is too long.
		_ = w.dwell.RecordValue(min(now.Sub(w.pending[id]), maxLatency).Microseconds())
		delete(w.pending, id)
	}
	return err
}

// reads reads acknowledged runs at random, one after another, until ctx ends.
func (w *watch) reads(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		var r seen
		if len(w.runs) > 0 {
			r = w.runs[mrand.IntN(len(w.runs))]
		}
		w.mu.Unlock()
		if r.id != "" {
			w.read(ctx, r)
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond): // a reader, not a second storm
		}
	}
}

func (w *watch) read(ctx context.Context, r seen) {
	_, err := w.readers[r.key].Run(ctx, r.id)
	switch {
	case ctx.Err() != nil: // cut off: no answer was waited for
	case err == nil:
		w.count.Answered++
	case errors.Is(err, client.NotFound):
		w.count.Missing++
	default:
		w.count.Unavailable++
	}
}
