package actors

import (
	"context"
	mathrand "math/rand/v2"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// Trigger passes one accepted trigger through its shard and returns the answer.
// The snapshot has no id yet. claims says whether its key takes part in claims.
// When ctx ends, the wait ends with its cause; the flight goes on.
func (s *Shards) Trigger(ctx context.Context, snapshot run.Snapshot, claims bool) (run.Result, error) {
	size := int64(snapshot.Trigger.Size())
	defer s.leaveIntake(1, size)
	if err := s.admit(1, size); err != nil {
		return run.Result{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return run.Result{}, err
	}
	s.count.triggers.Add(1)
	c := &call{snapshot: snapshot, claims: claims, arrived: time.Now(), reply: make(chan shard.Answer[*call], 1)}
	at := s.shardOf(c)
	s.send(at, c)
	select {
	case a := <-c.reply:
		return a.Result, a.Err
	case <-ctx.Done():
	}
	select {
	case a := <-c.reply: // both were ready: an answer is worth more than a timeout
		return a.Result, a.Err
	default:
		s.send(at, leave{c})
		return run.Result{}, context.Cause(ctx)
	}
}

// Answered is the answer to one of the triggers that came together.
type Answered struct {
	Result run.Result
	Err    error
}

// TriggerAll passes triggers that came together through their shards, and
// answers each in its place, as [Shards.Trigger] would one. They arrive in their
// order, as one message to each shard, so those of one key share a flight that
// the first of them leads. They are admitted together, or none is.
func (s *Shards) TriggerAll(ctx context.Context, snapshots []run.Snapshot, claims bool) []Answered {
	answers := make([]Answered, len(snapshots))
	n, size := int64(len(snapshots)), int64(0)
	for i := range snapshots {
		size += int64(snapshots[i].Trigger.Size())
	}
	defer s.leaveIntake(n, size)
	err := s.admit(n, size)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		for i := range answers {
			answers[i].Err = err
		}
		return answers
	}
	s.count.triggers.Add(uint64(n))
	now, reply := time.Now(), make(chan shard.Answer[*call], n)
	waiting := make([]*call, n)
	byShard := make([]calls, len(s.pids))
	for i := range snapshots {
		c := &call{place: i, snapshot: snapshots[i], claims: claims, arrived: now, reply: reply}
		at := s.shardOf(c)
		waiting[i], byShard[at] = c, append(byShard[at], c)
	}
	for at, part := range byShard {
		if part != nil {
			s.send(at, part)
		}
	}
	take := func(a shard.Answer[*call]) {
		at := a.Ticket.place
		answers[at], waiting[at] = Answered{a.Result, a.Err}, nil
		n--
	}
	for n > 0 {
		select {
		case a := <-reply:
			take(a)
			continue
		case <-ctx.Done():
		}
		for len(reply) > 0 { // answers are worth more than a timeout
			take(<-reply)
		}
		for i, c := range waiting {
			if c != nil {
				s.send(c.partition%len(s.pids), leave{c})
				answers[i].Err = context.Cause(ctx)
			}
		}
		return answers
	}
	return answers
}

// shardOf gives a call its partition, and says which shard that is.
func (s *Shards) shardOf(c *call) int {
	if c.snapshot.Key.IsZero() {
		c.partition = mathrand.IntN(s.cfg.Partitions)
	} else {
		c.partition = shard.Partition(c.snapshot.Key, s.cfg.Partitions)
	}
	return c.partition % len(s.pids)
}

// admit counts n callers and their bytes in, or refuses them. Whether or not,
// they have to leave.
func (s *Shards) admit(n, size int64) error {
	callers, bytes := s.count.callers.Add(n), s.count.bytes.Add(size)
	switch {
	case s.closing.Load():
		return &run.RefusedError{Reason: run.ErrClosed, Part: "engine", RetryAfter: time.Second}
	case callers > int64(s.cfg.MaxCallers) || bytes > s.cfg.MaxBytes:
		s.count.refused.Add(uint64(n))
		return &run.RefusedError{Reason: run.ErrOverloaded, Part: "shard", RetryAfter: time.Second}
	}
	return nil
}

func (s *Shards) leaveIntake(n, size int64) {
	s.count.bytes.Add(-size)
	if s.count.callers.Add(-n) == 0 && s.closing.Load() {
		s.quieted.Do(func() { close(s.quiet) })
	}
}
