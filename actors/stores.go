package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/shard"
)

var errPanic = errors.New("recovered from a panic")

// Claims is the claim store: one reply for each op, in their order. See [claim.Store.Do].
type Claims interface {
	Do(ctx context.Context, ops []claim.Op) []claim.Reply
}

// Runs is Postgres: one result for each item, in their order. See
// [runstore.Store.Settle], [runstore.Store.Check] and [runstore.Store.Keys].
type Runs interface {
	Settle(ctx context.Context, items []runstore.Settlement) []runstore.Settled
	Check(ctx context.Context, items []runstore.Check) []runstore.Checked
	Keys(ctx context.Context, keys []runstore.KeyRef) ([]runstore.KeyState, error)
	// Available reports, from memory, whether it makes sense to ask.
	Available() bool
}

var (
	_ Claims = (*claim.Store)(nil)
	_ Runs   = (*runstore.Store)(nil)
	_ Buffer = (*buffer.Store)(nil)
)

// posted is a request on its way to a store, with the shard that wants the reply.
type posted struct {
	shard   int
	request shard.Request
}

// dispatch posts a request to the writer of its store. It never blocks.
func (s *Shards) dispatch(from int, r *shard.Request) {
	p := posted{from, *r}
	if r.Diverted {
		s.count.diverted.Add(1)
	}
	switch r.Verb {
	case shard.Settle:
		s.count.settles.Add(1)
		if r.Snapshot.Trigger.Debounce != nil {
			s.debounces.post(p)
		} else {
			s.settles.post(p)
		}
	case shard.CheckHolder:
		s.count.checks.Add(1)
		s.checks.post(p)
	case shard.Look:
		s.count.looks.Add(1)
		s.looks.post(p)
	case shard.Accept:
		s.count.accepts.Add(1)
		s.accepts.post(p)
	case shard.Landed:
		s.count.landed.Add(1)
		s.landed.add(buffer.Ref{Environment: r.Environment, ID: r.Run}, time.Now())
	default:
		switch r.Verb {
		case shard.Claim:
			s.count.claims.Add(1)
		case shard.Publish:
			s.count.publishes.Add(1)
		case shard.Release:
			s.count.releases.Add(1)
		}
		s.claims.post(p)
	}
}

func (s *Shards) flushClaims(batch []posted) {
	s.count.redisCalls.Add(1)
	ops := make([]claim.Op, len(batch))
	for i := range batch {
		ops[i] = claimOp(&batch[i].request)
	}
	out := make([]reply[claimed], len(batch))
	err := s.bounded(s.cfg.RedisDeadline, func(ctx context.Context) {
		for i, r := range s.stores.Claims.Do(ctx, ops) {
			out[i].said = s.claimReply(&batch[i].request, r)
		}
	})
	for i := range out {
		if err != nil {
			out[i].said = s.claimReply(&batch[i].request, claim.Reply{Err: err})
		}
	}
	deliver(s, batch, out)
}

func claimOp(r *shard.Request) claim.Op {
	op := claim.Op{Partition: r.Partition, Hash: r.Hash, Token: claim.Token(r.Token), Observed: r.Observed, Floor: r.Floor, Anew: r.Anew}
	switch r.Verb {
	case shard.Claim:
		op.Verb = claim.Claim
	case shard.Release:
		op.Verb = claim.Release
	case shard.Renew:
		op.Verb = claim.Renew
	case shard.Publish:
		op.Verb = claim.Publish
		op.Run, op.AcceptedAt, op.Until = r.Holder.ID, r.Holder.AcceptedAt, r.Holder.Until
		op.PayloadHash, op.RequestHash, op.Found = r.Holder.PayloadHash, r.Holder.RequestHash, r.Found
	}
	return op
}

