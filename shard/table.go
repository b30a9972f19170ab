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
	Divert     bool                  // what Postgres can not take goes to the buffer
	Durability func() run.Durability // of a run that rests in the buffer
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

type state uint8

const (
	claiming state = iota
	waiting
	settling
	checking
	publishing
	looking
	accepting
	idle // nothing under way; only the token of a claim that may still stand is kept
)

var stateNames = [...]string{"claiming", "waiting", "settling", "checking", "publishing", "looking", "accepting", "idle"}

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

	token       Token
	claimed     bool      // the claim is ours as far as we know
	maybe       bool      // the claim may be ours: the reply to its claim, settle or publish was lost
	unsettled   bool      // a settle under this token may still land: the claim is never released
	stray       bool      // a claim under this token may land at any time: that it is ours proves nothing of before
	renewAt     time.Time // while claimed
	woken       bool      // a wake-up came while the claim was under way
	wakeAt      time.Time // waiting: look again; publishing and idle: the claim has run out
	observed    run.ID    // claiming: who was seen not to hold it any more
	accepted    run.Instant
	provisional bool
	written     run.ID // the snapshot that one store may have, since the other is being asked
	slow        bool   // the buffer was full, and the key is claimed to tell a repeat
	counted     bool   // the gate has counted this passage
	peeked      bool   // the passage began on the strength of Peek
	diverted    bool   // one store could not take the run, the other is being asked
	since       Moment // fast path: received before Postgres was asked
	seen        Seen
	looks       int    // that failed
	candidateIn bool   // the candidate was in the buffer: that Postgres does not know it means nothing
	holder      Holder // checking: who may hold the key; publishing: what is published
}

// Table is the flights of a shard. Its methods must be called one at a time;
// each leaves requests and answers that [Table.Take] hands over.
type Table[T comparable] struct {
	cfg     Config
	last    uint64
	flights map[uint64]*flight[T]
	keys    map[run.Hash]*flight[T]
	timed   map[uint64]*flight[T] // waiting, idle, or holding a claim: what Tick looks at
	callers map[T]*flight[T]

	requests []Request
	answers  []Answer[T]
}

