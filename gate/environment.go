package gate

import (
	"hash/maphash"
	"strings"
	"sync"

	"github.com/e0ff5a15/mollifier/internal/mutant"
)

// stripes is how many locks the environments are spread over.
const stripes = 64

// environment is what a node knows of one environment. Own is what the node
// has counted itself, always, so that it has a gate of its own when Redis
// fails. Fleet is the last reading and all that this node has counted since, so
// it is never behind what Redis will say of this node's own triggers.
type environment struct {
	id         string
	name       string // in Redis
	own, fleet counter
	pending    batch // counted, not sent
	sent       batch // sent, without an answer
}

// counted is how many triggers are known of the window, by whoever knows more.
func (e *environment) counted(now int64, l limits) int64 {
	n := int64(0)
	for _, c := range [...]*counter{&e.own, &e.fleet} {
		switch {
		case l.algorithm == GCRA:
			n = max(n, (c.drained(now)+l.each()-1)/l.each())
		case c.mark > now:
			n = max(n, c.level)
		}
	}
	return n
}

func (e *environment) held() int64 { return max(e.own.held, e.fleet.held) }

// batch is how many triggers were counted together, and when the first was.
type batch struct{ n, since int64 }

// recent is n, unless the batch is so old that it would be counted where it
// does not belong: nobody has reported for longer than reports take.
func (b batch) recent(now, age int64) int64 {
	if now-b.since > age {
		return 0
	}
	return b.n
}

// stripe is a part of the environments behind one lock, which is never held
// over I/O or a call to others.
type stripe struct {
	mu      sync.Mutex
	envs    map[string]*environment
	dirty   []*environment // those with something pending, each once
	spare   []*environment // the slice that dirty was before
	sweepAt int            // at this many, those that say nothing are forgotten

	_ [32]byte // neighbours lie on cache lines of their own
}

func (g *Gate) stripe(id string) *stripe {
	return &g.stripes[maphash.String(g.seed, id)%stripes]
}

// tripped reports whether the rate has tripped the environment.
func (g *Gate) tripped(id string, now int64) bool {
	s := g.stripe(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.envs[id]
	return e != nil && e.held() > now
}

// advance counts n triggers and reports whether the environment is tripped then.
func (g *Gate) advance(id string, now, n int64, l limits) bool {
	s := g.stripe(id)
	s.mu.Lock()
	e := s.envs[id]
	if e == nil {
		if e = g.meet(s, id, now, l.algorithm); e == nil {
			s.mu.Unlock()
			g.counts.untracked.Add(uint64(n))
			return false
		}
	}
	before := e.held() > now
	e.count(now, n, l, 2*micros(g.cfg.Budget))
	tripped := e.held() > now
	wake := false
	if e.pending.n == 0 {
		e.pending.since = now
		wake = len(s.dirty) == 0
		s.dirty = append(s.dirty, e)
	}
	e.pending.n += n
	counted := int64(0)
	if tripped && !before {
		counted = e.counted(now, l)
	}
	s.mu.Unlock()

	if tripped && !before {
		g.noteTrip(e, counted, now, l)
	}
	if wake {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return tripped
}

// count advances both counters by n triggers. What is not known to have been
// counted in Redis may yet be counted in its next window: it is carried over
// the end of this one. A report takes no longer than late; what is older than
// that is not on its way.
func (e *environment) count(now, n int64, l limits, late int64) {
	e.own.add(now, n, l)
	if l.algorithm == FixedWindow && e.fleet.mark <= now {
		n += e.pending.recent(now, late) + e.sent.recent(now, late)
	}
	e.fleet.add(now, n, l)
}

// read takes a reading in place of what was known of the fleet, and counts on
// it what has come since it was asked for.
func (e *environment) read(r reading, now int64, l limits) {
	e.sent = batch{}
	held := e.fleet.held
	e.fleet = r.at(now, l.algorithm)
	// What tripped on this node may not have tripped in Redis yet.
	e.fleet.held = max(e.fleet.held, held)
	if e.pending.n > 0 && !mutant.On("forgets-what-is-not-reported") {
		e.fleet.add(now, e.pending.n, l)
	}
}

// meet begins with an environment; the stripe is locked. It returns nil if
// there is no room.
func (g *Gate) meet(s *stripe, id string, now int64, a Algorithm) *environment {
	room := g.cfg.Environments / stripes
	if len(s.envs) >= min(s.sweepAt, room) {
		for other, e := range s.envs {
			if e.pending.n == 0 && e.sent.n == 0 && e.own.over(now, a) && e.fleet.over(now, a) {
				delete(s.envs, other)
			}
		}
		// Twice as many as are alive: a sweep costs no more than what was met.
		s.sweepAt = max(2*len(s.envs), 16)
		if len(s.envs) >= room {
			return nil
		}
	}
	if s.envs == nil {
		s.envs = make(map[string]*environment)
	}
	id = strings.Clone(id) // it may be part of a whole request
	e := &environment{id: id, name: g.rateName(id)}
	s.envs[id] = e
	return e
}

func (g *Gate) environments() int {
	n := 0
	for i := range g.stripes {
		s := &g.stripes[i]
		s.mu.Lock()
		n += len(s.envs)
		s.mu.Unlock()
	}
	return n
}
