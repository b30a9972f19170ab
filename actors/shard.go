package actors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// The messages of a shard's mailbox, besides *call and calls, which arrive, and *replies.
type (
	leave   struct{ call *call }
	calls   []*call
	wake    struct{ hash run.Hash }
	wakeAll struct{}
	tick    struct{}
	failAll struct{ err error }
	drain   struct{ empty chan<- struct{} } // closed once no flight is left
)

// replies are what a writer has to say about the requests of a batch.
type replies[R any] struct {
	all []reply[R]
	of  []uint16 // whose each is
}

type reply[R any] struct {
	ref  shard.Ref
	said R
}

// claimed is what the writer of claims says, by the verb.
type claimed struct {
	verb    shard.Verb
	claim   shard.ClaimReply
	publish shard.PublishReply
}

// cell is what a shard owns. It is held by [Shards], not by the actor value,
// and touched only while the actor handles a message.
type cell struct {
	index    int
	shards   *Shards
	turns    *turns
	table    *shard.Table[*call]
	timed    atomic.Bool // the table wants ticks
	flights  atomic.Uint64
	draining chan<- struct{}
	refusing error // after failAll: whoever still arrives is refused
}

func shardLabel(index int) context.Context {
	return pprof.WithLabels(context.Background(), pprof.Labels("shard", strconv.Itoa(index)))
}

// shardActor is the actor around a cell.
type shardActor struct{ *cell }

var _ actor.Actor = shardActor{}

// Receive moves flights on. It never blocks and never panics.
func (a shardActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *call:
		a.arriveUnlessRefusing(m)
	case calls:
		for _, c := range m {
			a.arriveUnlessRefusing(c)
		}
	case *replies[claimed]:
		take(a, m, func(now time.Time, ref shard.Ref, r *claimed) {
			switch r.verb {
			case shard.Claim:
				a.table.Claimed(now, ref, r.claim)
			case shard.Publish:
				a.table.Published(ref, r.publish)
			}
		})
	case *replies[shard.SettleReply]:
		take(a, m, func(now time.Time, ref shard.Ref, r *shard.SettleReply) { a.table.Settled(now, ref, *r) })
	case *replies[shard.CheckReply]:
		take(a, m, func(_ time.Time, ref shard.Ref, r *shard.CheckReply) { a.table.Checked(ref, *r) })
	case *replies[shard.LookReply]:
		take(a, m, func(now time.Time, ref shard.Ref, r *shard.LookReply) { a.table.Looked(now, ref, *r) })
	case *replies[shard.AcceptReply]:
		take(a, m, func(now time.Time, ref shard.Ref, r *shard.AcceptReply) { a.table.AcceptAnswered(now, ref, *r) })
	case leave:
		a.guard(shard.Ref{}, func() { a.table.Leave(m.call) })
	case wake:
		a.guard(shard.Ref{}, func() { a.table.Wake(m.hash) })
	case wakeAll:
		a.guard(shard.Ref{}, a.table.WakeAll)
	case tick:
		a.guard(shard.Ref{}, func() { a.table.Tick(time.Now()) })
	case failAll:
		a.refusing = m.err
		a.guard(shard.Ref{}, func() { a.table.FailAll(m.err) })
	case drain:
		a.draining = m.empty
	default:
		return // lifecycle messages of the actor system
	}
	a.carryOut()
}

func (a shardActor) arriveUnlessRefusing(c *call) {
	if a.refusing != nil {
		a.shards.tell(&shard.Answer[*call]{Ticket: c, Err: a.refusing})
		return
	}
	a.arrive(c)
}

func (a shardActor) arrive(c *call) {
	defer func() {
		if p := recover(); p != nil {
			err := a.panicked(p)
			if !a.table.FailCaller(c, err) { // it never got into the table
				a.shards.tell(&shard.Answer[*call]{Ticket: c, Err: err})
			}
		}
	}()
	a.table.Arrive(shard.Caller[*call]{
		Ticket: c, Partition: c.partition, Snapshot: &c.snapshot, Claims: c.claims, Arrived: c.arrived,
	})
}

// take tells the table what is said of its own requests.
func take[R any](a shardActor, m *replies[R], tell func(time.Time, shard.Ref, *R)) {
	now := time.Now()
	for i, of := range m.of {
		if int(of) == a.index {
			r := &m.all[i]
			a.guard(r.ref, func() { tell(now, r.ref, &r.said) })
		}
	}
}

// guard keeps a panic of one step from the rest: its flight fails, the table stays.
func (a shardActor) guard(ref shard.Ref, step func()) {
	defer func() {
		if p := recover(); p != nil {
			a.table.Fail(ref, a.panicked(p))
		}
	}()
	step()
}

func (a shardActor) panicked(p any) error {
	a.shards.count.panics.Add(1)
	a.shards.log.Error("panic in a shard", slog.Int("shard", a.index),
		slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
	return &run.RefusedError{Reason: run.ErrUnavailable, Part: "shard", RetryAfter: time.Second, Err: errPanic}
}

// carryOut posts the requests and gives the answers that the table has left.
func (a shardActor) carryOut() {
	requests, answers := a.table.Take()
	for i := range requests {
		if r := &requests[i]; r.Diverted {
			a.shards.cfg.Witness.Diverted(r.Snapshot, r.Verb == shard.Accept)
		}
		a.shards.dispatch(a.index, &requests[i])
		requests[i] = shard.Request{}
	}
	for i := range answers {
		a.shards.tell(&answers[i])
		answers[i] = shard.Answer[*call]{}
	}
	a.timed.Store(a.table.Timed())
	a.flights.Store(a.table.Begun())
	if a.draining != nil && a.table.Flights() == 0 {
		close(a.draining)
		a.draining = nil
	}
}
