package override

import (
	"context"
	"errors"
	"log/slog"
	"time"

	_ "embed"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/e0ff5a15/mollifier/follow"
	"github.com/e0ff5a15/mollifier/run"
)

//go:embed sql/load.sql
var loadSQL string

const (
	channel       = "mollifier_override"
	selectVersion = `SELECT version FROM override_version`
	// loadTimeouts is how many timeouts reading the table whole may take.
	loadTimeouts = 10
)

// question asks for a look that begins after it, and is closed when that was made.
type question chan struct{}

func (s *Store) follow(ctx context.Context, listener *pgx.ConnConfig) {
	follow.Run(ctx, follow.Config[question]{
		Conn: listener, Channel: channel, Poll: s.cfg.Poll, Timeout: s.cfg.Timeout,
		Refresh: s.refresh,
		Asked:   s.asked,
		Answer: func(ctx context.Context, q question) {
			s.refresh(ctx)
			close(q)
		},
		Deaf: func(err error) {
			s.cfg.Logger.Warn("announcements of overrides are not heard; polling goes on", slog.Any("error", scrubbed(err)))
		},
	})
}

// refresh reads the table if its version is another than the one that is known.
func (s *Store) refresh(ctx context.Context) {
	err := s.tryRefresh(ctx)
	if ctx.Err() != nil {
		return
	}
	switch {
	case err != nil && !s.down:
		s.cfg.Logger.Warn("overrides can not be refreshed; the last ones stay in force", slog.Any("error", scrubbed(err)))
	case err == nil && s.down:
		s.cfg.Logger.Info("overrides are refreshed again", slog.Int64("version", s.State().Version))
	}
	s.down = err != nil
}

func (s *Store) tryRefresh(ctx context.Context) error {
	version, err := s.version(ctx)
	if err != nil || version == s.State().Version {
		return err
	}
	next, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.replace(next)
	return nil
}

// version asks twice before it gives up: the first try may meet a connection that
// died with a Postgres which is back by now.
func (s *Store) version(ctx context.Context) (v int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	for range 2 {
		if err = s.pool.QueryRow(ctx, selectVersion).Scan(&v); err == nil {
			return v, nil
		}
	}
	return 0, err
}

// load reads the table whole, in one snapshot of Postgres, so that the version belongs
// to what was read.
func (s *Store) load(ctx context.Context) (next State, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeouts*s.cfg.Timeout)
	defer cancel()
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, s.pool, o, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, selectVersion).Scan(&next.Version); err != nil {
			return err
		}
		next.Overrides, err = inForce(ctx, tx)
		return err
	})
	return next, err
}

func inForce(ctx context.Context, tx pgx.Tx) (all []Override, err error) {
	rows, err := tx.Query(ctx, loadSQL)
	if err != nil {
		return nil, err
	}
	var (
		o            Override
		window, hold int64
		left         *float64
	)
	fields := []any{&o.Environment, &o.Kind, &window, &o.Gate.Threshold, &hold, &o.Gate.Force, &o.By.Name, &o.By.Reason, &o.SetAt, &left}
	now := time.Now() // before the answer: an override rather ends a moment early than late
	_, err = pgx.ForEachRow(rows, fields, func() error {
		next := o
		next.Gate.Window, next.Gate.Hold = time.Duration(window)*time.Microsecond, time.Duration(hold)*time.Microsecond
		if left != nil {
			next.For = time.Duration(*left * float64(time.Second))
			next.Ends = now.Add(next.For)
		}
		all = append(all, next)
		return nil
	})
	return all, err
}

// storeError says what Postgres said without naming hosts, users or values.
type storeError struct {
	text  string
	cause error
}

func (e *storeError) Error() string { return e.text }
func (e *storeError) Unwrap() error { return e.cause }

func scrubbed(err error) error {
	text := "no connection"
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42P01":
		text = "the schema has not been migrated"
	case errors.As(err, &pg):
		text = "SQLSTATE " + pg.Code
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		text = "timed out"
	case errors.Is(err, context.Canceled):
		text = "canceled"
	}
	return &storeError{text, err}
}

// unavailable is the refusal for whatever kept Postgres from answering.
func unavailable(err error) error {
	return &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres", Err: scrubbed(err)}
}