// NewTable returns an empty table.
func NewTable[T comparable](cfg Config) *Table[T] {
	return &Table[T]{
		cfg:     cfg,
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

// Timed reports whether any flight waits for time to pass, so that
// [Table.Tick] has to be called.
func (t *Table[T]) Timed() bool { return len(t.timed) > 0 }

// Arrive takes a caller in: it leads a flight, or joins the one of its key.
func (t *Table[T]) Arrive(c Caller[T]) {
	if c.Snapshot.Key.IsZero() {
		f := t.newFlight(c)
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
		f.leader, f.late, f.claims = c, append(f.late, c), c.Claims
		t.callers[c.Ticket] = f
		t.begin(f)
	default:
		f.late = append(f.late, c)
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
}

func without[T comparable](list []Caller[T], ticket T) []Caller[T] {
	for i := range list {
		if list[i].Ticket == ticket {
			return slices.Delete(list, i, i+1)
		}
	}
	return list
}

// Claimed takes the reply to a Claim.
func (t *Table[T]) Claimed(now time.Time, ref Ref, r ClaimReply) {
	f := t.current(ref, claiming)
	if f == nil {
		return
	}
	switch {
	case r.Err != nil:
		// Fail open: Postgres's slot is the arbiter, and the answer says so.
		f.claimed, f.maybe, f.provisional = false, f.maybe || r.MaybeClaimed, true
		f.stray = f.stray || r.MaybeClaimed
		f.accepted = 0
		t.settle(f)
	case r.State == Claimed:
		f.claimed, f.maybe, f.provisional = true, false, false
		f.accepted = r.AcceptedAt
		f.renewAt = now.Add(t.cfg.ClaimTTL / 3)
		t.timed[f.Flight] = f
		t.elect(f)
		if t.decide(f) {
			t.look(f)
		} else {
			t.settle(f)
		}
	case r.State == Resolved:
		f.maybe = false
		t.check(f, r.Holder, false)
	case r.State == Bound:
		f.maybe = false
		t.bound(f, r.Holder, r.Queued)
	case f.woken:
		f.maybe = false
		t.claim(f)
	default:
		f.maybe = false
		t.wait(now, f, r.Wait)
	}
}

// Settled takes the reply to a Settle.
func (t *Table[T]) Settled(now time.Time, ref Ref, r SettleReply) {
	f := t.current(ref, settling)
	if f == nil {
		return
	}
	switch {
	case r.Err == nil:
		if r.Created && f.peeked {
			t.count(f) // what was to be buffered went to Postgres in the end
		}
		if r.Created && f.keyed && f.leader.Snapshot.ID == f.written {
			// It may have been created long ago, by a write whose reply was lost, and
			// be over: that is an answer to its own caller alone.
			t.holdBack(f)
			f.stray = true
		}
		t.answerAll(f, r.Holder, r.Created)
		f.holder = r.Holder
		if f.claimed || f.maybe {
			f.wakeAt = now.Add(t.cfg.ClaimTTL)
			// A run that was not accepted by the claim's own instant is, to a reset,
			// no more than a run that was met.
			t.post(f, publishing, Request{Verb: Publish, Holder: r.Holder, Found: !r.Created || f.accepted == 0})
			return
		}
		t.end(f)
	case r.Rejected && f.keyed:
		t.refuseLeader(f, r.Err)
		t.merge(f)
		if len(f.cohort) == 0 {
			t.drop(now, f)
			return
		}
		f.leader = f.cohort[0] // the claim is kept: the next snapshot may fare better
		t.settle(f)
	case t.cfg.Divert && f.claims && !f.diverted && !r.Rejected:
		// Whether it is in Postgres or not, the same id may be buffered: the
		// drain then finds it there.
		f.unsettled = f.unsettled || r.Unknown
		f.diverted, f.written = true, f.leader.Snapshot.ID
		if !f.keyed {
			t.accept(f)
			return
		}
		if !f.claimed {
			t.sinceReceived(f)
		}
		t.look(f) // Postgres may merely be slow: who holds the key is asked all the same
	default:
		t.fail(now, f, r.Err, r.Unknown)
	}
}

// holdBack makes everybody but the leader late.
func (t *Table[T]) holdBack(f *flight[T]) {
	t.merge(f)
	for _, c := range f.cohort {
		if c.Ticket != f.leader.Ticket {
			f.late = append(f.late, c)
		}
	}
	f.cohort = slices.DeleteFunc(f.cohort, func(c Caller[T]) bool { return c.Ticket != f.leader.Ticket })
}

// fail ends a passage without an answer. unknown says that the run may exist
// all the same, or come to exist.
func (t *Table[T]) fail(now time.Time, f *flight[T], err error, unknown bool) {
	t.refuseAll(f, err)
	f.unsettled = f.unsettled || unknown
	if len(f.late) == 0 {
		t.drop(now, f)
		return
	}
	t.again(f)
}

// Checked takes the reply to a CheckHolder.
func (t *Table[T]) Checked(ref Ref, r CheckReply) {
	f := t.current(ref, checking)
	switch {
	case f == nil:
	case r.Err != nil && t.cfg.Gate.Blind():
		// What Redis said was said before some of the cohort came: it is asked again.
		t.claim(f)
	case r.Err != nil && f.looks < maxLooks:
		f.looks++
		t.check(f, f.holder, f.candidateIn)
	case r.Err != nil:
		t.refuseAll(f, r.Err)
		t.end(f)
	case r.Holds:
		t.answerAll(f, r.Holder, false)
		t.end(f)
	case !r.Found && f.candidateIn:
		// On its way from the buffer to Postgres: the buffer's word stands.
		t.answerAll(f, f.holder, false)
		t.end(f)
	default:
		f.observed = f.holder.ID
		t.claim(f)
	}
}

// Looked takes the reply to a Look.
func (t *Table[T]) Looked(now time.Time, ref Ref, r LookReply) {
	f := t.current(ref, looking)
	switch {
	case f == nil:
	case r.Err == nil:
		f.seen = r.Seen
		t.accept(f)
	case t.cfg.Gate.Blind():
		f.seen, f.provisional = Seen{Skipped: true}, true
		t.accept(f)
	case f.looks < maxLooks:
		f.looks++ // the next one fails too, or finds that Postgres can not be asked
		t.look(f)
	default:
		t.fail(now, f, r.Err, false)
	}
}

// maxLooks is how often a look into Postgres is repeated before it fails. A
// store that is gone says so by then, and the look is skipped.
const maxLooks = 4

// AcceptAnswered takes the reply to an Accept.
func (t *Table[T]) AcceptAnswered(now time.Time, ref Ref, r AcceptReply) {
	f := t.current(ref, accepting)
	if f == nil {
		return
	}
	switch {
	case r.Err != nil && !f.diverted:
		// Whether it is in the buffer or not, the same id may be settled.
		f.diverted, f.provisional, f.unsettled = true, true, true
		f.written = f.leader.Snapshot.ID
		f.accepted = 0
		t.settle(f)
	case r.Err != nil:
		t.fail(now, f, r.Err, true)
	case r.State == Accepted:
		if f.keyed {
			t.count(f)
		}
		t.answerAll(f, r.Holder, true)
		t.end(f)
	case r.State == AcceptHeld:
		// A settle of this very run may have landed although its reply was lost.
		t.answerAll(f, r.Holder, r.Holder.ID == f.leader.Snapshot.ID)
		t.end(f)
	case r.State == AcceptBound:
		f.claimed, f.maybe = false, false
		t.bound(f, r.Holder, r.Queued)
	case r.State == AcceptMet:
		f.claimed, f.maybe = false, false
		t.check(f, r.Holder, false)
	case r.State == AcceptWait:
		f.claimed, f.maybe = false, false
		if f.woken {
			t.claim(f)
			return
		}
		t.wait(now, f, r.Wait)
	case r.State == AcceptStale:
		f.claimed, f.maybe = false, false
		t.claim(f)
	case f.keyed && !f.claimed:
		// A repeat needs no room: the claim knows whether this is one.
		t.claim(f)
	default:
		t.fail(now, f, r.Full, false)
	}
}

// bound goes on with a key that a run in the buffer holds. While that run is
// queued nothing can have happened to it; once it is on its way to Postgres,
// Postgres has to be asked.
func (t *Table[T]) bound(f *flight[T], h Holder, queued bool) {
	if queued {
		t.answerAll(f, h, false)
		t.end(f)
		return
	}
	t.check(f, h, true)
}

// check asks Postgres whether a run still holds the key. While Postgres can not
// be asked, what Redis knows is the answer, and it is provisional.
func (t *Table[T]) check(f *flight[T], candidate Holder, buffered bool) {
	f.holder, f.candidateIn = candidate, buffered
	if t.cfg.Gate.Blind() {
		f.provisional = true
		t.answerAll(f, candidate, false)
		t.end(f)
		return
	}
	r := Request{Verb: CheckHolder, Environment: f.leader.Snapshot.Trigger.Environment, Run: candidate.ID}
	if buffered {
		// That Postgres does not know the run makes the buffer's word the answer,
		// and that is older than who has come since: they stay late.
		t.postAlone(f, checking, r)
		return
	}
	t.post(f, checking, r)
}

// decide asks the gate, which counts a passage once, however often it claims.
func (t *Table[T]) decide(f *flight[T]) bool {
	if f.counted {
		return t.cfg.Gate.Peek(f.leader.Snapshot)
	}
	f.counted = true
	return t.cfg.Gate.Decide(f.leader.Snapshot)
}

// count counts a run that was created without having been decided on.
func (t *Table[T]) count(f *flight[T]) {
	if !f.counted {
		f.counted = true
		t.cfg.Gate.Count(f.leader.Snapshot)
	}
}

func (t *Table[T]) wait(now time.Time, f *flight[T], left time.Duration) {
	f.state = waiting
	f.wakeAt = now.Add(min(left, t.cfg.Poll))
	t.timed[f.Flight] = f
}

// Published takes the reply to a Publish.
func (t *Table[T]) Published(ref Ref, r PublishReply) {
	f := t.current(ref, publishing)
	switch {
	case f == nil:
	case r.Err != nil && len(f.cohort)+len(f.late) == 0:
		t.keep(f)
	case r.Err != nil:
		t.again(f) // the claim may still be ours: go in with the same token
	case r.Done && !f.stray:
		t.answerAll(f, f.holder, false)
		t.end(f)
	default:
		t.end(f)
	}
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
			if len(f.cohort)+len(f.late) == 0 {
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
				t.request(f, Request{Verb: Renew})
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

func (t *Table[T]) newFlight(c Caller[T]) *flight[T] {
	t.last++
	f := &flight[T]{
		Ref: Ref{Flight: t.last}, leader: c, late: []Caller[T]{c},
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
	f.maybe = f.maybe || f.claimed // until the claim store has said otherwise
	f.observed, f.provisional, f.claimed, f.accepted = run.ID{}, false, false, 0
	f.written = run.ID{}
	f.slow, f.diverted, f.counted, f.peeked = false, false, false, false
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
	if t.cfg.Gate.Blind() {
		f.seen, f.provisional = Seen{Skipped: true}, true
		t.accept(f)
		return
	}
	t.post(f, looking, Request{Verb: Look, Environment: f.leader.Snapshot.Trigger.Environment})
}

func (t *Table[T]) accept(f *flight[T]) {
	t.elect(f)
	t.post(f, accepting, Request{
		Verb: Accept, Snapshot: f.leader.Snapshot, Claimed: f.claimed || f.maybe, Since: f.since, Seen: f.seen,
	})
}

func (t *Table[T]) claim(f *flight[T]) {
	t.post(f, claiming, Request{Verb: Claim, Observed: f.observed})
}

// settle posts the leader's snapshot to Postgres.
func (t *Table[T]) settle(f *flight[T]) {
	t.elect(f)
	f.leader.Snapshot.Accept(f.accepted)
	t.post(f, settling, Request{Verb: Settle, Snapshot: f.leader.Snapshot})
}

// elect makes sure of a leader whose snapshot can be written: if the leader has
// left and its snapshot was not written, a caller that is still there leads
// instead. Once a store may have the snapshot, it stays the one of the flight.
func (t *Table[T]) elect(f *flight[T]) {
	if (f.written.IsZero() || f.written != f.leader.Snapshot.ID) && t.callers[f.leader.Ticket] != f {
		if len(f.cohort) > 0 {
			f.leader = f.cohort[0]
		} else if len(f.late) > 0 {
			f.leader = f.late[0]
		}
	}
	if s := f.leader.Snapshot; s.ID.IsZero() {
		s.ID = t.cfg.NewID(f.partition)
	}
}

// post makes r the request under way: whoever has arrived until now may be
// answered from it.
func (t *Table[T]) post(f *flight[T], s state, r Request) {
	t.merge(f)
	t.postAlone(f, s, r)
}

// postAlone makes r the request under way, but leaves the late ones late.
func (t *Table[T]) postAlone(f *flight[T], s state, r Request) {
	f.state, f.woken = s, false
	f.Post++
	t.request(f, r)
}

func (t *Table[T]) request(f *flight[T], r Request) {
	r.Ref, r.Partition, r.Hash, r.Token = f.Ref, f.partition, f.hash, f.token
	t.requests = append(t.requests, r)
}

func (t *Table[T]) merge(f *flight[T]) {
	f.cohort = append(f.cohort, f.late...)
	f.late = emptied(f.late)
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
	case f.unsettled:
		f.wakeAt = now.Add(t.cfg.ClaimTTL)
		t.keep(f)
	default:
		t.request(f, Request{Verb: Release})
		t.forget(f)
	}
}

// keep holds on to the token of a claim that may still stand, until wakeAt: the
// key's next trigger on this node re-enters that claim instead of waiting for it.
func (t *Table[T]) keep(f *flight[T]) {
	f.state, f.claimed, f.maybe = idle, false, true
	t.timed[f.Flight] = f
}

// end closes a passage whose claim is no longer ours; whoever is left starts
// the next one, with a token of its own.
func (t *Table[T]) end(f *flight[T]) {
	f.claimed, f.maybe, f.unsettled, f.stray = false, false, false, false
	if f.keyed && len(f.cohort)+len(f.late) > 0 {
		f.token = t.cfg.NewToken()
	}
	t.again(f)
}

// again lets whoever is left pass once more, or forgets the flight.
func (t *Table[T]) again(f *flight[T]) {
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
	delete(t.flights, f.Flight)
	delete(t.timed, f.Flight)
	if f.keyed {
		delete(t.keys, f.hash)
	}
}

// expire refuses the callers of a waiting flight that have waited long enough.
func (t *Table[T]) expire(now time.Time, f *flight[T]) {
	t.merge(f)
	kept := f.cohort[:0]
	for _, c := range f.cohort {
		if now.Sub(c.Arrived) < t.cfg.WaitBudget {
			kept = append(kept, c)
			continue
		}
		t.answer(Answer[T]{Ticket: c.Ticket, Err: &run.RefusedError{
			Reason: run.ErrClaimTimeout, Part: "claim", RetryAfter: time.Second,
		}})
	}
	clear(f.cohort[len(kept):])
	f.cohort = kept
	if len(kept) > 0 && t.callers[f.leader.Ticket] != f {
		f.leader = kept[0] // a refused trigger must not be settled after all
	}
}

func (t *Table[T]) answerAll(f *flight[T], h Holder, created bool) {
	identity := run.Confirmed
	if f.provisional && f.keyed {
		identity = run.Provisional
	}
	state, durability := run.Materialised, run.DurablePostgres
	if h.Buffered {
		state, durability = run.Buffered, t.cfg.Durability()
	}
	for _, c := range f.cohort {
		s := c.Snapshot
		// A repeat of one transport request is the same call, not a later one.
		same := s.Key.Kind == run.KindRequest || (!s.RequestHash.IsZero() && s.RequestHash == h.RequestHash)
		mine := created && c.Ticket == f.leader.Ticket
		t.answer(Answer[T]{Ticket: c.Ticket, Result: run.NewResult(run.Answer{
			ID: h.ID, Canonical: h.Canonical, AcceptedAt: h.AcceptedAt, Identity: identity, State: state, Durability: durability,
			Cached: !mine && !same, PayloadMatch: s.PayloadHash == h.PayloadHash,
		})})
	}
	f.cohort = emptied(f.cohort)
}

func (t *Table[T]) refuseAll(f *flight[T], err error) {
	for _, c := range f.cohort {
		t.answer(Answer[T]{Ticket: c.Ticket, Err: err})
	}
	f.cohort = emptied(f.cohort)
}

func (t *Table[T]) refuseLeader(f *flight[T], err error) {
	if t.callers[f.leader.Ticket] == f {
		t.answer(Answer[T]{Ticket: f.leader.Ticket, Err: err})
		f.cohort = without(f.cohort, f.leader.Ticket)
	}
}

func (t *Table[T]) answer(a Answer[T]) {
	delete(t.callers, a.Ticket)
	t.answers = append(t.answers, a)
}
