package shard

import (
	"errors"
	"slices"

	"github.com/e0ff5a15/mollifier/run"
)

// What the package promises, held against each answer, each settle and the
// tables' own structure. "Before" is by the model's steps.

// leads: a snapshot is settled for a caller that waits, or else for one that
// has left when nobody waits; never for one that has been answered.
func (w *world) leads(s *sent) {
	if s.owner.answered > 0 {
		w.Fatalf("the snapshot of caller %d is settled after its answer", s.owner.Ticket)
	}
	if !s.owner.left || w.unsure[s.snapshot.ID] {
		return // what a store may have stays the flight's
	}
	for _, f := range w.nodes[s.node].callers {
		if f.Flight == s.Ref.Flight {
			w.Fatalf("caller %d leads, has left, and others wait", s.owner.Ticket)
		}
	}
}

// answer holds one answer to the promises of the package.
func (w *world) answer(node int, cause *sent, a Answer[int]) {
	c := w.clients[a.Ticket]
	c.answered++
	switch {
	case c.answered > 1 || c.left:
		w.Fatalf("caller %d answered %d times, left: %t", a.Ticket, c.answered, c.left)
	case !c.closed && len(c.sharers) > 0:
		w.Fatalf("caller %d answered and never closed", a.Ticket)
	case c.node != node:
		w.Fatalf("caller %d answered by another node", a.Ticket)
	case errors.Is(a.Err, run.ErrInFlight):
		// One that had led when another node's claim was met was counted for its flight.
		w.strayed = w.strayed || cause != nil
		w.inFlight(c)
		return
	case a.Err != nil:
		w.strayed = true
		return
	case cause == nil:
		w.Fatalf("caller %d answered without a reply", a.Ticket)
	case cause.at < c.arrived:
		w.Fatalf("caller %d answered from a %v that was posted before it came", a.Ticket, cause.Verb)
	}
	if cause.at < c.behind {
		w.Fatalf("caller %d stood behind in step %d and was answered from a %v of step %d", a.Ticket, c.behind, cause.Verb, cause.at)
	}
	m := w.byID[a.Result.ID()]
	if m == nil || m.hash != c.Snapshot.Hash {
		w.Fatalf("caller %d answered %s, which is not of its key", a.Ticket, a.Result.ID())
	}
	w.told[m.ID] = true
	w.identity(cause, a.Result)
	if !w.faults || a.Result.Identity() == run.Confirmed {
		w.live(c, cause, m)
	}
	if !a.Result.Cached() {
		w.fresh[m.ID] = append(w.fresh[m.ID], c)
	}
	if a.Result.PayloadMatch() != (m.PayloadHash == c.Snapshot.PayloadHash || !a.Result.Cached()) {
		w.Fatalf("caller %d: payload match %t", a.Ticket, a.Result.PayloadMatch())
	}
}

// inFlight: who is refused for another's trigger asked for that, and has left
// nothing in a store, nor on its way there.
func (w *world) inFlight(c *client) {
	if c.Snapshot.Trigger.InFlight != run.InFlightConflict || c.key == 0 {
		w.Fatalf("caller %d was refused for another's trigger, and did not ask for that", c.Ticket)
	}
	for _, s := range w.wire {
		if s.owner == c && s.snapshot != nil && (s.Verb == Settle || s.Verb == Accept) {
			w.Fatalf("caller %d was refused while its snapshot was on its way", c.Ticket)
		}
	}
	if m := w.byID[c.Snapshot.ID]; !c.Snapshot.ID.IsZero() && m != nil {
		w.Fatalf("caller %d was refused, and %s was stored", c.Ticket, m.ID)
	}
}

