package mollifier

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

// Buffered is what one environment has in the buffer.
type Buffered struct {
	Organisation, Environment string
	Entries, Bytes            int64
	Oldest                    time.Duration // how long its oldest waiting run has waited
	Paused                    bool          // it is not drained
}

// Buffered asks the buffer what it holds, by environment; environments that hold
// nothing are not listed. The error is run.ErrUnavailable.
func (e *Engine) Buffered(ctx context.Context) ([]Buffered, error) {
	partitions := make([]int, e.cfg.Partitions)
	for p := range partitions {
		partitions[p] = p
	}
	found, err := e.buffer.Heads(ctx, partitions)
	if err != nil {
		return nil, err
	}
	all := map[string]*Buffered{}
	for i := range found {
		for _, h := range found[i].Heads {
			b := all[h.Environment]
			if b == nil {
				b = &Buffered{Organisation: h.Organisation, Environment: h.Environment, Paused: e.pauses.paused(h.Environment)}
				all[h.Environment] = b
			}
			b.Entries += h.Usage.Entries
			b.Bytes += h.Usage.Bytes
			if h.AcceptedAt > 0 {
				b.Oldest = max(b.Oldest, time.Duration(found[i].Now-h.AcceptedAt)*time.Microsecond)
			}
		}
	}
	list := make([]Buffered, 0, len(all))
	for _, b := range all {
		if b.Entries > 0 {
			list = append(list, *b)
		}
	}
	slices.SortFunc(list, func(a, b Buffered) int {
		return cmp.Or(cmp.Compare(a.Organisation, b.Organisation), cmp.Compare(a.Environment, b.Environment))
	})
	return list, nil
}

// Purged is how far a purge has come.
type Purged struct {
	Cancelled int
	Left      int    // that were not cancelled: they have ended, or have a row by now
	Next      run.ID // where to go on; zero when everything was looked at
}

// The bounds of one step of a purge.
const (
	purgeRuns    = 10_000
	purgePage    = 500
	purgeWorkers = 16
	purgeTime    = 5 * time.Second
)

// PurgeBuffer cancels an environment's runs that wait in the buffer, the newest first,
// in steps: call it with no run id, and then with Next for as long as there is one.
// Runs that come after the first call are not touched. A purged run is a CANCELED run:
// it can be read all the time, keeps its key, and gets its row when it is drained.
// Nothing is removed here, so the buffer is empty when the drain has written the rows.
// What has left the buffer is left alone; see [fallback.Reader.CancelBuffered].
//
// Each step is in the audit before it begins. A step that ends early, with an error or
// with its node, is repeated from where it began: what is cancelled stays so. Errors:
// run.ErrInvalid, run.ErrUnavailable.
func (e *Engine) PurgeBuffer(ctx context.Context, environment string, next run.ID, by override.Author) (Purged, error) {
	if environment == "" {
		return Purged{}, &run.InvalidError{Field: "environment", Rule: "must not be empty"}
	}
	if err := e.overrides.Note(ctx, "buffer.purge", environment, by, map[string]string{"before": next.String()}); err != nil {
		return Purged{}, err
	}
	began := time.Now()
	out := Purged{Next: next}
	for seen := 0; seen < purgeRuns && time.Since(began) < purgeTime; {
		ids, err := e.buffer.List(ctx, environment, buffer.Page{Before: out.Next, Limit: purgePage})
		if err != nil {
			return out, err
		}
		n, err := e.cancelBuffered(ctx, environment, ids, by.Reason)
		out.Cancelled += n
		out.Left += len(ids) - n
		if err != nil {
			return out, err
		}
		if len(ids) < purgePage {
			out.Next = run.ID{}
			return out, nil
		}
		seen += len(ids)
		out.Next = ids[len(ids)-1]
	}
	return out, nil
}

func (e *Engine) cancelBuffered(ctx context.Context, environment string, ids []run.ID, reason string) (int, error) {
	var (
		work      sync.WaitGroup
		at        atomic.Int64
		cancelled atomic.Int64
		failed    atomic.Pointer[error]
	)
	for range min(purgeWorkers, len(ids)) {
		work.Go(func() {
			for i := at.Add(1) - 1; i < int64(len(ids)) && failed.Load() == nil; i = at.Add(1) - 1 {
				ok, err := e.reader.CancelBuffered(ctx, environment, ids[i], reason)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				if ok {
					cancelled.Add(1)
				}
			}
		})
	}
	work.Wait()
	if err := failed.Load(); err != nil {
		return int(cancelled.Load()), *err
	}
	return int(cancelled.Load()), nil
}
