package runstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	takeSQL    = statement("take")
	lockRunSQL = statement("lock_run")
	finishSQL  = statement("finish")
	releaseSQL = statement("release")
	expireSQL  = statement("expire")
)

// MaxTake is the most runs that one [Store.Take] hands out.
const MaxTake = 1000

// Take moves up to n queued runs of all environments, those whose turn comes
// first, to EXECUTING and hands them to the caller, at most [MaxTake]. Calls at
// the same time get different runs. None is not an error. A take whose reply
// was lost is not repeated by itself: its runs stay EXECUTING until somebody
// hands them back.
//
// The error is run.ErrInvalid if n is less than 1, else a *run.RefusedError.
func (s *Store) Take(ctx context.Context, n int) ([]run.Run, error) {
	if n < 1 {
		return nil, &run.InvalidError{Field: "n", Rule: "at least 1"}
	}
	var list []taken
	c := s.retry(ctx, s.cold, ifSure, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, takeSQL, min(n, MaxTake))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (taken, error) {
			r, turn, err := scanRun(row)
			return taken{r, turn}, err
		})
		return err
	})
	if c != nil {
		return nil, refusal(c)
	}
	slices.SortFunc(list, byTurn)
	runs := make([]run.Run, len(list))
	for i := range list {
		runs[i] = list[i].run
	}
	return runs, nil
}

// Finish moves a run on, as its worker reports: into any status that
// run.Status.CanBecome allows, final or not. An alias moves the run that it
// stands for. Reporting the status that the run already has changes nothing and
// is no error, so a report may be repeated; the first report of a final status
// stays. A status that clears the key ends its interval.
//
// Errors: run.ErrNotFound, run.ErrConflict if the run's status does not allow
// the change, run.ErrInvalid for a status that does not exist, [run.ErrRejected]
// for text that Postgres can not hold, else a *run.RefusedError.
func (s *Store) Finish(ctx context.Context, environment string, id run.ID, f run.Finish) (run.Run, error) {
	switch {
	case environment == "":
		return run.Run{}, missing("environment")
	case id.IsZero():
		return run.Run{}, fmt.Errorf("runstore: finish: %w", run.ErrNotFound)
	case !f.Status.Valid():
		return run.Run{}, &run.InvalidError{Field: "status", Rule: "one of the statuses of a run"}
	}
	var failure *string
	if f.Failure != nil {
		b, err := json.Marshal(f.Failure)
		if err != nil {
			return run.Run{}, fmt.Errorf("runstore: finish: encode failure: %w", err)
		}
		text := string(b)
		failure = &text
	}
	if f.Output != nil && f.OutputType == "" {
		f.OutputType = run.DefaultPayloadType
	}
	var (
		r       run.Run
		refused error
	)
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			refused = nil
			rows, _ := tx.Query(ctx, lockRunSQL, environment, id.String())
			list, err := pgx.CollectRows(rows, scanOwn)
			switch {
			case err != nil:
				return err
			case len(list) == 0:
				refused = fmt.Errorf("runstore: finish: %w", run.ErrNotFound)
				return nil
			}
			r = list[0]
			switch {
			case !r.Status.CanBecome(f.Status):
				refused = fmt.Errorf("runstore: finish: a run that is %s can not become %s: %w", r.Status, f.Status, run.ErrConflict)
				return nil
			case r.Status == f.Status:
				return nil
			}
			rows, _ = tx.Query(ctx, finishSQL, environment, r.Canonical.String(), string(f.Status), f.Output, f.OutputType, failure)
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

func scanOwn(row pgx.CollectableRow) (run.Run, error) {
	r, _, err := scanRun(row)
	return r, err
}

// Sweep lets delayed runs whose time has come be taken, and expires runs whose
// ttl has passed before they were: at most limit of each. It may run on any
// number of nodes at once; they share the work. The counts are zero when there
// is nothing to do, and what was done before an error stays done.
func (s *Store) Sweep(ctx context.Context, limit int) (expired, released int, err error) {
	if limit < 1 {
		return 0, 0, &run.InvalidError{Field: "limit", Rule: "at least 1"}
	}
	for _, step := range [...]struct {
		sql  string
		done *int
	}{{releaseSQL, &released}, {expireSQL, &expired}} {
		c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
			tag, err := conn.Exec(ctx, step.sql, limit)
			*step.done = int(tag.RowsAffected())
			return err
		})
		if c != nil {
			return expired, released, refusal(c)
		}
	}
	return expired, released, nil
}
