package gate

import (
	"sync/atomic"
	"time"
)

// decisions counts decisions by outcome, reason and whether the organisation
// is enrolled: all that may ever label them, for environments are many.
type decisions [outcomes][reasons][2]atomic.Uint64

func (c *decisions) record(d Decision, enrolled bool) {
	i := 0
	if enrolled {
		i = 1
	}
	c[d.Outcome][d.Reason][i].Add(1)
}

// Decided is how many decisions of one kind there were since the start.
type Decided struct {
	Outcome  Outcome
	Reason   Reason
	Enrolled bool
	Count    uint64
}

type counts struct {
	trips, reported, kept, untracked, calls, failures atomic.Uint64
}

// Stats is what a gate has done since it started.
type Stats struct {
	Decided []Decided // those that occurred, in a fixed order

	Environments int    // remembered now
	Trips        uint64 // times that an environment was tripped by its rate, as seen from this node
	Reported     uint64 // triggers that were counted in Redis
	Kept         uint64 // triggers that were counted on this node alone, because Redis gave no answer
	Untracked    uint64 // triggers that were not counted, because there were too many environments
	Calls        uint64 // round trips to Redis
	Failures     uint64 // round trips that Redis did not answer
}

// Stats returns the gate's counters. They are read one after another.
func (g *Gate) Stats() Stats {
	s := Stats{
		Environments: g.environments(),
		Trips:        g.counts.trips.Load(),
		Reported:     g.counts.reported.Load(),
		Kept:         g.counts.kept.Load(),
		Untracked:    g.counts.untracked.Load(),
		Calls:        g.counts.calls.Load(),
		Failures:     g.counts.failures.Load(),
	}
	for o := range g.decided {
		for r := range g.decided[o] {
			for e := range g.decided[o][r] {
				if n := g.decided[o][r][e].Load(); n > 0 {
					s.Decided = append(s.Decided, Decided{Outcome(o), Reason(r), e == 1, n})
				}
			}
		}
	}
	return s
}

// State is what a node knows of one environment's rate.
type State struct {
	Tripped bool          // by its rate
	Hold    time.Duration // how much longer, if no more triggers come
	// Count in the window, of the fleet as far as it is known; with GCRA, how many triggers the bucket holds.
	Count int
	// Left of the window; with GCRA, until the bucket is empty.
	Left time.Duration
}

// State returns what is known of an environment now; of one that nothing is
// remembered of, the zero State.
func (g *Gate) State(environment string, now time.Time) State {
	l, _ := g.overrides.of(environment)
	at := g.at(now)
	s := g.stripe(environment)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.envs[environment]
	if e == nil {
		return State{}
	}
	return e.state(at, l)
}

// state is what is known of the environment; its stripe is locked.
func (e *environment) state(at int64, l limits) State {
	c := e.fleet
	state := State{Hold: span(max(e.held()-at, 0)), Tripped: e.held() > at}
	switch {
	case l.algorithm == GCRA:
		level := c.drained(at)
		state.Count, state.Left = int((level+l.each()-1)/l.each()), span((level+999)/1000)
	case c.mark > at:
		state.Count, state.Left = int(c.level), span(c.mark-at)
	}
	return state
}
