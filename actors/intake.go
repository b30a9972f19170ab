package actors

import (
	"context"
	mathrand "math/rand/v2"
	"runtime"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// Trigger passes one valid trigger through its shard and returns the answer. claims
// says whether its key takes part in claims. snapshot makes its snapshot, without an
// id; it is not called if another caller of the key, who is on the way already, can
// be answered for both. When ctx ends, the wait ends with its cause; the flight goes on.
func (s *Shards) Trigger(ctx context.Context, t *run.Trigger, claims bool, snapshot func() run.Snapshot) (run.Result, error) {
	size := int64(t.Size())
	share := s.shares.of(t.Environment)
	defer s.leaveIntake(share, 1, size)
	if err := s.admit(share, 1, size); err != nil {
		return run.Result{}, err
	}
	if ctx.Err() != nil {
		return run.Result{}, context.Cause(ctx)
	}
	s.count.triggers.Add(1)
	key, arrived := t.Key(), time.Now()
	if key.IsZero() {
		return s.lead(ctx, s.newCall(snapshot, 0, s.anyPartition(), claims, arrived))
	}
	sum := shard.Sum(key)
	if t.InFlight != "" && t.InFlight != run.InFlightShare {
		return s.lead(ctx, s.newCall(snapshot, sum, shard.PartitionOf(sum, s.cfg.Partitions), claims, arrived))
	}
	var c *call
	for {
		if first := s.opened.join(sum, &key, claims); first != nil {
			if r, err, ok := first.follow(ctx, t); ok {
				return r, err
			}
			continue
		}
		if c == nil {
			c = s.newCall(snapshot, sum, shard.PartitionOf(sum, s.cfg.Partitions), claims, arrived)
			if !s.opened.add(c) {
				continue // who has the place may be of the same key
			}
			if s.opened.hot(sum) {
				runtime.Gosched() // whoever is ready to run shares it
			}
		}
		return s.lead(ctx, c)
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
	if len(snapshots) == 0 {
		return answers
	}
	n, size := int64(len(snapshots)), int64(0)
	for i := range snapshots {
		size += int64(snapshots[i].Trigger.Size())
	}
	share := s.shares.of(snapshots[0].Trigger.Environment) // they are of one
	defer s.leaveIntake(share, n, size)
	err := s.admit(share, n, size)
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
		if key := &c.snapshot.Key; key.IsZero() {
			c.partition = s.anyPartition()
		} else {
			c.partition = shard.Partition(*key, s.cfg.Partitions)
		}
		at := c.partition % len(s.pids)
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

// anyPartition is for what has no key.
func (s *Shards) anyPartition() int { return mathrand.IntN(s.cfg.Partitions) }

// admit counts n callers of an environment and their bytes in, or refuses them: before
// anything is made or sent on their account. Whether or not, they have to leave.
func (s *Shards) admit(of *share, n, size int64) error {
	callers, bytes := s.count.callers.Add(n), s.count.bytes.Add(size)
	ownCallers, ownBytes := of.callers.Add(n), of.bytes.Add(size)
	switch {
	case s.closing.Load():
		return &run.RefusedError{Reason: run.ErrClosed, Part: "engine", RetryAfter: time.Second}
	case callers > int64(s.cfg.MaxCallers) || bytes > s.cfg.MaxBytes ||
		!within(ownCallers, n, callers, int64(s.cfg.MaxCallers)) || !within(ownBytes, size, bytes, s.cfg.MaxBytes):
		s.count.refused.Add(uint64(n))
		return &run.RefusedError{Reason: run.ErrOverloaded, Part: "shard", RetryAfter: time.Second}
	}
	return nil
}

// Full says whether a trigger of an environment that came now would be refused for want of
// a place. It is for who can save itself the work of reading one; it counts nothing in, so
// what comes after it may be refused all the same. The error is run.ErrOverloaded.
func (s *Shards) Full(environment string) error {
	callers, most := s.count.callers.Load()+1, int64(s.cfg.MaxCallers)
	if callers <= most && within(s.shares.of(environment).callers.Load()+1, 1, callers, most) {
		return nil
	}
	s.count.refused.Add(1)
	return &run.RefusedError{Reason: run.ErrOverloaded, Part: "shard", RetryAfter: time.Second}
}

func (s *Shards) leaveIntake(of *share, n, size int64) {
	of.callers.Add(-n)
	of.bytes.Add(-size)
	s.count.bytes.Add(-size)
	if s.count.callers.Add(-n) == 0 && s.closing.Load() {
		s.quieted.Do(func() { close(s.quiet) })
	}
}
