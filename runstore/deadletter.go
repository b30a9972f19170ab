package runstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var burySQL = statement("bury")

// Bury keeps the exact bytes of a buffered run that Postgres refuses as a row:
// all of it, as [run.Snapshot.Append] writes it. It comes before the run's
// failure row and before its entry is dropped, so that the only copy is never
// deleted. It may be repeated; the first one stays. Errors are those of a
// single row in [Settled].
func (s *Store) Bury(ctx context.Context, dead *run.Snapshot, reason string) error {
	if dead == nil || dead.ID.IsZero() {
		return missing("id")
	}
	record, err := dead.Append(nil)
	if err != nil {
		return fmt.Errorf("runstore: %w (%s)", run.ErrRejected, "snapshot can not be encoded")
	}
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, burySQL, dead.Trigger.Environment, dead.ID.String(), record, reason)
		return err
	})
	if c != nil {
		return outward(c)
	}
	return nil
}
