package actors

import (
	"context"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"sync"
	"time"
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
// its memory is the slot's next one's.
//
// Each slot is a goroutine for the writer's life: what stores are asked through goes
// deep, and a new goroutine would grow its stack to there with every batch.
type writer[T any] struct {
	limits
	name  string          // in profiles and traces
	label context.Context // the name as a label
	size  func(*T) int
	flush func([]T)
	told  func(writer string, items int, took time.Duration) // nil: nobody

	mu      sync.Mutex
	queue   []T
	busy    int // slots
	ended   bool
	posted  *sync.Cond // or ended
	idle    *sync.Cond
	running sync.WaitGroup
}

func newWriter[T any](name string, l limits, size func(*T) int, flush func([]T)) *writer[T] {
	w := &writer[T]{limits: l, name: name, size: size, flush: flush}
	w.label = pprof.WithLabels(context.Background(), pprof.Labels("writer", name))
	w.posted, w.idle = sync.NewCond(&w.mu), sync.NewCond(&w.mu)
	for range l.slots {
		w.running.Go(w.slot)
	}
	return w
}

// post takes an item and never blocks on a store. Not after end.
func (w *writer[T]) post(item T) {
	w.mu.Lock()
	w.queue = append(w.queue, item)
	w.mu.Unlock()
	w.posted.Signal()
}

func (w *writer[T]) slot() {
	pprof.SetGoroutineLabels(w.label)
	var batch []T
	for {
		if batch = w.next(batch); len(batch) == 0 {
			return
		}
		region := trace.StartRegion(w.label, w.name)
		w.flushTold(batch)
		region.End()
		clear(batch) // what it held must not live as long as its memory
		w.done()
	}
}

func (w *writer[T]) flushTold(batch []T) {
	if w.told == nil {
		w.flush(batch)
		return
	}
	began, items := time.Now(), len(batch) // flush may use the batch's memory
	w.flush(batch)
	w.told(w.name, items, time.Since(began))
}

// next waits for the next batch, in the memory of the one before; empty at the end.
func (w *writer[T]) next(memory []T) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 {
		if w.ended {
			return nil
		}
		if cap(w.queue) > 4*w.items {
			w.queue = nil // what an overload has left
		}
		w.posted.Wait()
		// Whoever is ready to run may be about to post: then it goes with this batch.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	w.busy++
	n, bytes := 0, 0
	for n < len(w.queue) && n < w.items {
		bytes += w.size(&w.queue[n])
		if n > 0 && bytes > w.limits.bytes {
			break
		}
		n++
	}
	batch := append(memory[:0], w.queue[:n]...)
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	return batch
}

func (w *writer[T]) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	if w.busy == 0 && len(w.queue) == 0 {
		w.idle.Broadcast()
	}
}

// wait returns when nothing is queued or under way.
func (w *writer[T]) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.busy > 0 || len(w.queue) > 0 {
		w.idle.Wait()
	}
}

// end flushes what is queued and ends the slots.
func (w *writer[T]) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.posted.Broadcast()
	w.running.Wait()
}
