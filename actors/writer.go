package actors

import (
	"context"
	"runtime/pprof"
	"runtime/trace"
	"sync"
)

// limits bound the batches of a writer.
type limits struct {
	items int // in one batch
	bytes int // in one batch; a larger item travels alone
	slots int // batches under way at once
}

// writer group-commits: posts gather while its slots are busy, and each slot
// that comes free takes what has gathered. flush is called with one batch at a
// time per slot, must see to the reply of every item, and must not keep the batch:
// its memory is the next one's.
type writer[T any] struct {
	limits
	name  string          // in profiles and traces
	label context.Context // the name as a label
	size  func(*T) int
	flush func([]T)

	mu    sync.Mutex
	queue []T
	spare [][]T // memory of batches, at most one a slot
	busy  int
	idle  *sync.Cond
}

func newWriter[T any](name string, l limits, size func(*T) int, flush func([]T)) *writer[T] {
	w := &writer[T]{limits: l, name: name, size: size, flush: flush}
	w.label = pprof.WithLabels(context.Background(), pprof.Labels("writer", name))
	w.idle = sync.NewCond(&w.mu)
	return w
}

// post takes an item and never blocks on a store.
func (w *writer[T]) post(item T) {
	w.mu.Lock()
	w.queue = append(w.queue, item)
	start := w.busy < w.slots
	if start {
		w.busy++
	}
	w.mu.Unlock()
	if start {
		go w.flushLoop()
	}
}

func (w *writer[T]) flushLoop() {
	pprof.SetGoroutineLabels(w.label)
	var batch []T
	for {
		clear(batch) // what it held must not live as long as its memory
		if batch = w.next(batch); batch == nil {
			return
		}
		region := trace.StartRegion(w.label, w.name)
		w.flush(batch)
		region.End()
	}
}

// next returns the next batch, or nil after giving up the slot. done is the
// memory of the batch before, or nil.
func (w *writer[T]) next(done []T) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		if done != nil {
			w.spare = append(w.spare, done[:0])
		}
		if cap(w.queue) > 4*w.items {
			w.queue = nil // what an overload has left
		}
		w.busy--
		if w.busy == 0 {
			w.idle.Broadcast()
		}
		return nil
	}
	if last := len(w.spare) - 1; done == nil && last >= 0 {
		done, w.spare = w.spare[last], w.spare[:last]
	}
	n, bytes := 0, 0
	for n < len(w.queue) && n < w.items {
		bytes += w.size(&w.queue[n])
		if n > 0 && bytes > w.limits.bytes {
			break
		}
		n++
	}
	batch := append(done[:0], w.queue[:n]...)
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	return batch
}

// wait returns when nothing is queued or under way.
func (w *writer[T]) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.busy > 0 {
		w.idle.Wait()
	}
}
