package shard

import (
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/internal/mutant"
)

// Claimed takes the reply to a Claim.
func (t *Table[T]) Claimed(now time.Time, ref Ref, r ClaimReply) {
	f := t.current(ref, claiming)
	if f == nil {
		return
	}
	if r.Err != nil || r.State != Pending {
		t.waited(now, f)
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
		t.check(f, r.Holder)
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
	if f.acceptLost {
		f.acceptLost = false
		l := t.request(f, Landed)
		l.Environment, l.Run = f.leader.Snapshot.Trigger.Environment, f.leader.Snapshot.ID
	}
	switch {
	case r.Stale:
		// The claim was dropped by a reset, or is about to be. If it still stands it
		// is taken anew, from the floor on, where the reset does not reach it.
		f.maybe, f.claimed, f.floor = f.maybe || f.claimed, false, r.Floor
		t.claim(f)
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
			p := t.post(f, publishing, Publish)
			p.Holder, p.Found = r.Holder, !r.Created || f.accepted == 0
			return
		}
		t.end(f)
	case r.Rejected && f.keyed:
		t.refuseLeader(f, r.Err)
		f.stepIn()
		t.merge(f)
		if len(f.cohort) == 0 {
			t.drop(now, f)
			return
		}
		f.leader = f.cohort[0] // the claim is kept: the next snapshot may fare better
		t.settle(f)
	case f.claims && !f.diverted && !r.Rejected && t.cfg.Gate.Diverts(f.leader.Snapshot):
		// Whether it is in Postgres or not, the same id may be buffered: the
		// drain then finds it there.
		f.unsettled = f.unsettled || r.Unknown
		f.diverted, f.written, f.unsure = true, f.leader.Snapshot.ID, r.Unknown
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

// holdBack makes everybody but the leader late, and the next answer the leader's alone.
func (t *Table[T]) holdBack(f *flight[T]) {
	t.merge(f)
	f.heldBack = true
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
	if f.waits() == 0 {
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
		t.check(f, f.holder)
	case r.Err != nil:
		t.refuseAll(f, r.Err)
		t.end(f)
	case r.Holds:
		t.answerAll(f, r.Holder, false)
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
		t.confirmed(ref, r)
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
		f.diverted, f.provisional, f.unsettled, f.acceptLost = true, true, true, true
		f.written = f.leader.Snapshot.ID
		f.accepted = 0
		t.settle(f)
	case r.Err != nil:
		t.fail(now, f, r.Err, true)
	case r.State == Accepted:
		if f.keyed {
			t.count(f)
		}
		if f.keyed && f.unsure {
			t.holdBack(f) // as for a settle that may be a repeat
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
		t.check(f, r.Holder)
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

// bound goes on with a key that a run in the buffer holds. While nothing can have
// happened to that run it is the answer. Else Postgres is asked who holds the key
// there; while it can not be asked, what Redis knows is the answer, and it is
// provisional.
func (t *Table[T]) bound(f *flight[T], h Holder, queued bool) {
	if f.holder = h; queued {
		t.answerAll(f, h, false)
		t.end(f)
		return
	}
	if t.answerBlind(f) {
		return
	}
	// That Postgres does not know the run makes the buffer's word the answer, and
	// that is older than who has come since: they stay late.
	r := t.postAlone(f, confirming, Look)
	r.Environment, r.Run = f.leader.Snapshot.Trigger.Environment, h.ID
}

// confirmed takes the reply to a Look at the key of a buffered run.
func (t *Table[T]) confirmed(ref Ref, r LookReply) {
	f := t.current(ref, confirming)
	if f == nil {
		return
	}
	b, h := f.holder, r.Seen.Holder
	switch {
	case r.Err != nil && t.cfg.Gate.Blind():
		t.claim(f) // as for a check
	case r.Err != nil && f.looks < maxLooks:
		f.looks++
		t.bound(f, b, false)
	case r.Err != nil:
		t.refuseAll(f, r.Err)
		t.end(f)
	case r.Seen.Found && (r.Seen.Known || b.AcceptedAt < max(h.Until, r.Seen.Floor)):
		// The run has its place, in the slot or not; or the holder's interval meets
		// its own, and it is going to be another name of the holder.
		if r.Seen.Live {
			t.answerAll(f, h, false)
			t.end(f)
			return
		}
		f.observed, f.floor = b.ID, r.Seen.Floor
		t.claim(f)
	default:
		// On its way from the buffer to the slot: the buffer's word stands.
		t.answerAll(f, b, false)
		t.end(f)
	}
}

// check asks Postgres whether a run that was published still holds the key.
func (t *Table[T]) check(f *flight[T], candidate Holder) {
	f.holder = candidate
	if t.answerBlind(f) {
		return
	}
	r := t.post(f, checking, CheckHolder)
	r.Environment, r.Run = f.leader.Snapshot.Trigger.Environment, candidate.ID
}

// answerBlind answers what Redis knows if Postgres can not be asked.
func (t *Table[T]) answerBlind(f *flight[T]) bool {
	if !t.cfg.Gate.Blind() {
		return false
	}
	f.provisional = true
	t.answerAll(f, f.holder, false)
	t.end(f)
	return true
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
	if t.refuseForeign(f); f.waits() == 0 {
		t.forget(f)
		return
	}
	f.state = waiting
	f.tracing.enters(waiting)
	f.wakeAt = now.Add(min(left, t.cfg.Poll))
	if f.waitsSince.IsZero() {
		f.waitsSince = now
	}
	t.timed[f.Flight] = f
}

// waited ends the wait for a foreign claim, if there was one.
func (t *Table[T]) waited(now time.Time, f *flight[T]) {
	if !f.waitsSince.IsZero() && t.cfg.Waited != nil {
		t.cfg.Waited(now.Sub(f.waitsSince))
	}
	f.waitsSince = time.Time{}
}

// Published takes the reply to a Publish.
func (t *Table[T]) Published(ref Ref, r PublishReply) {
	f := t.current(ref, publishing)
	switch {
	case f == nil:
	case r.Err != nil && f.waits() == 0:
		t.keep(f)
	case r.Err != nil:
		t.again(f) // the claim may still be ours: go in with the same token
	case r.Done && (!f.stray || mutant.On("stray-publish-answers")):
		t.answerAll(f, f.holder, false)
		t.end(f)
	default:
		t.end(f)
	}
}