func (s *Shards) claimReply(r *shard.Request, c claim.Reply) claimed {
	out := claimed{verb: r.Verb}
	switch r.Verb {
	case shard.Publish:
		out.publish = shard.PublishReply{Done: c.State == claim.Done && c.Err == nil, Err: c.Err}
	case shard.Claim:
		out.claim = shard.ClaimReply{AcceptedAt: c.AcceptedAt, Wait: c.Wait, Err: c.Err}
		met := shard.Holder{
			ID: c.Run, AcceptedAt: c.AcceptedAt, Until: c.Until,
			PayloadHash: c.PayloadHash, RequestHash: c.RequestHash, Buffered: c.State == claim.Bound,
		}
		switch c.State {
		case claim.Pending:
			out.claim.State = shard.Pending
		case claim.Resolved:
			out.claim.State, out.claim.Holder = shard.Resolved, met
		case claim.Bound:
			out.claim.State, out.claim.Holder, out.claim.Queued = shard.Bound, met, c.Queued
		}
		if c.Err != nil {
			s.count.failOpen.Add(1)
			out.claim.MaybeClaimed = redisdb.OutcomeUnknown(c.Err)
			s.log.Debug("claim failed open", slog.Any("error", c.Err))
		}
	}
	return out
}

func (s *Shards) flushSettles(batch []posted) {
	s.count.settleCalls.Add(1)
	items := make([]runstore.Settlement, len(batch))
	for i := range batch {
		items[i].Snapshot = batch[i].request.Snapshot
	}
	out := make([]reply[shard.SettleReply], len(batch))
	err := s.bounded(s.cfg.SettleDeadline, func(ctx context.Context) {
		for i, r := range s.stores.Runs.Settle(ctx, items) {
			out[i].said = settleReply(&r)
		}
	})
	for i := range out {
		if err != nil {
			out[i].said = shard.SettleReply{Err: err, Unknown: true}
		}
	}
	deliver(s, batch, out)
}

func settleReply(r *runstore.Settled) shard.SettleReply {
	return shard.SettleReply{
		Created: r.Outcome != runstore.Held && r.Outcome != runstore.Stale, Holder: holder(r.Holder),
		Stale: r.Outcome == runstore.Stale, Floor: r.Floor,
		Err: r.Err, Unknown: runstore.OutcomeUnknown(r.Err), Rejected: errors.Is(r.Err, run.ErrRejected),
	}
}

func (s *Shards) flushChecks(batch []posted) {
	s.count.checkCalls.Add(1)
	items := make([]runstore.Check, len(batch))
	for i := range batch {
		r := &batch[i].request
		items[i] = runstore.Check{Environment: r.Environment, Hash: r.Hash, ID: r.Run}
	}
	out := make([]reply[shard.CheckReply], len(batch))
	err := s.bounded(s.cfg.SettleDeadline, func(ctx context.Context) {
		for i, r := range s.stores.Runs.Check(ctx, items) {
			out[i].said = checkReply(&r)
		}
	})
	for i := range out {
		if err != nil {
			out[i].said = shard.CheckReply{Err: err}
		}
	}
	deliver(s, batch, out)
}

func checkReply(r *runstore.Checked) shard.CheckReply {
	return shard.CheckReply{Found: r.Found, Holds: r.Holds, Holder: holder(r.Holder), Err: r.Err}
}

func holder(h runstore.Holder) shard.Holder {
	return shard.Holder{
		ID: h.ID, Canonical: h.Canonical, AcceptedAt: h.AcceptedAt, Until: h.Until,
		PayloadHash: h.PayloadHash, RequestHash: h.RequestHash,
	}
}

// bounded runs one batch under its own deadline, apart from any caller's
// context, and turns a panic into an error for the whole batch.
func (s *Shards) bounded(d time.Duration, call func(context.Context)) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.count.panics.Add(1)
			s.log.Error("panic in a writer", slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
			err = &run.RefusedError{Reason: run.ErrUnavailable, Part: "writer", RetryAfter: time.Second, Err: errPanic}
		}
	}()
	call(ctx)
	return nil
}

// deliver sends a batch's replies to its shards, as one message that each shard
// takes its own from.
func deliver[R any](s *Shards, batch []posted, out []reply[R]) {
	m := &replies[R]{all: out, of: make([]uint16, len(batch))}
	var concerned [run.MaxPartitions]bool // there are no more shards than partitions
	for i := range batch {
		out[i].ref, m.of[i] = batch[i].request.Ref, uint16(batch[i].shard)
		concerned[batch[i].shard] = true
	}
	for at := range s.cells {
		if concerned[at] {
			s.send(at, m)
		}
	}
}
