package shard

import (
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Config holds what a [Table] cannot make itself. All fields are required.
type Config struct {
	ClaimTTL   time.Duration // a claim is renewed at a third of it
	WaitBudget time.Duration // how long a caller waits for a foreign claim
	Poll       time.Duration // how often a foreign claim is looked at when no wake-up comes
	NewToken   func() Token
	NewID      func(partition int) run.ID
	Gate       Gate
	Durability func() run.Durability // of a run that rests in the buffer
	Waited     func(time.Duration)   // told of each wait for a foreign claim; may be nil
}

// Gate says which triggers are mollified. Its methods answer from memory.
type Gate interface {
	// Peek says whether the trigger would be mollified now. It counts nothing.
	Peek(*run.Snapshot) bool
	// Decide counts the trigger and says whether it is mollified.
	Decide(*run.Snapshot) bool
	// Count counts a trigger that was mollified on the strength of Peek.
	Count(*run.Snapshot)
	// Since returns the latest moment received from Redis, if it is young enough
	// for an accept without a claim.
	Since() (Moment, bool)
	// Diverts says whether the trigger may go to the buffer because Postgres can
	// not take it.
	Diverts(*run.Snapshot) bool
	// Blind reports whether Postgres can not be asked now.
	Blind() bool
}

// Caller is one trigger that wants an answer. T is whatever the driver uses to
// find its caller again; it must be unique among the callers in the table.
type Caller[T comparable] struct {
	Ticket    T
	Partition int
	Snapshot  *run.Snapshot // its ID is minted when it comes to be settled
	Claims    bool          // the key takes part in claims
	Arrived   time.Time
}

// Table is the flights of a shard. Its methods must be called one at a time;
// each leaves requests and answers that [Table.Take] hands over.
type Table[T comparable] struct {
	cfg     Config
	closed  func(T)
	last    uint64
	begun   uint64
	flights map[uint64]*flight[T]
	keys    map[run.Hash]*flight[T]
	timed   map[uint64]*flight[T] // waiting, idle, or holding a claim: what Tick looks at
	callers map[T]*flight[T]

	requests []Request
	answers  []Answer[T]
}

// NewTable returns an empty table. closed is told of each caller before the request
// that it may be answered from is posted: whoever wants to share its answer has to
// have come by then. It may be told so more than once.
func NewTable[T comparable](cfg Config, closed func(T)) *Table[T] {
	return &Table[T]{
		cfg:     cfg,
		closed:  closed,
		flights: map[uint64]*flight[T]{},
		keys:    map[run.Hash]*flight[T]{},
		timed:   map[uint64]*flight[T]{},
		callers: map[T]*flight[T]{},
	}
}

// Take hands over what the calls since the last Take have left: requests to
// post, then answers to give. The slices are the table's own and are valid
// until its next method is called.
func (t *Table[T]) Take() ([]Request, []Answer[T]) {
	r, a := t.requests, t.answers
	t.requests, t.answers = t.requests[:0], t.answers[:0]
	return r, a
}

// Flights is how many flights are in the table, idle ones not counted.
func (t *Table[T]) Flights() int {
	n := len(t.flights)
	for _, f := range t.timed {
		if f.state == idle {
			n--
		}
	}
	return n
}

// Begun is how many flights have begun: each passage of a key is one.
func (t *Table[T]) Begun() uint64 { return t.begun }

// Timed reports whether any flight waits for time to pass, so that
// [Table.Tick] has to be called.
func (t *Table[T]) Timed() bool { return len(t.timed) > 0 }

// Arrive takes a caller in: it leads a flight, or joins the one of its key.
func (t *Table[T]) Arrive(c Caller[T]) {
	if c.Snapshot.Key.IsZero() {
		f := t.newFlight(c)
		t.passage(f)
		t.elect(f) // it has its id before it is decided on
		if c.Claims && t.cfg.Gate.Decide(c.Snapshot) {
			t.accept(f)
		} else {
			t.settle(f)
		}
		return
	}
	f := t.keys[c.Snapshot.Hash]
	switch {
	case f == nil:
		f = t.newFlight(c)
		f.token = t.cfg.NewToken()
		t.keys[f.hash] = f
		t.begin(f)
	case f.state == idle:
		f.leader, f.late, f.claims, f.objections = c, append(f.late, c), c.Claims, c.objects()
		t.callers[c.Ticket] = f
		t.begin(f)
	case c.objects() && t.unwelcome(f, &c):
	case c.Snapshot.Trigger.InFlight == run.InFlightWait:
		f.behind = append(f.behind, c)
		t.callers[c.Ticket] = f
	default:
		f.late = append(f.late, c)
		f.objections = f.objections || c.objects()
		t.callers[c.Ticket] = f
	}
}

// Leave ends the wait of one caller, not its flight: a snapshot that is being
// settled is settled, and whoever else waits is answered.
func (t *Table[T]) Leave(ticket T) {
	f := t.callers[ticket]
	if f == nil {
		return
	}
	delete(t.callers, ticket)
	f.cohort = without(f.cohort, ticket)
	f.late = without(f.late, ticket)
	f.behind = without(f.behind, ticket)
}

func without[T comparable](list []Caller[T], ticket T) []Caller[T] {
	for i := range list {
		if list[i].Ticket == ticket {
			return slices.Delete(list, i, i+1)
		}
	}
	return list
}

// Wake says that the claim of a key was published, released or reset.
func (t *Table[T]) Wake(hash run.Hash) {
	if f := t.keys[hash]; f != nil {
		t.wake(f)
	}
}

// WakeAll says that wake-ups may have been missed.
func (t *Table[T]) WakeAll() {
	for _, f := range t.flights {
		t.wake(f)
	}
}

func (t *Table[T]) wake(f *flight[T]) {
	switch f.state {
	case waiting:
		t.claim(f)
	case claiming, accepting:
		f.woken = true
	}
}

// Tick lets time pass: it looks again at foreign claims, refuses callers whose
// wait budget is spent, renews claims, and forgets tokens that have run out.
func (t *Table[T]) Tick(now time.Time) {
	for _, f := range t.timed {
		switch {
		case f.state == waiting:
			t.expire(now, f)
			if f.waits() == 0 {
				t.waited(now, f)
				t.forget(f)
			} else if !now.Before(f.wakeAt) {
				t.claim(f)
			}
		case f.state == idle:
			if !now.Before(f.wakeAt) {
				t.forget(f)
			}
		case f.claimed && (f.state == settling || f.state == looking || f.state == accepting):
			if !now.Before(f.renewAt) {
				f.renewAt = now.Add(t.cfg.ClaimTTL / 3)
				t.request(f, Renew)
			}
		default:
			delete(t.timed, f.Flight)
		}
	}
}

// Fail ends the flight that ref belongs to: every caller is answered with err.
// Its claim is not released, because its write may be under way.
func (t *Table[T]) Fail(ref Ref, err error) {
	if f := t.flights[ref.Flight]; f != nil {
		f.comeForward()
		t.merge(f)
		t.refuseAll(f, err)
		t.forget(f)
	}
}

// FailCaller ends the flight that the caller is in, as [Table.Fail] does. It
// reports whether there was one: if not, the caller will not be answered.
func (t *Table[T]) FailCaller(ticket T, err error) bool {
	f := t.callers[ticket]
	if f != nil {
		t.Fail(f.Ref, err)
	}
	return f != nil
}

// FailAll ends every flight, as [Table.Fail] does.
func (t *Table[T]) FailAll(err error) {
	for _, f := range t.flights {
		t.Fail(f.Ref, err)
	}
}
