package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/e0ff5a15/mollifier/run"
)

// ErrUnknownKey: no environment has this key, or the key has ended.
var ErrUnknownKey = errors.New("tenant: unknown API key")

// ErrExists: the organisation already has an environment of that name, or the
// environment a key of that name.
var ErrExists = errors.New("tenant: one of that name exists already")

// storeError says what Postgres said without naming hosts, users or values;
// the driver's own error is kept for errors.Is and errors.As only.
type storeError struct {
	text  string
	cause error
}

func (e *storeError) Error() string { return e.text }
func (e *storeError) Unwrap() error { return e.cause }

const undefinedTable = "42P01"

func scrubbed(err error) error {
	text := "no connection"
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == undefinedTable:
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

func closed() error { return &run.RefusedError{Reason: run.ErrClosed, Part: "tenant"} }

func notFound(what string) error { return fmt.Errorf("tenant: %s: %w", what, run.ErrNotFound) }
