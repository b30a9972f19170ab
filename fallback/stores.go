package fallback

import (
	"context"
	"time"

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
	Keys(ctx context.Context, keys []runstore.KeyRef) ([]runstore.KeyState, error)
	Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error)
	AddTags(ctx context.Context, environment string, id run.ID, tags []string) (run.Run, error)
	SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error)
	Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error)
}

// Entries is the buffer.
type Entries interface {
	// Get reads entries; those that are not there are not in the map.
	Get(ctx context.Context, environment string, ids []run.ID) (map[run.ID]Entry, error)
	// Patch makes a patch of an entry and stores it, unless the entry has changed
	// since change saw it: then change is called again with what it has become.
	// The entry returned is the one after the patch, or the one that was
	// materialised. An error of change ends it and is returned as it is; an empty
	// patch is not stored, and counts as applied.
	Patch(ctx context.Context, environment string, id run.ID, change func(*Entry) (run.Patch, error)) (Entry, Outcome, error)
	// List returns up to limit ids of the environment's index in descending
	// order: those right below after, or right above before, or the greatest.
	List(ctx context.Context, environment string, after, before run.ID, limit int) ([]run.ID, error)
}

// Stage is how far an entry has come.
type Stage uint8

// The stages.
const (
	Queued       Stage = iota + 1 // nobody has it
	Leased                        // a drainer works on it, or has worked on it
	Materialised                  // its row holds everything; kept for late readers
)

// Outcome is what became of a patch.
type Outcome uint8

// The outcomes.
const (
	Applied       Outcome = iota + 1
	Absent                // there is no such entry
	InPostgresNow         // there is one, but it is materialised
)

// Entry is a buffered run.
type Entry struct {
	Snapshot run.Snapshot // AcceptedAt and KeyUntil are set
	Patches  []run.Patch
	Stage    Stage
	Now      run.Instant // Redis's clock when it was read
}

// Records knows which run a key is bound to in Redis.
type Records interface {
	// Look reads the record of a key without changing it. The zero Record means
	// that it names no run.
	Look(ctx context.Context, environment string, partition int, hash run.Hash) (Record, error)
}

// Record is the run that a key is bound to in Redis.
type Record struct {
	Run        run.ID
	AcceptedAt run.Instant
	Until      run.Instant // end of the key's interval
	Queued     bool        // it is buffered, and nobody has touched it
	Now        run.Instant // Redis's clock when it was read; also without a run
}
