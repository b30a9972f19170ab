package live

// history is the last so many of what was added, each under a number: the first
// is 1, and none is left out.
type history[T any] struct {
	most int
	all  []T
	seq  int64 // of the newest
}

func (h *history[T]) add(item T) {
	if len(h.all) == h.most {
		copy(h.all, h.all[1:])
		h.all = h.all[:h.most-1]
	}
	h.all = append(h.all, item)
	h.seq++
}

// after returns a copy of what was added after a number and is still kept. A number
// that has not been given yet is one of another life of the node: all are returned.
func (h *history[T]) after(seq int64) []T {
	if seq < 0 || seq > h.seq {
		seq = 0
	}
	news := min(h.seq-seq, int64(len(h.all)))
	return append([]T{}, h.all[int64(len(h.all))-news:]...)
}

func (h *history[T]) newest() (item T, ok bool) {
	if len(h.all) == 0 {
		return item, false
	}
	return h.all[len(h.all)-1], true
}
