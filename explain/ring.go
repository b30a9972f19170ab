package explain

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
)

// What is what an event is about.
type What string

// The kinds of events.
const (
	Mollified    What = "mollified"       // the gate sent it into the buffer
	Passed       What = "passed"          // the gate passed it, for another reason than its rate
	Shadowed     What = "shadowed"        // it passed, and would be mollified if its organisation were enrolled
	ToBuffer     What = "diverted-buffer" // Postgres could not take it
	ToPostgres   What = "diverted-store"  // the buffer could not take it
	Deduplicated What = "deduplicated"    // repeats were answered with a run that was there
	Refused      What = "refused"         // nothing was promised
)

// event is what is remembered of one decision. It holds no customer's text.
type event struct {
	at     time.Time
	what   What
	run    run.ID // the trigger's own; of a deduplication the run that answered
	hash   run.Hash
	reason gate.Reason
	why    string // of a refusal; one of few constants
	unsure bool   // the answer was provisional

	last    time.Time // of several callers
	callers int

	count  int
	limits gate.Limits
	hold   time.Duration
}

// stripes is how many locks the events are spread over, by their keys.
const stripes = 16

// Ring is a node's memory. Its methods are safe for concurrent use.
type Ring struct {
	state   func(environment string) (gate.State, gate.Limits)
	now     func() time.Time
	room    int // of a stripe
	stripes [stripes]stripe
}

type stripe struct {
	mu     sync.Mutex
	events []event
	n      int // that there ever were
}

// NewRing makes a memory of so many events; 0 remembers nothing. state is what the
// gate knows of an environment now, and the limits that hold for it.
func NewRing(events int, state func(environment string) (gate.State, gate.Limits)) *Ring {
	return &Ring{state: state, now: time.Now, room: (max(events, 0) + stripes - 1) / stripes}
}

// Decided implements a witness of the shards.
func (r *Ring) Decided(s *run.Snapshot, d gate.Decision) {
	e := event{what: Passed, run: s.ID, hash: s.Hash, reason: d.Reason}
	switch d.Outcome {
	case gate.Mollify:
		e.what = Mollified
	case gate.Shadow:
		e.what = Shadowed
	default:
		switch d.Reason {
		case gate.ReasonBelowRate, gate.ReasonNotEnrolled, gate.ReasonOff:
			return // how it always is; see the package comment
		}
	}
	if r.room == 0 {
		return
	}
	if d.Reason == gate.ReasonRate {
		var st gate.State
		st, e.limits = r.state(s.Trigger.Environment)
		e.count, e.hold = st.Count, st.Hold
	}
	r.add(&e)
}

// Diverted implements a witness of the shards.
func (r *Ring) Diverted(s *run.Snapshot, buffer bool) {
	e := event{what: ToPostgres, run: s.ID, hash: s.Hash}
	if buffer {
		e.what = ToBuffer
	}
	r.add(&e)
}

// Answered implements a witness of the shards.
func (r *Ring) Answered(s *run.Snapshot, callers int, result run.Result, err error) {
	e := event{what: Deduplicated, hash: s.Hash, callers: callers}
	switch {
	case err != nil:
		if s.Key.IsZero() {
			return // there is nothing to ask for it by
		}
		e.what, e.why = Refused, refusal(err)
	case result.Cached():
		e.run, e.unsure = result.ID(), result.Identity() == run.Provisional
	case callers > 1:
		e.run, e.callers, e.unsure = result.ID(), callers-1, result.Identity() == run.Provisional
	default:
		return
	}
	r.add(&e)
}

// refusal names an error by what it is about.
func refusal(err error) string {
	for _, known := range []struct {
		is   error
		name string
	}{
		{run.ErrQuota, "over-quota"},
		{run.ErrOverloaded, "overloaded"},
		{run.ErrClaimTimeout, "claim-timeout"},
		{run.ErrInFlight, "in-flight"},
		{run.ErrClosed, "stopping"},
		{run.ErrInvalid, "invalid"},
		{run.ErrUnavailable, "unavailable"},
	} {
		if errors.Is(err, known.is) {
			return known.name
		}
	}
	return "error"
}

// stripeOf is the part that an event of a key, or of a run without one, is in.
func (r *Ring) stripeOf(hash run.Hash, id run.ID) *stripe {
	i := hash[0]
	if hash == (run.Hash{}) {
		text := id.String()
		i = text[len(text)-1]
	}
	return &r.stripes[i%stripes]
}

func (r *Ring) add(e *event) {
	if r.room == 0 {
		return
	}
	e.at = r.now()
	e.last = e.at
	s := r.stripeOf(e.hash, e.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n > 0 { // a burst is one event
		if last := &s.events[(s.n-1)%r.room]; last.callers > 0 && e.callers > 0 && last.what == e.what &&
			last.hash == e.hash && last.run == e.run && last.why == e.why && last.unsure == e.unsure {
			last.callers += e.callers
			last.last = e.at
			return
		}
	}
	if len(s.events) < r.room {
		s.events = append(s.events, *e)
	} else {
		s.events[s.n%r.room] = *e
	}
	s.n++
}

// find returns the events of a run or a key, the earliest first, and since when this
// node remembers every event that could be among them: zero if since its start.
func (r *Ring) find(id run.ID, hash run.Hash) (list []event, since time.Time) {
	for i := range r.stripes {
		s := &r.stripes[i]
		s.mu.Lock()
		if s.n > len(s.events) {
			if oldest := s.events[s.n%r.room].at; oldest.After(since) {
				since = oldest
			}
		}
		for j := range s.events {
			e := &s.events[j]
			if !id.IsZero() && e.run == id || hash != (run.Hash{}) && e.hash == hash {
				list = append(list, *e)
			}
		}
		s.mu.Unlock()
	}
	slices.SortStableFunc(list, func(a, b event) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return list, since
}
