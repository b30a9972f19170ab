package runstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	spendSQL       = statement("spend")
	tokenBindSQL   = statement("token_bind")
	tokenOpenedSQL = statement("token_opened")
)

// Spend takes a token that may be used once for one use, both by their SHA-256.
// It answers nil for that use, as often as it is asked, and run.ErrConflict for
// every other one, on all nodes, until the given time and for at least as long as
// Postgres's clock needs to reach it. Other errors are those of all calls: then
// the token may have been spent on this use.
func (s *Store) Spend(ctx context.Context, environment string, token, use [32]byte, until time.Time) error {
	if environment == "" {
		return missing("environment")
	}
	var on []byte
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, spendSQL, token[:], environment, use[:], until).Scan(&on)
	})
	if c != nil {
		return outward(c)
	}
	if !bytes.Equal(on, use[:]) {
		return fmt.Errorf("runstore: the token was used: %w", run.ErrConflict)
	}
	return nil
}

// BindToken notes which batch a spent token has opened. The first one stays.
func (s *Store) BindToken(ctx context.Context, environment string, token [32]byte, batch string) error {
	if environment == "" {
		return missing("environment")
	}
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, tokenBindSQL, token[:], environment, batch)
		return err
	})
	if c != nil {
		return outward(c)
	}
	return nil
}

// TokenOpened reports whether a token that may be used once has opened the batch.
func (s *Store) TokenOpened(ctx context.Context, environment string, token [32]byte, batch string) (opened bool, err error) {
	if environment == "" {
		return false, missing("environment")
	}
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, tokenOpenedSQL, token[:], environment, batch).Scan(&opened)
	})
	if c != nil {
		return false, outward(c)
	}
	return opened, nil
}