// live: the run held the key at some instant between the caller's arrival and
// its answer.
func (w *world) live(c *client, cause *sent, m *modelRun) {
	if c.key == 0 {
		if w.owners[c.Snapshot].Snapshot.ID != m.ID {
			w.Fatalf("keyless caller %d answered another's run", c.Ticket)
		}
		return
	}
	ended := m.ended
	switch {
	case m.both && (m.told == 0 || cause.landed < m.told):
		return // it may have ended in Postgres while the buffer did not know
	case m.unasked && !m.inPostgres &&
		(cause.Verb == Claim && cause.claim.State == Bound || cause.Verb == Accept && cause.accept.State == AcceptBound):
		// A reset had reached Postgres and not the claim store, and somebody who could
		// not ask there has a provisional run since. Until the reset is complete the
		// claim store's word stands for those who ask it.
		ended = m.reset
	case cause.Verb == Publish, cause.Verb == Accept && cause.accept.State == AcceptHeld:
		// The instant between what Postgres said and what Redis said: only a
		// completed reset counts.
		ended = m.reset
	}
	if ended != 0 && ended < c.arrived {
		w.Fatalf("caller %d came in step %d and was answered from a %v with %s, over since step %d",
			c.Ticket, c.arrived, cause.Verb, m.ID, ended)
	}
}

// identity: provisional if and only if the claim store was not asked.
func (w *world) identity(cause *sent, r run.Result) {
	switch {
	case cause.Verb == Accept && cause.Seen.Skipped && cause.owner.key != 0:
		if r.Identity() != run.Provisional {
			w.Fatalf("flight %d answered %s without Postgres", cause.Ref.Flight, r.Identity())
		}
		return
	case cause.Verb != Settle && cause.Verb != Publish:
		if !w.faults && r.Identity() != run.Confirmed {
			w.Fatalf("flight %d answered %s and nothing has failed", cause.Ref.Flight, r.Identity())
		}
		return
	}
	settle := cause
	if cause.Verb == Publish {
		settle = w.posted[sentKey{cause.node, Ref{cause.Ref.Flight, cause.Ref.Post - 1}}]
	}
	want := run.Confirmed
	if settle.Verb == Settle && settle.owner.Claims && settle.snapshot.AcceptedAt == 0 && settle.owner.key != 0 {
		want = run.Provisional
	}
	if r.Identity() != want {
		w.Fatalf("flight %d answered %s from a %v", cause.Ref.Flight, r.Identity(), cause.Verb)
	}
}

// check holds the tables to their own structure.
func (w *world) check() {
	for n, t := range w.nodes {
		keyed, callers := 0, 0
		for _, f := range t.flights {
			if f.keyed {
				keyed++
				if t.keys[f.hash] != f {
					w.Fatalf("node %d: flight %d is not the one of its key", n, f.Flight)
				}
			}
			for _, c := range f.behind {
				if w.clients[c.Ticket].behind = w.step; c.Snapshot.Trigger.InFlight != run.InFlightWait {
					w.Fatalf("node %d: caller %d stands behind, and did not ask for that", n, c.Ticket)
				}
			}
			for _, c := range slices.Concat(f.cohort, f.late, f.behind) {
				callers++
				if t.callers[c.Ticket] != f {
					w.Fatalf("node %d: caller %d is not known to be in flight %d", n, c.Ticket, f.Flight)
				}
			}
			if (f.state == waiting || f.state == idle) && t.timed[f.Flight] != f {
				w.Fatalf("node %d: flight %d is %v, and nothing will end that", n, f.Flight, f.state)
			}
		}
		for id, f := range t.timed {
			if t.flights[id] != f {
				w.Fatalf("node %d: flight %d has ended and is still timed", n, id)
			}
		}
		if keyed != len(t.keys) || callers != len(t.callers) {
			w.Fatalf("node %d: %d keyed flights of %d keys, %d callers of %d", n, keyed, len(t.keys), callers, len(t.callers))
		}
	}
	for id, told := range w.fresh {
		for _, c := range told {
			same := c.Snapshot.RequestHash == w.byID[id].RequestHash && !c.Snapshot.RequestHash.IsZero()
			if !same && c.Snapshot.ID != id {
				w.Fatalf("caller %d was told that %s is new", c.Ticket, id)
			}
		}
	}
}
