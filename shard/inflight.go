package shard

import "github.com/e0ff5a15/mollifier/run"

// objects reports whether the caller is to be refused where another trigger of its
// idempotency key is in flight. Tries of one request, and of one place in a batch,
// are the same call and never in conflict.
func (c *Caller[T]) objects() bool {
	return c.Snapshot.Trigger.InFlight == run.InFlightConflict && c.Snapshot.Key.Kind == run.KindIdempotency
}

// ledBy reports whether the caller leads the flight, or is another try of the
// leader's transport request.
func (c *Caller[T]) ledBy(leader *Caller[T]) bool {
	q := c.Snapshot.RequestHash
	return c.Ticket == leader.Ticket || !q.IsZero() && q == leader.Snapshot.RequestHash
}

// unwelcome refuses a caller that objects and has come while another trigger is on
// its way to a run.
func (t *Table[T]) unwelcome(f *flight[T], c *Caller[T]) bool {
	var err error
	switch f.state {
	case settling, looking, accepting:
		err = f.conflict(c)
	case waiting:
		err = f.conflictAbroad(c)
	}
	if err != nil {
		t.answer(Answer[T]{Ticket: c.Ticket, Err: err})
	}
	return err != nil
}

// conflict is what a caller is refused with beside the flight's leader, who is about
// to look for a run or to make one; nil if it may stay.
func (f *flight[T]) conflict(c *Caller[T]) error {
	if !c.objects() || c.ledBy(&f.leader) {
		return nil
	}
	return &run.InFlightError{OtherPayload: c.Snapshot.PayloadHash != f.leader.Snapshot.PayloadHash}
}

// conflictAbroad is what a caller is refused with because another node has the claim;
// nil if it may stay. A leader whose snapshot a store may have stays: a refusal
// would say that nothing was stored.
func (f *flight[T]) conflictAbroad(c *Caller[T]) error {
	if !c.objects() || f.leaderWritten() && c.ledBy(&f.leader) {
		return nil
	}
	return &run.InFlightError{}
}

func (t *Table[T]) refuseBeside(f *flight[T]) {
	if f.objections {
		f.cohort, f.late = t.refuse(f.cohort, f.conflict), t.refuse(f.late, f.conflict)
	}
}

func (t *Table[T]) refuseForeign(f *flight[T]) {
	if f.objections {
		f.cohort, f.late = t.refuse(f.cohort, f.conflictAbroad), t.refuse(f.late, f.conflictAbroad)
		f.stepIn()
		t.merge(f)
		t.leaderRefused(f)
	}
}
