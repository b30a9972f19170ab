package fallback

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Replica reads rows that may be behind the primary's.
type Replica interface {
	// Runs is as [runstore.Store.Runs].
	Runs(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error)
}

// Rows is the primary Postgres; [runstore.Store] is one.
type Rows interface {
	Replica
	List(ctx context.Context, environment string, f runstore.Filter, p runstore.Page) ([]run.Run, error)
	Children(ctx context.Context, environment string, names []run.ID, limit int) ([]run.Run, error)
	// Batch is as [runstore.Store.Batch].
	Batch(ctx context.Context, environment, id string) (runstore.Batch, error)
	Keys(ctx context.Context, keys []runstore.KeyRef) ([]runstore.KeyState, error)
	Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error)
	AddTags(ctx context.Context, environment string, id run.ID, tags []string) (run.Run, error)
	SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error)
	Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error)
}

// Entries is the buffer; [buffer.Store] is one.
type Entries interface {
	Get(ctx context.Context, refs []buffer.Ref) []buffer.Got
	Patch(ctx context.Context, ref buffer.Ref, change func(*buffer.Entry) (run.Patch, error)) (buffer.Entry, buffer.Outcome, error)
	List(ctx context.Context, environment string, page buffer.Page) ([]run.ID, error)
}

// Records knows which run a key is bound to in Redis; [RedisRecords] does.
type Records interface {
	// Look reads the record of a key without changing it. A Record without a Run
	// means that it names none.
	Look(ctx context.Context, environment string, partition int, hash run.Hash) (Record, error)
}

// Record is the run that a key is bound to in Redis.
type Record struct {
	Run        run.ID
	AcceptedAt run.Instant
	Until      run.Instant // end of the key's interval
	Queued     bool        // it is buffered, and nobody has ever leased it
	Now        run.Instant // Redis's clock when it was read; also without a run
}
