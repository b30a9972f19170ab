package runstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

// Cancel cancels a run, or the run that an alias stands for. A run that is
// final already stays as it is and is answered as it is, so a cancellation may
// be repeated.
//
// Errors of all changes: run.ErrNotFound; run.ErrInvalid without an
// environment; [run.ErrRejected] for what Postgres can not hold; else a
// *run.RefusedError. The version of the run's buffer entry is not touched: a
// patch that is still on its way is applied when it arrives.
func (s *Store) Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error) {
	failure, err := encodeFailure(run.Cancellation{Reason: run.CleanReason(reason)}.Failure())
	if err != nil {
		return run.Run{}, fmt.Errorf("runstore: cancel: encode reason: %w", err)
	}
	return s.change(ctx, "cancel", environment, id, aFewTimes, func(r run.Run) (string, []any, error) {
		if r.Status.Final() {
			return "", nil, nil
		}
		return cancelSQL, []any{failure, int64(0)}, nil
	})
}

// AddTags adds tags to a run's set. What the run has already is left out; if
// one is not a tag, or all together are more than run.MaxTags, none is added
// and the error is a *run.InvalidError.
func (s *Store) AddTags(ctx context.Context, environment string, id run.ID, tags []string) (run.Run, error) {
	return s.change(ctx, "tags", environment, id, aFewTimes, func(r run.Run) (string, []any, error) {
		fresh, err := run.NewTags(r.Trigger.Tags, tags)
		if err != nil || len(fresh) == 0 {
			return "", nil, err
		}
		return retagSQL, []any{run.UniteTags(r.Trigger.Tags, fresh)}, nil
	})
}

// SetMetadata replaces a run's metadata, or applies operations to it. The row
// is locked between reading and writing, so no operation of another caller is
// lost. A final run is run.ErrConflict; see run.MetadataChange for what else is
// refused. Operations whose reply was lost are not repeated by themselves: see
// [OutcomeUnknown].
func (s *Store) SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error) {
	p := aFewTimes
	if c.Operations != nil {
		p = ifSure
	}
	return s.change(ctx, "metadata", environment, id, p, func(r run.Run) (string, []any, error) {
		if r.Status.Final() {
			return "", nil, fmt.Errorf("runstore: the metadata of a run that is %s can not change: %w", r.Status, run.ErrConflict)
		}
		m, err := c.Result(run.Metadata{Bytes: r.Trigger.Metadata, Type: r.Trigger.MetadataType})
		if err != nil || m == nil {
			return "", nil, err
		}
		return metadataSQL, []any{m.Bytes, m.Type}, nil
	})
}

// Reschedule moves the delay of a run. One that is not DELAYED is
// run.ErrConflict. A moment that has passed makes the run QUEUED.
func (s *Store) Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error) {
	if err := run.ValidDelay("delay", until); err != nil {
		return run.Run{}, err
	}
	return s.change(ctx, "reschedule", environment, id, aFewTimes, func(r run.Run) (string, []any, error) {
		if r.Status != run.Delayed {
			return "", nil, fmt.Errorf("runstore: a run that is %s can not be rescheduled: %w", r.Status, run.ErrConflict)
		}
		return delaySQL, []any{instantOf(until)}, nil
	})
}

// change locks a run, has decide look at it, and carries out the statement that
// it names: environment and id come before args. No statement changes nothing.
func (s *Store) change(
	ctx context.Context, what, environment string, id run.ID, p patience, decide func(run.Run) (sql string, args []any, err error),
) (run.Run, error) {
	if environment == "" {
		return run.Run{}, missing("environment")
	}
	if id.IsZero() {
		return run.Run{}, fmt.Errorf("runstore: %s: %w", what, run.ErrNotFound)
	}
	var (
		r       run.Run
		refused error
	)
	c := s.retry(ctx, s.cold, p, func(ctx context.Context, conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			refused = nil
			rows, _ := tx.Query(ctx, lockRunSQL, environment, id.String())
			list, err := pgx.CollectRows(rows, scanOwn)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				refused = fmt.Errorf("runstore: %s: %w", what, run.ErrNotFound)
				return nil
			}
			r = list[0]
			sql, args, err := decide(r)
			if err != nil || sql == "" {
				refused = err
				return nil
			}
			rows, _ = tx.Query(ctx, sql, append([]any{environment, r.ID.String()}, args...)...)
			r, err = pgx.CollectExactlyOneRow(rows, scanOwn)
			return err
		})
	})
	if c != nil {
		return run.Run{}, outward(c)
	}
	if refused != nil {
		return run.Run{}, refused
	}
	r.ID = id
	return r, nil
}
