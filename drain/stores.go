package drain

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Backlog is what the buffer holds; reading it changes nothing. See
// [buffer.Store.Heads] and [buffer.Store.Sweep].
type Backlog interface {
	Heads(ctx context.Context, partitions []int) ([]buffer.Partition, error)
	Sweep(ctx context.Context, partition int, age time.Duration, limit int) ([]buffer.StaleRun, error)
}

// Leases is how work is had and kept, and comes back from the dead. See the
// methods of [buffer.Store].
type Leases interface {
	Lease(ctx context.Context, partition int, environment string, n int, token buffer.Token, ttl time.Duration) ([]buffer.Lease, error)
	Extend(ctx context.Context, holdings []buffer.Holding, ttl time.Duration) []buffer.HeldReply
	Reap(ctx context.Context, partition, limit int) (buffer.Reaped, error)
	Revive(ctx context.Context, partition, limit int) (returned int, err error)
}

// Ends is how a lease ends: one reply for each item, in order. See the methods
// of [buffer.Store].
type Ends interface {
	Ack(ctx context.Context, acks []buffer.Ack) []buffer.Acked
	Requeue(ctx context.Context, entries []buffer.Requeue) []buffer.HeldReply
	Fail(ctx context.Context, holdings []buffer.Holding) []buffer.HeldReply
}

// Buffer is all that the drain needs of the buffer.
type Buffer interface {
	Backlog
	Leases
	Ends
}

// Runs is Postgres. See [runstore.Store.Materialise], [runstore.Store.Bury] and
// [runstore.Store.Available].
type Runs interface {
	Materialise(ctx context.Context, items []runstore.Materialisation) []runstore.Materialised
	Bury(ctx context.Context, dead *run.Snapshot, reason string) error
	Available() bool
}

var (
	_ Buffer = (*buffer.Store)(nil)
	_ Runs   = (*runstore.Store)(nil)
)

// entry is a buffered run that this node works on.
type entry struct {
	buffer.Holding
	organisation string
	snapshot     run.Snapshot
	patches      []run.Patch
	ver          int64 // of the patches
	attempts     int   // that were spent before
	dwell        time.Duration
	leased       time.Time
}

func (e *entry) materialisation() runstore.Materialisation {
	return runstore.Materialisation{Snapshot: &e.snapshot, Patches: e.patches, Ver: e.ver}
}

func (e *entry) size() int { return e.snapshot.Trigger.Size() }
