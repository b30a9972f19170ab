package ring

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// overhead is what a copy takes beside its bytes.
const overhead = 350

// Ring is the copies of one node. Make one with [New], give it to the buffer as its
// Keeper, and [Ring.Start] it. Its methods are safe for concurrent use.
type Ring struct {
	cfg    Config
	beats  []beat // by partition; the loop's alone
	number int64  // written last

	mu     sync.Mutex
	slots  []slot // copies, linked from the oldest to the newest
	free   int32  // first of the unused slots, linked by next
	oldest int32
	newest int32
	last   map[run.ID]int32 // the latest copy of each run
	seq    uint64           // of the copy that was added last
	bytes  int64
	n      int64

	count counters
	stop  func()
	done  chan struct{}
}

// slot is a copy and its place in the order.
type slot struct {
	buffer.Kept
	seq        uint64 // grows from the oldest to the newest; 0 for an unused slot
	prev, next int32
}

const none = -1

// Config says how a [Ring] runs. Bytes is how much it may hold, at least 1; the zero
// values of the others mean their defaults.
type Config struct {
	Bytes      int64
	Partitions int
	settings
}

// Stats counts what a ring has done since it started, and tells what it holds.
type Stats struct {
	Entries int64  `json:"entries"` // copies now
	Bytes   int64  `json:"bytes"`   // of them
	Evicted uint64 `json:"evicted"` // dropped for room, while only Redis had them
	Signals uint64 `json:"signals"` // that Redis may have gone back, by partition
	Runs    uint64 `json:"runs"`    // restored whole
	Patches uint64 `json:"patches"` // restored in entries that were there
	Refused uint64 `json:"refused"` // could not be restored, and dropped
}

type counters struct{ evicted, signals, runs, patches, refused atomic.Uint64 }

// New makes an empty ring. The error names the field of the configuration.
func New(cfg Config) (*Ring, error) {
	cfg.settings = cfg.settings.withDefaults()
	switch {
	case cfg.Bytes < 1:
		return nil, errors.New("ring: Config.Bytes must be at least 1")
	case cfg.Partitions < 1 || cfg.Partitions > run.MaxPartitions:
		return nil, fmt.Errorf("ring: Config.Partitions must be 1 to %d", run.MaxPartitions)
	}
	return &Ring{
		cfg: cfg, beats: make([]beat, cfg.Partitions),
		free: none, oldest: none, newest: none, last: map[run.ID]int32{},
	}, nil
}

// Stats returns the counters. A nil Ring has none.
func (r *Ring) Stats() Stats {
	if r == nil {
		return Stats{}
	}
	s := Stats{
		Evicted: r.count.evicted.Load(), Signals: r.count.signals.Load(), Refused: r.count.refused.Load(),
		Runs: r.count.runs.Load(), Patches: r.count.patches.Load(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Entries, s.Bytes = r.n, r.bytes
	return s
}

// Holds reports whether the ring has a copy of a run: it was acknowledged here, and
// may not be in Postgres. A nil Ring holds nothing.
func (r *Ring) Holds(environment string, id run.ID) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.last[id]
	return ok && r.slots[at].Environment == environment
}

// Keep adds a copy, and drops the oldest ones if there is no room. See
// [buffer.Keeper].
func (r *Ring) Keep(k buffer.Kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, known := r.last[k.ID]; known {
		switch old := &r.slots[at]; {
		case goesOn(&k, &old.Kept):
			r.drop(at)
		case goesOn(&old.Kept, &k):
			return // it was overtaken
		}
	}
	at := r.free
	if at == none {
		at = int32(len(r.slots))
		r.slots = append(r.slots, slot{})
	} else {
		r.free = r.slots[at].next
	}
	r.seq++
	r.slots[at] = slot{Kept: k, seq: r.seq, prev: r.newest, next: none}
	if r.newest == none {
		r.oldest = at
	} else {
		r.slots[r.newest].next = at
	}
	r.newest = at
	r.last[k.ID] = at
	r.n++
	r.bytes += weight(&k)
	for r.bytes > r.cfg.Bytes && r.n > 0 {
		r.drop(r.oldest)
		r.count.evicted.Add(1)
	}
}

// goesOn reports whether a is b, or b with later patches.
func goesOn(a, b *buffer.Kept) bool {
	n := len(b.Patches)
	return len(a.Patches) >= n && (n == 0 || a.Patches[n-1] == b.Patches[n-1])
}

func weight(k *buffer.Kept) int64 { return int64(k.Size()) + overhead }

// drop takes a copy away. The lock is held.
func (r *Ring) drop(at int32) {
	s := &r.slots[at]
	if s.prev == none {
		r.oldest = s.next
	} else {
		r.slots[s.prev].next = s.next
	}
	if s.next == none {
		r.newest = s.prev
	} else {
		r.slots[s.next].prev = s.prev
	}
	if r.last[s.ID] == at {
		delete(r.last, s.ID)
	}
	r.n--
	r.bytes -= weight(&s.Kept)
	*s = slot{next: r.free}
	r.free = at
}

// part is some copies, in their order, and where each was found.
type part struct {
	kept []buffer.Kept
	at   []int32
	seq  []uint64
}

// after returns at most n copies, and some 4 MiB, that were added after seq and pass
// the test (nil: all), the oldest first; from is where to begin to look, or none. It
// returns where the last was found, to go on from.
func (r *Ring) after(seq uint64, from int32, n int, pass func(*buffer.Kept) bool) (p part, last int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.oldest
	if from != none && int(from) < len(r.slots) && r.slots[from].seq == seq {
		at = r.slots[from].next
	}
	last = none
	for bytes := 0; at != none && len(p.kept) < n && bytes < maxPartBytes; at = r.slots[at].next {
		s := &r.slots[at]
		if s.seq <= seq || pass != nil && !pass(&s.Kept) {
			continue
		}
		bytes += s.Size()
		p.kept, p.at, p.seq = append(p.kept, s.Kept), append(p.at, at), append(p.seq, s.seq)
		last = at
	}
	return p, last
}

// left drops copies of a part that are still the ones that were looked at.
func (r *Ring) left(p *part, which []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range which {
		if at := p.at[i]; r.slots[at].seq == p.seq[i] {
			r.drop(at)
		}
	}
}
