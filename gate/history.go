package gate

import (
	"slices"
	"sync"
	"time"
)

// Trip is a time in which an environment, or all of them, was tripped, as this node
// saw it.
type Trip struct {
	Environment string // "" is all: Postgres was in trouble
	Reason      Reason
	Began       time.Time
	Ended       time.Time // zero while it lasts, and where the end was not seen
	// Of a rate: how many triggers were counted when it began, and what was in force.
	Counted int64
	Limits  Limits
}

// remembered is how many trips a node remembers.
const remembered = 1024

// history is the last trips. A trip is known by its number.
type history struct {
	mu  sync.Mutex
	all []Trip
	n   int // that there ever were
}

func (h *history) begin(t Trip) (number int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) < remembered {
		h.all = append(h.all, t)
	} else {
		h.all[h.n%remembered] = t
	}
	h.n++
	return h.n - 1
}

func (h *history) end(number int, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n-number <= remembered {
		h.all[number%remembered].Ended = at
	}
}

// Trips returns what this node remembers of when an environment was tripped, or all
// were, the latest first; and since when it remembers everything: zero if since it
// began. It remembers 1,024 trips.
func (g *Gate) Trips(environment string) (list []Trip, since time.Time) {
	h := &g.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.all {
		if t.Environment == environment || t.Environment == "" {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b Trip) int { return b.Began.Compare(a.Began) })
	if h.n > remembered {
		since = h.all[h.n%remembered].Began
	}
	return list, since
}

// moment is when something was on the gate's own clock.
func (g *Gate) moment(at int64) time.Time { return g.began.Add(span(at - clockBegins)) }
