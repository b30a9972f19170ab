package shard

import (
	"time"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

type state uint8

const (
	claiming state = iota
	waiting
	settling
	checking
	publishing
	looking
	accepting
	confirming
	idle // nothing under way; only the token of a claim that may still stand is kept
)

var stateNames = [...]string{"claiming", "waiting", "settling", "checking", "publishing", "looking", "accepting", "confirming", "idle"}

func (s state) String() string { return stateNames[s] }

// flight is one passage of a key, or of a keyless trigger, through the stores.
type flight[T comparable] struct {
	Ref
	state     state
	partition int
	hash      run.Hash
	keyed     bool
	claims    bool

	leader Caller[T]   // whose snapshot is settled; it may have left
	cohort []Caller[T] // arrived before the request under way was posted
	late   []Caller[T] // arrived after
	behind []Caller[T] // wait for the next passage

	token       Token
	claimed     bool      // the claim is ours as far as we know
	maybe       bool      // the claim may be ours: the reply to its claim, settle or publish was lost
	unsettled   bool      // a settle under this token may still land: the claim is never released
	reenters    bool      // the claim that may be ours was made in an earlier passage
	stray       bool      // a claim under this token may land at any time: that it is ours proves nothing of before
	renewAt     time.Time // while claimed
	woken       bool      // a wake-up came while the claim was under way
	tracing     *tracing
	waitsSince  time.Time   // for a foreign claim, however often it is looked at; zero if it does not
	wakeAt      time.Time   // waiting: look again; publishing and idle: the claim has run out
	observed    run.ID      // claiming: who was seen not to hold it any more
	floor       run.Instant // claiming: a settle with an earlier acceptance was stale
	accepted    run.Instant
	provisional bool
	written     run.ID // the snapshot that one store may have, since the other is being asked
	slow        bool   // the buffer was full, and the key is claimed to tell a repeat
	counted     bool   // the gate has counted this passage
	peeked      bool   // the passage began on the strength of Peek
	diverted    bool   // one store could not take the run, the other is being asked
	divertSaid  bool   // and that has been said
	objections  bool   // somebody came who is to be refused rather than share
	since       Moment // fast path: received before Postgres was asked
	seen        Seen
	looks       int    // that failed
	acceptLost  bool   // the buffer may have the snapshot that is being settled
	heldBack    bool   // the next answer is for its caller alone
	unsure      bool   // Postgres may have the snapshot that is being accepted
	holder      Holder // checking, confirming: who may hold the key; publishing: what is published
}

func (t *Table[T]) newFlight(c Caller[T]) *flight[T] {
	t.last++
	f := &flight[T]{
		Ref: Ref{Flight: t.last}, leader: c, late: []Caller[T]{c}, objections: c.objects(),
		partition: c.Partition, hash: c.Snapshot.Hash, keyed: !c.Snapshot.Key.IsZero(), claims: c.Claims,
	}
	t.flights[f.Flight] = f
	t.callers[c.Ticket] = f
	return f
}

// current returns the flight whose request under way is ref, or nil.
func (t *Table[T]) current(ref Ref, want state) *flight[T] {
	f := t.flights[ref.Flight]
	if f == nil || f.Post != ref.Post || f.state != want {
		return nil
	}
	return f
}

// begin posts the first request of a flight.
func (t *Table[T]) begin(f *flight[T]) {
	t.passage(f)
	f.maybe = f.maybe || f.claimed // until the claim store has said otherwise
	f.reenters = f.maybe
	f.observed, f.floor, f.provisional, f.claimed, f.accepted = run.ID{}, 0, false, false, 0
	f.written = run.ID{}
	f.slow, f.diverted, f.counted, f.peeked = false, false, false, false
	f.acceptLost, f.unsure, f.divertSaid = false, false, false
	f.looks, f.since, f.seen = 0, Moment{}, Seen{}
	switch {
	case !f.keyed && f.claims && t.cfg.Gate.Peek(f.leader.Snapshot):
		t.accept(f)
	case !f.keyed || !f.claims:
		t.settle(f)
	case !f.maybe && t.cfg.Gate.Peek(f.leader.Snapshot) && t.sinceReceived(f):
		f.peeked = true
		t.look(f)
	default:
		t.claim(f)
	}
}

// sinceReceived takes the moment that fences an accept without a claim. It must
// have been received before Postgres is asked.
func (t *Table[T]) sinceReceived(f *flight[T]) (ok bool) {
	f.since, ok = t.cfg.Gate.Since()
	return ok
}

func (t *Table[T]) look(f *flight[T]) {
	t.refuseBeside(f)
	if f.claimed && mutant.On("postgres-check-before-claim") {
		t.accept(f)
		return
	}
	if t.cfg.Gate.Blind() {
		f.seen, f.provisional = Seen{Skipped: true}, true
		t.accept(f)
		return
	}
	t.post(f, looking, Look).Environment = f.leader.Snapshot.Trigger.Environment
}

func (t *Table[T]) accept(f *flight[T]) {
	t.elect(f)
	t.refuseBeside(f)
	r := t.post(f, accepting, Accept)
	r.Snapshot, r.Claimed, r.Since, r.Seen, r.Unsure = f.leader.Snapshot, f.claimed || f.maybe, f.since, f.seen, f.unsure && !mutant.On("unsure-accept-unsaid")
	r.Diverted = t.sayDiverted(f)
}

func (t *Table[T]) claim(f *flight[T]) {
	r := t.post(f, claiming, Claim)
	r.Observed, r.Floor, r.Anew = f.observed, f.floor, f.reenters
	f.reenters = false
}

// settle posts the leader's snapshot to Postgres.
func (t *Table[T]) settle(f *flight[T]) {
	t.elect(f)
	t.refuseBeside(f)
	f.leader.Snapshot.Accept(f.accepted)
	r := t.post(f, settling, Settle)
	r.Snapshot, r.Diverted = f.leader.Snapshot, t.sayDiverted(f)
}

func (t *Table[T]) sayDiverted(f *flight[T]) bool {
	said := f.divertSaid
	f.divertSaid = f.diverted
	return f.diverted && !said
}

// elect makes sure of a leader whose snapshot can be written: if the leader has
// left and its snapshot was not written, a caller that is still there leads
// instead. Once a store may have the snapshot, it stays the one of the flight.
func (t *Table[T]) elect(f *flight[T]) {
	if !f.leaderWritten() && t.callers[f.leader.Ticket] != f {
		f.stepIn()
		if len(f.cohort) > 0 {
			f.leader = f.cohort[0]
		} else if len(f.late) > 0 {
			f.leader = f.late[0]
		}
	}
	if s := f.leader.Snapshot; s.ID.IsZero() || mutant.On("second-id-for-one-trigger") {
		s.ID = t.cfg.NewID(f.partition)
	}
}

// post makes a request the one under way: whoever has arrived until now may be
// answered from it. The caller fills in what is special to the verb, at once.
func (t *Table[T]) post(f *flight[T], s state, v Verb) *Request {
	t.merge(f)
	return t.postAlone(f, s, v)
}

// postAlone is post, but leaves the late ones late.
func (t *Table[T]) postAlone(f *flight[T], s state, v Verb) *Request {
	f.state, f.woken = s, false
	f.Post++
	f.tracing.enters(s)
	return t.request(f, v)
}

// request leaves a request; the pointer is good until the next one.
func (t *Table[T]) request(f *flight[T], v Verb) *Request {
	t.requests = append(t.requests, Request{Verb: v, Ref: f.Ref, Partition: f.partition, Hash: f.hash, Token: f.token})
	return &t.requests[len(t.requests)-1]
}

func (t *Table[T]) merge(f *flight[T]) {
	for i := range f.late {
		t.closed(f.late[i].Ticket)
	}
	f.cohort = append(f.cohort, f.late...)
	f.late = emptied(f.late)
}

// leaderWritten says that a store may have the leader's snapshot.
func (f *flight[T]) leaderWritten() bool {
	return !f.written.IsZero() && f.written == f.leader.Snapshot.ID
}

// waits is how many wait for an answer.
func (f *flight[T]) waits() int { return len(f.cohort) + len(f.late) + len(f.behind) }

// stepIn lets those behind come forward if nobody else is there.
func (f *flight[T]) stepIn() {
	if len(f.cohort)+len(f.late) == 0 {
		f.comeForward()
	}
}

// comeForward ends the wait behind a passage.
func (f *flight[T]) comeForward() {
	f.late = append(f.late, f.behind...)
	f.behind = emptied(f.behind)
}

// emptied keeps a list's memory, but not what it held: the snapshots of callers
// that have been answered must not live as long as a busy key.
func emptied[T comparable](list []Caller[T]) []Caller[T] {
	clear(list)
	return list[:0]
}

// drop ends a passage that has settled nothing and that nobody waits for: its
// claim is released, unless a write may still land under it.
func (t *Table[T]) drop(now time.Time, f *flight[T]) {
	switch {
	case !f.claimed && !f.maybe:
		t.forget(f)
	case f.unsettled && !mutant.On("releases-an-unsettled-claim"):
		f.wakeAt = now.Add(t.cfg.ClaimTTL)
		t.keep(f)
	default:
		t.request(f, Release)
		t.forget(f)
	}
}

// keep holds on to the token of a claim that may still stand, until wakeAt: the
// key's next trigger on this node re-enters that claim instead of waiting for it.
func (t *Table[T]) keep(f *flight[T]) {
	f.tracing.end()
	f.tracing = nil
	f.state, f.claimed, f.maybe = idle, false, true
	t.timed[f.Flight] = f
}

// end closes a passage whose claim is no longer ours; whoever is left starts
// the next one, with a token of its own.
func (t *Table[T]) end(f *flight[T]) {
	f.claimed, f.maybe, f.unsettled, f.stray = false, false, false, false
	if f.keyed && f.waits() > 0 {
		f.token = t.cfg.NewToken()
	}
	t.again(f)
}

// again lets whoever is left pass once more, or forgets the flight.
func (t *Table[T]) again(f *flight[T]) {
	f.comeForward()
	t.merge(f)
	if len(f.cohort) == 0 {
		t.forget(f)
		return
	}
	f.leader = f.cohort[0]
	f.claims = f.leader.Claims
	t.begin(f)
}

func (t *Table[T]) forget(f *flight[T]) {
	f.tracing.end()
	delete(t.flights, f.Flight)
	delete(t.timed, f.Flight)
	if f.keyed {
		delete(t.keys, f.hash)
	}
}
