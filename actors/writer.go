package actors

import "sync"

// limits bound the batches of a writer.
type limits struct {
	items int // in one batch
	bytes int // in one batch; a larger item travels alone
	slots int // batches under way at once
}

// writer group-commits: posts gather while its slots are busy, and each slot
// that comes free takes what has gathered. flush is called with one batch at a
// time per slot and must see to the reply of every item.
type writer[T any] struct {
	limits
	size  func(T) int
	flush func([]T)

	mu    sync.Mutex
	queue []T
	busy  int
	idle  *sync.Cond
}

func newWriter[T any](l limits, size func(T) int, flush func([]T)) *writer[T] {
	w := &writer[T]{limits: l, size: size, flush: flush}
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
	for {
		batch := w.next()
		if batch == nil {
			return
		}
		w.flush(batch)
	}
}

// next returns the next batch, or nil after giving up the slot.
func (w *writer[T]) next() []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil
		w.busy--
		if w.busy == 0 {
			w.idle.Broadcast()
		}
		return nil
	}
	n, bytes := 0, 0
	for n < len(w.queue) && n < w.items {
		bytes += w.size(w.queue[n])
		if n > 0 && bytes > w.limits.bytes {
			break
		}
		n++
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
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
