package recording

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/e0ff5a15/mollifier/gate"
)

const (
	stripes = 64
	// mostOpen is how many environments of a stripe are recorded in one second.
	mostOpen = 2048
	closeAll = time.Second
)

// Recorder keeps what the gate of one node has decided of late. Its methods are safe
// for concurrent use.
type Recorder struct {
	node      string
	algorithm gate.Algorithm
	most      int // bytes

	seed    maphash.Seed
	stripes [stripes]stripe
	left    atomic.Uint64

	mu    sync.Mutex
	kept  []Line // closed, the oldest first
	first uint64 // number of the oldest
	bytes int
}

// stripe is a part of the open seconds behind one lock.
type stripe struct {
	mu   sync.Mutex
	open map[string]*Line // by environment

	_ [32]byte // neighbours lie on cache lines of their own
}

// NewRecorder keeps about so many bytes, at least a line, of what a node's gate decides.
func NewRecorder(node string, a gate.Algorithm, bytes int) *Recorder {
	return &Recorder{node: node, algorithm: a, most: bytes, seed: maphash.MakeSeed()}
}

// Record takes down a decision: see [gate.Config].Record.
func (r *Recorder) Record(c gate.Counted) {
	second, slot := c.At.Truncate(time.Second), uint8(c.At.Nanosecond()/int(Slot))
	s := &r.stripes[maphash.String(r.seed, c.Environment)%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.open[c.Environment]
	if l != nil && (!l.At.Equal(second) || l.Enrolled != c.Enrolled || l.Limits != c.Limits) {
		r.keep(*l)
		delete(s.open, c.Environment)
		l = nil
	}
	if l == nil {
		if len(s.open) >= mostOpen {
			r.left.Add(1)
			return
		}
		if s.open == nil {
			s.open = map[string]*Line{}
		}
		l = &Line{
			// The texts may be parts of a whole request.
			At: second.UTC(), Node: r.node, Organisation: strings.Clone(c.Organisation), Environment: strings.Clone(c.Environment),
			Enrolled: c.Enrolled, Algorithm: r.algorithm, Limits: c.Limits,
		}
		s.open[l.Environment] = l
	}
	l.count(slot, !c.ByRate, c.Decision.Outcome != gate.Pass)
}

// count adds a trigger. Slots come in order but for goroutines that overtake each
// other, so the place is at the end or near it.
func (l *Line) count(slot uint8, given, mollified bool) {
	m := uint32(0)
	if mollified {
		m = 1
	}
	for i := len(l.Slots) - 1; i >= 0 && l.Slots[i].Slot >= slot; i-- {
		if c := &l.Slots[i]; c.Slot == slot && c.Given == given {
			c.Triggers++
			c.Mollified += m
			return
		}
	}
	at := len(l.Slots)
	for at > 0 && l.Slots[at-1].Slot > slot {
		at--
	}
	l.Slots = append(l.Slots, Counts{})
	copy(l.Slots[at+1:], l.Slots[at:])
	l.Slots[at] = Counts{Slot: slot, Given: given, Triggers: 1, Mollified: m}
}

// size is about what a line needs in memory.
func (l *Line) size() int {
	return int(unsafe.Sizeof(*l)) + len(l.Organisation) + len(l.Environment) + cap(l.Slots)*int(unsafe.Sizeof(Counts{}))
}

// keep closes a line.
func (r *Recorder) keep(l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.Seq = r.first + uint64(len(r.kept))
	r.kept = append(r.kept, l)
	r.bytes += l.size()
	drop := 0
	for r.bytes > r.most && drop < len(r.kept)-1 {
		r.bytes -= r.kept[drop].size()
		drop++
	}
	clear(r.kept[:drop])
	r.kept, r.first = r.kept[drop:], r.first+uint64(drop)
}

// close closes the seconds that are over, or all.
func (r *Recorder) close(now time.Time, all bool) {
	second := now.Truncate(time.Second)
	for i := range r.stripes {
		s := &r.stripes[i]
		s.mu.Lock()
		for environment, l := range s.open {
			if all || !l.At.Equal(second) {
				r.keep(*l)
				delete(s.open, environment)
			}
		}
		s.mu.Unlock()
	}
}

// Run closes seconds until ctx ends. Without it, that of an environment is closed by
// its next trigger.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(closeAll)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.close(now, false)
		case <-ctx.Done():
			return
		}
	}
}

// Lines closes what is open, and returns the lines from a number on, the oldest that
// are kept at the most, and the number to ask with next. Their slots are not to be
// changed.
func (r *Recorder) Lines(from uint64) (lines []Line, next uint64) {
	r.close(time.Time{}, true)
	r.mu.Lock()
	defer r.mu.Unlock()
	next = r.first + uint64(len(r.kept))
	if from = max(from, r.first); from < next {
		lines = append(lines, r.kept[from-r.first:]...)
	}
	return lines, next
}

// Left is how many decisions were not recorded, because more environments triggered
// in one second than are remembered.
func (r *Recorder) Left() uint64 { return r.left.Load() }
