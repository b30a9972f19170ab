package runstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var spendSQL = statement("spend")

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
