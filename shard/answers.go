package shard

import (
	"time"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

// expire refuses the callers of a waiting flight that have waited long enough.
func (t *Table[T]) expire(now time.Time, f *flight[T]) {
	t.merge(f)
	spent := func(c *Caller[T]) error {
		if now.Sub(c.Arrived) < t.cfg.WaitBudget {
			return nil
		}
		return &run.RefusedError{Reason: run.ErrClaimTimeout, Part: "claim", RetryAfter: time.Second}
	}
	f.cohort, f.behind = t.refuse(f.cohort, spent), t.refuse(f.behind, spent)
	f.stepIn()
	t.merge(f)
	t.leaderRefused(f)
}

// leaderRefused has somebody else lead if the leader was refused: its trigger must
// not be settled after all.
func (t *Table[T]) leaderRefused(f *flight[T]) {
	if len(f.cohort) > 0 && t.callers[f.leader.Ticket] != f {
		f.leader = f.cohort[0]
	}
}

// refuse answers those of a list for whom why gives an error, and returns the others.
func (t *Table[T]) refuse(list []Caller[T], why func(*Caller[T]) error) []Caller[T] {
	kept := list[:0]
	for i := range list {
		if err := why(&list[i]); err != nil {
			t.answer(Answer[T]{Ticket: list[i].Ticket, Err: err, Alone: true})
			continue
		}
		kept = append(kept, list[i])
	}
	clear(list[len(kept):])
	return kept
}

func (t *Table[T]) answerAll(f *flight[T], h Holder, created bool) {
	if mutant.On("answers-who-came-after") {
		t.merge(f)
	}
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
		mine := created && c.Ticket == f.leader.Ticket
		t.answer(Answer[T]{
			Ticket: c.Ticket, Alone: f.heldBack, PayloadHash: h.PayloadHash, RequestHash: h.RequestHash,
			Result: run.NewResult(run.Answer{
				ID: h.ID, Canonical: h.Canonical, AcceptedAt: h.AcceptedAt, Identity: identity, State: state, Durability: durability,
				Cached: !mine && !sameCall(s.Key.Kind, s.RequestHash, h.RequestHash), Created: mine, PayloadMatch: s.PayloadHash == h.PayloadHash,
			}),
		})
	}
	f.cohort, f.heldBack = emptied(f.cohort), false
}

func (t *Table[T]) refuseAll(f *flight[T], err error) {
	for _, c := range f.cohort {
		t.answer(Answer[T]{Ticket: c.Ticket, Err: err})
	}
	f.cohort = emptied(f.cohort)
}

func (t *Table[T]) refuseLeader(f *flight[T], err error) {
	if t.callers[f.leader.Ticket] == f {
		t.answer(Answer[T]{Ticket: f.leader.Ticket, Err: err, Alone: true})
		f.cohort = without(f.cohort, f.leader.Ticket)
	}
}

func (t *Table[T]) answer(a Answer[T]) {
	delete(t.callers, a.Ticket)
	t.answers = append(t.answers, a)
}
