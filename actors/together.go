package actors

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// places is how many calls of a node may be open at once, one a place. Two keys of
// one place cost each other the sharing of messages, and nothing else.
const places = 1 << 14

// openCalls are the calls that callers of the same key may still share. See
// the package comment for why that is sound. A place is filled by whoever makes a
// call, and emptied by whoever closes it; nobody waits for anybody.
type openCalls struct {
	calls [places]atomic.Pointer[call]
	last  [places]atomic.Uint64 // the key of the call that was closed last, by its sum
}

// closedFlag in call.sharers: nobody can come any more.
const closedFlag = 1 << 40

// join shares an open call of the key, or returns nil.
func (o *openCalls) join(sum uint64, key *run.Key, claims bool) *call {
	c := o.calls[sum%places].Load()
	if c == nil || c.sum != sum || c.claims != claims || c.snapshot.Key != *key {
		return nil
	}
	if c.sharers.Add(1)&closedFlag != 0 {
		c.sharers.Add(-1) // too late: it is not counted among those who shared
		return nil
	}
	return c
}

// add lets others share c, unless its place is taken.
func (o *openCalls) add(c *call) bool {
	if !o.calls[c.sum%places].CompareAndSwap(nil, c) {
		c.sharers.Or(closedFlag)
		return false
	}
	return true
}

// hot says whether a call of the key has been here lately.
func (o *openCalls) hot(sum uint64) bool { return o.last[sum%places].Load() == sum }

func (o *openCalls) close(c *call) {
	if c.sharers.Or(closedFlag)&closedFlag == 0 {
		o.last[c.sum%places].Store(c.sum)
		o.calls[c.sum%places].CompareAndSwap(c, nil)
	}
}

// call is one caller that has a place in its shard, and those that share it.
// What it is answered is written once, before done is closed. One that came with
// others (see [Shards.TriggerAll]) is alone, and answered through their channel,
// which has room for all of them, so that a shard never waits for a caller.
type call struct {
	snapshot  run.Snapshot
	sum       uint64 // of the key
	partition int
	claims    bool
	arrived   time.Time

	sharers atomic.Int64 // how many have come to share it, and closedFlag
	outcome atomic.Int32
	done    chan struct{} // closed with the outcome
	answer  shard.Answer[*call]

	place int // among those that it came with
	reply chan shard.Answer[*call]
}

// newCall is apart, so that whoever shares another call has a small stack.
//
//go:noinline
func (s *Shards) newCall(snapshot func() run.Snapshot, sum uint64, partition int, claims bool, arrived time.Time) *call {
	c := &call{sum: sum, partition: partition, claims: claims, arrived: arrived, done: make(chan struct{})}
	c.snapshot = snapshot()
	return c
}

// What may become of a call.
const (
	answered = iota + 1
	left     // its caller has left: whoever shares it comes again
)

// end gives a call its outcome, if it has none yet. It must be closed.
func (c *call) end(outcome int32) bool {
	if !c.outcome.CompareAndSwap(0, outcome) {
		return false
	}
	close(c.done)
	return true
}

// tell gives a call its answer. Shards call it, each for its own calls.
func (s *Shards) tell(a *shard.Answer[*call]) {
	c := a.Ticket
	s.cfg.Witness.Answered(&c.snapshot, 1+int(c.sharers.Load()&^closedFlag), a.Result, a.Err)
	if c.reply != nil {
		c.reply <- *a
		return
	}
	s.opened.close(c)
	c.answer = *a // nobody reads it before the outcome is there
	c.end(answered)
}

// lead sends a call to its shard and waits for its answer.
func (s *Shards) lead(ctx context.Context, c *call) (run.Result, error) {
	at := c.partition % len(s.pids)
	s.send(at, c)
	select {
	case <-c.done:
	case <-ctx.Done():
		s.opened.close(c)
		if c.end(left) {
			s.send(at, leave{c})
			return run.Result{}, context.Cause(ctx)
		}
		// Both were ready: an answer is worth more than a timeout.
	}
	return c.answer.Result, c.answer.Err
}

// follow waits for the answer of a call that t's caller shares. Without ok
// that is none for this caller, and it has to come again.
func (c *call) follow(ctx context.Context, t *run.Trigger) (r run.Result, err error, ok bool) {
	select {
	case <-c.done:
	case <-ctx.Done():
		select {
		case <-c.done:
		default:
			return run.Result{}, context.Cause(ctx), true
		}
	}
	a := &c.answer
	switch {
	case c.outcome.Load() == left || a.Alone:
		return run.Result{}, nil, false
	case a.Err != nil:
		return run.Result{}, a.Err, true
	}
	return a.Shared(c.snapshot.Key.Kind, c.snapshot.PayloadDigest(t), c.snapshot.RequestDigest(t)), nil, true
}
