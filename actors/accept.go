package actors

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/shard"
)

// Buffer takes runs in: one answer for each, in their order. See
// [buffer.Store.Accept] and [buffer.Store.Landed].
type Buffer interface {
	Accept(ctx context.Context, runs []buffer.Acceptance) []buffer.Accepted
	Landed(ctx context.Context, refs []buffer.Ref) []error
}

// flushLooks asks Postgres who holds the keys that are about to be buffered.
func (s *Shards) flushLooks(batch []posted) {
	s.count.lookCalls.Add(1)
	keys := make([]runstore.KeyRef, len(batch))
	for i := range batch {
		keys[i] = runstore.KeyRef{Environment: batch[i].request.Environment, Hash: batch[i].request.Hash, ID: batch[i].request.Run}
	}
	out := make([]reply[shard.LookReply], len(batch))
	var states []runstore.KeyState
	var asked error
	err := s.bounded(s.cfg.SettleDeadline, func(ctx context.Context) {
		states, asked = s.stores.Runs.Keys(ctx, keys)
	})
	if err == nil {
		err = asked
	}
	for i := range out {
		if err != nil {
			out[i].said.Err = err
			continue
		}
		out[i].said.Seen = seen(&states[i])
	}
	deliver(s, batch, out)
}

func seen(k *runstore.KeyState) shard.Seen {
	return shard.Seen{Known: k.Known, Found: k.Found, Live: k.Live, Holder: holder(k.Holder), Floor: k.Floor}
}

// fullRetryAfter is for a partition at its ceiling: the drain has to come by.
const fullRetryAfter = 5 * time.Second

// admitted answers the runs of a batch that the buffer has no room for, and
// returns the others.
func (s *Shards) admitted(batch []posted) []posted {
	kept := batch[:0] // in its own memory: what is refused is copied before it is written over
	var refused []posted
	var out []reply[shard.AcceptReply]
	for i := range batch {
		snapshot := batch[i].request.Snapshot
		err := s.cfg.Admit(snapshot.Trigger.Environment, snapshot.Trigger.Size())
		if err == nil {
			kept = append(kept, batch[i])
			continue
		}
		refused = append(refused, batch[i])
		out = append(out, reply[shard.AcceptReply]{said: shard.AcceptReply{State: shard.AcceptFull, Full: err}})
	}
	if len(refused) > 0 {
		deliver(s, refused, out)
	}
	return kept
}

// flushAccepts puts runs into the buffer.
func (s *Shards) flushAccepts(batch []posted) {
	if batch = s.admitted(batch); len(batch) == 0 {
		return
	}
	s.count.acceptCalls.Add(1)
	runs := make([]buffer.Acceptance, len(batch))
	for i := range batch {
		runs[i] = acceptance(&batch[i].request)
	}
	out := make([]reply[shard.AcceptReply], len(batch))
	taken := false
	err := s.bounded(s.cfg.RedisDeadline, func(ctx context.Context) {
		for i, a := range s.stores.Buffer.Accept(ctx, runs) {
			out[i].said = s.acceptReply(&batch[i].request, a)
			taken = taken || a.State == buffer.AcceptedNew
		}
	})
	for i := range out {
		if err != nil {
			out[i].said = shard.AcceptReply{Err: err}
		}
	}
	deliver(s, batch, out)
	if taken {
		s.cfg.Accepted()
	}
}

func acceptance(r *shard.Request) buffer.Acceptance {
	a := buffer.Acceptance{
		Snapshot: r.Snapshot, Since: r.Since.At, Epoch: r.Since.Epoch,
		CheckSkipped: r.Seen.Skipped, Unsure: r.Unsure, Floor: r.Seen.Floor,
	}
	if r.Claimed {
		a.Token = r.Token
	}
	if h := &r.Seen.Holder; r.Seen.Found && !h.ID.IsZero() {
		a.Holder = buffer.Holder{
			ID: h.ID, AcceptedAt: h.AcceptedAt, Until: h.Until, Ended: !r.Seen.Live,
			PayloadHash: h.PayloadHash, RequestHash: h.RequestHash,
		}
	}
	return a
}

func (s *Shards) acceptReply(r *shard.Request, a buffer.Accepted) shard.AcceptReply {
	out := shard.AcceptReply{Err: a.Err, Queued: a.Queued, Wait: a.Wait, Holder: shard.Holder{
		ID: a.Run, AcceptedAt: a.AcceptedAt, Until: a.Until, PayloadHash: a.PayloadHash, RequestHash: a.RequestHash,
	}}
	switch a.State {
	case buffer.AcceptedNew, buffer.AlreadyThere:
		s.count.mollified.Add(1)
		out.State, out.Holder.Buffered = shard.Accepted, true
		out.Holder.PayloadHash, out.Holder.RequestHash = r.Snapshot.PayloadHash, r.Snapshot.RequestHash
	case buffer.BoundTo:
		out.State, out.Holder.Buffered = shard.AcceptBound, true
	case buffer.HeldBy:
		out.State = shard.AcceptHeld
	case buffer.PendingForeign:
		out.State = shard.AcceptWait
	case buffer.Resolved:
		out.State = shard.AcceptMet
	case buffer.Stale:
		out.State = shard.AcceptStale
	case buffer.Full:
		out.State = shard.AcceptFull
		out.Full = &run.RefusedError{Reason: run.ErrOverloaded, Part: "buffer", RetryAfter: fullRetryAfter}
	}
	return out
}

// freshFor is how old a moment of Redis's clock may be, on this node's own
// clock, to begin an accept without a claim: well within the buffer's fence,
// since Postgres is still to be asked.
const freshFor = 300 * time.Millisecond
