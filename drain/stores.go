package drain

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Token proves the holder of a lease.
type Token [16]byte

// Ref names a buffered run.
type Ref struct {
	Partition                 int
	Organisation, Environment string
	ID                        run.ID
}

// Entry is a buffered run that was leased.
type Entry struct {
	Ref
	Token    Token
	Snapshot run.Snapshot // AcceptedAt and KeyUntil are set
	Patches  []run.Patch
	Ver      int64 // of the entry when it was leased
	Attempts int   // that were spent before
	// Err says why the entry can not be read: for example
	// run.ErrUnknownVersion. Nothing but Ref, Token and Attempts is set then.
	Err error
}

// Ask is for at most N entries of one queue.
type Ask struct {
	Partition                 int
	Organisation, Environment string
	N                         int
}

// Done asks that an entry be marked as materialised.
type Done struct {
	Ref
	Ver       int64  // the version that the row has
	Canonical run.ID // the run that the id resolves to
}

// Acked is the answer to a [Done].
type Acked struct {
	// Dirty: the entry has changed since Ver and is not marked. Patches are all
	// of its patches, and Ver is its version.
	Dirty   bool
	Patches []run.Patch
	Ver     int64
	Err     error
}

// Return gives a leased entry back.
type Return struct {
	Ref
	Token Token
	Delay time.Duration // before it may be leased again; 0: at once, at the front
	Spent bool          // the attempt counts
}

// Backlog is what waits in the buffer. Errors wrap run.ErrUnavailable, and none
// of these calls changes what waits.
type Backlog interface {
	// Heads returns what waits in each partition.
	Heads(ctx context.Context, partitions []int) ([]Head, error)
	// Stored returns how much each environment has in each partition, leased
	// entries among it.
	Stored(ctx context.Context, partitions []int) ([]Stored, error)
	// List returns the oldest entries of an environment, the oldest first.
	List(ctx context.Context, environment string, limit int) ([]run.ID, error)
}

// Leases lends entries. A token that is not the entry's any more changes nothing.
type Leases interface {
	// Lease lends entries in the order of each queue, from its front, until ttl
	// has passed. An error of one Ask does not keep the entries of others.
	Lease(ctx context.Context, asks []Ask, token Token, ttl time.Duration) ([]Entry, error)
	// Extend has the lease end after ttl from now, and returns the entries that
	// are not lent to their token any more.
	Extend(ctx context.Context, entries []Ref, token Token, ttl time.Duration) (lost []run.ID, err error)
	// Reap returns at most limit entries whose lease has run out to the front.
	Reap(ctx context.Context, partition, limit int) (returned int, err error)
}

// Ends is how a lease ends: one answer for each item, in order.
type Ends interface {
	Ack(ctx context.Context, done []Done) []Acked
	// Requeue returns entries to the front of their queues, the first of the
	// call first. An entry that is not lent to its token is none of ours any
	// more: nothing happens, and it is no error.
	Requeue(ctx context.Context, back []Return) []error
	// Fail drops an entry whose failure is in Postgres, and keeps its exact
	// bytes among the dead.
	Fail(ctx context.Context, dead []Return) []error
}

// Buffer is all that the drain needs of the buffer.
type Buffer interface {
	Backlog
	Leases
	Ends
}

// Runs is Postgres: one result for each item, in order.
type Runs interface {
	Materialise(ctx context.Context, items []runstore.Materialisation) []runstore.Materialised
	// Available reports, from memory, whether it makes sense to ask.
	Available() bool
}
