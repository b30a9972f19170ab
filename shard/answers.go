package shard

import (
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

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
			Cached: !mine && !same, Created: mine, PayloadMatch: s.PayloadHash == h.PayloadHash,
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
