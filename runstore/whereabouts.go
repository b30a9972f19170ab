package runstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var whereaboutsSQL = sqlFile("whereabouts")

// Whereabouts returns the environment of a run, by its id alone. It is for operators:
// what it says must not reach another environment. Errors: run.ErrNotFound, or a
// *run.RefusedError.
func (s *Store) Whereabouts(ctx context.Context, id run.ID) (environment string, err error) {
	if id.IsZero() {
		return "", run.ErrNotFound
	}
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		err := conn.QueryRow(ctx, whereaboutsSQL, id.String()).Scan(&environment)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	switch {
	case c != nil:
		return "", outward(c)
	case environment == "":
		return "", run.ErrNotFound
	}
	return environment, nil
}
