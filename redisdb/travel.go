package redisdb

import (
	"context"
	"sync"
	"time"
)

const (
	// rounds is how many times a call follows a redirection, or is tried again while
	// its slot moves.
	rounds = 4
	// firstPause is the wait before a call is tried again whose slot moves; it doubles.
	firstPause = 4 * time.Millisecond
)

// trip is the calls of a round trip that go to one server.
type trip struct {
	server   *server
	which    []int     // the calls
	outcomes []outcome // of each, in its place
	asking   bool      // their slot is on its way to this server, which serves them if told so
}

// travel sends each call to the server that has its slot, all servers at once, and
// follows redirections. A call that was sent elsewhere was not executed, so to follow
// repeats nothing.
func (d *DB) travel(ctx, within context.Context, l *link, calls []Call, outcomes []outcome) {
	all := make([]int, len(calls))
	for i := range all {
		all[i] = i
	}
	trips := route(within, l.servers, calls, outcomes, all)
	pause := firstPause
	for round := 0; len(trips) > 0; round++ {
		if len(trips) == 1 {
			d.visit(ctx, within, l, trips[0], calls)
		} else {
			var visits sync.WaitGroup
			for _, t := range trips {
				visits.Go(func() { d.visit(ctx, within, l, t, calls) })
			}
			visits.Wait()
		}
		for _, t := range trips {
			for n, i := range t.which {
				outcomes[i].take(t.outcomes[n])
			}
		}
		if sent(outcomes) {
			d.unbroken.trouble() // others may have given up meanwhile, and settled elsewhere
		}
		if round == rounds {
			return
		}
		trips = onward(within, l.servers, calls, outcomes, &pause)
	}
}

// take keeps the better of two outcomes of a call that went to several servers.
func (o *outcome) take(other outcome) {
	if o.values == nil || other.err == nil {
		*o = other
	}
}

// route plans the trips of the calls that which names. A call without keys goes to
// every server. What can not be sent gets its outcome.
func route(ctx context.Context, to servers, calls []Call, outcomes []outcome, which []int) []*trip {
	if one, ok := to.(single); ok {
		return []*trip{{server: one.server, which: which, outcomes: make([]outcome, len(which))}}
	}
	var r itinerary
	for _, i := range which {
		if len(calls[i].Keys) == 0 {
			for _, s := range to.all() {
				r.add(s, false, i)
			}
			continue
		}
		s, err := to.of(ctx, calls[i].Keys[0])
		if err != nil {
			outcomes[i] = outcome{err: &callError{text: "nobody knows the cluster's slots"}}
			continue
		}
		r.add(s, false, i)
	}
	return r.trips
}

// onward plans the trips of the calls that were sent elsewhere.
func onward(ctx context.Context, to servers, calls []Call, outcomes []outcome, pause *time.Duration) []*trip {
	var again []int // whose slot is in two places
	var r itinerary
	looked := false
	for i := range outcomes {
		if outcomes[i].err == nil || outcomes[i].err.away == nil {
			continue
		}
		away := outcomes[i].err.away
		if away.addr == "" {
			again = append(again, i)
			continue
		}
		if !away.ask && !looked {
			looked = true
			if to.look(ctx) != nil {
				return nil
			}
		}
		s, err := to.at(ctx, away.addr)
		if err != nil {
			return nil
		}
		r.add(s, away.ask, i)
	}
	if len(again) == 0 {
		return r.trips
	}
	wait := time.NewTimer(*pause)
	defer wait.Stop()
	*pause *= 2
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil
	}
	return append(r.trips, route(ctx, to, calls, outcomes, again)...)
}

// sent reports whether a call was sent elsewhere.
func sent(outcomes []outcome) bool {
	for i := range outcomes {
		if e := outcomes[i].err; e != nil && e.away != nil {
			return true
		}
	}
	return false
}

// itinerary groups calls by their server.
type itinerary struct{ trips []*trip }

func (r *itinerary) add(s *server, asking bool, call int) {
	for _, t := range r.trips {
		if t.server == s && t.asking == asking {
			t.which, t.outcomes = append(t.which, call), append(t.outcomes, outcome{})
			return
		}
	}
	r.trips = append(r.trips, &trip{server: s, asking: asking, which: []int{call}, outcomes: make([]outcome, 1)})
}
