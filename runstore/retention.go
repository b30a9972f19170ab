package runstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	retentionHorizonSQL      = statement("retention_horizon")
	retentionLockSQL         = statement("retention_lock")
	retentionEnvironmentsSQL = statement("retention_environments")
	retentionRunsSQL         = statement("retention_runs")
	retentionBatchesSQL      = statement("retention_batches")
)

const (
	// HorizonStands is how long a horizon stands before anything that lies before it is
	// removed: longer than a statement can be under way that has not seen it.
	HorizonStands = MaxStatementTimeout + 30*time.Second
	// unsealedFor is how long a batch is waited for whose items never all came.
	unsealedFor = 24 * time.Hour
	// removeLock is the number of the lock of who removes.
	removeLock = 0x6d6f6c6c69666965
	// batchesFor each so many runs are looked at: each may have a thousand places.
	batchesFor = 25
)

// Horizon is how far retention may go.
type Horizon struct {
	Removable run.Instant // what lies before may be removed; 0 for nothing yet
	Now       run.Instant // Postgres's clock
}

// Advance moves the horizon before which no run is inserted any more to as long ago as keep,
// by Postgres's clock and by the other one, whichever is behind, and never beyond oldest,
// the oldest acceptance that the buffer may hold; 0 for an empty one. What lies before a
// horizon may be removed when it has stood for so long ([HorizonStands]; less only if it is
// known how long statements take); until then it does not move again. A horizon never goes
// back. The error is a *run.RefusedError.
func (s *Store) Advance(ctx context.Context, keep time.Duration, clock, oldest run.Instant, stands time.Duration) (m Horizon, err error) {
	var most *int64
	if oldest > 0 {
		most = (*int64)(&oldest)
	}
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, retentionHorizonSQL, keep.Microseconds(), int64(clock), most, stands.Microseconds()).Scan(&m.Removable, &m.Now)
	})
	if c != nil {
		return Horizon{}, refusal(c)
	}
	return m, nil
}

// Environments lists those that have runs which have ended, or tombstones. The error is a
// *run.RefusedError.
func (s *Store) Environments(ctx context.Context) (environments []string, err error) {
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, retentionEnvironmentsSQL)
		if err != nil {
			return err
		}
		environments, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if c != nil {
		return nil, refusal(c)
	}
	return environments, nil
}

// Removed is what was removed.
type Removed struct {
	Runs, Aliases, Tombstones, DeadLetters, Batches, Places int
}

// Add adds up what was removed.
func (r *Removed) Add(o Removed) {
	r.Runs, r.Aliases, r.Tombstones = r.Runs+o.Runs, r.Aliases+o.Aliases, r.Tombstones+o.Tombstones
	r.DeadLetters, r.Batches, r.Places = r.DeadLetters+o.DeadLetters, r.Batches+o.Batches, r.Places+o.Places
}

// Removal goes through what is over in one environment, in bounded steps. It is not safe
// for concurrent use.
type Removal struct {
	environment string
	before      run.Instant
	stage       int // batches, runs, nothing
	over        int64
	id          string
}

// NewRemoval begins to remove what lies before an instant in an environment. The instant
// must not be after [Horizon].Removable, or a key could get a second run.
func NewRemoval(environment string, before run.Instant) *Removal {
	return &Removal{environment: environment, before: before}
}

// Over reports whether all has been looked at.
func (r *Removal) Over() bool { return r.stage >= len(removals) }

var removals = [...]struct {
	sql string
	per int // of the limit
}{{retentionBatchesSQL, batchesFor}, {retentionRunsSQL, 1}}

// Remove looks at the next limit rows, and removes those of them that nothing needs. Of
// all nodes one removes at a time: busy means that it was another one, and nothing was
// looked at. A step is one transaction. What was removed before an error stays removed.
// The error is a *run.RefusedError.
func (s *Store) Remove(ctx context.Context, r *Removal, limit int) (done Removed, busy bool, err error) {
	if r.Over() {
		return Removed{}, false, nil
	}
	stage := &removals[r.stage]
	most := max(1, limit/stage.per)
	var (
		seen int
		over int64
		id   string
	)
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			var mine bool
			if err := tx.QueryRow(ctx, retentionLockSQL, int64(removeLock)).Scan(&mine); err != nil || !mine {
				busy = !mine
				return err
			}
			busy, done = false, Removed{}
			if r.stage == 0 {
				return tx.QueryRow(ctx, stage.sql, r.environment, int64(r.before), r.over, r.id, most, unsealedFor.Microseconds()).
					Scan(&done.Batches, &done.Places, &seen, &over, &id)
			}
			return tx.QueryRow(ctx, stage.sql, r.environment, int64(r.before), r.over, r.id, most).
				Scan(&done.Runs, &done.Aliases, &done.Tombstones, &done.DeadLetters, &seen, &over, &id)
		})
	})
	switch {
	case c != nil:
		return Removed{}, false, refusal(c)
	case busy:
		return Removed{}, true, nil
	case seen < most:
		r.stage, r.over, r.id = r.stage+1, 0, ""
	default:
		r.over, r.id = over, id
	}
	return done, false, nil
}
