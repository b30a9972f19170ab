package runstore

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var childrenSQL = statementOf("children", "beside")

// Children reads the newest runs that name a run as their parent, by any of its
// names: without payload, context, output and error. Aliases are not shown. limit is
// 1 to MaxPage.
func (s *Store) Children(ctx context.Context, environment string, names []run.ID, limit int) ([]run.Run, error) {
	switch {
	case environment == "":
		return nil, missing("environment")
	case limit < 1 || limit > MaxPage:
		return nil, &run.InvalidError{Field: "limit", Rule: "from 1 to 1000"}
	}
	texts := make([]string, len(names))
	for i, id := range names {
		texts[i] = id.String()
	}
	var runs []run.Run
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, childrenSQL, environment, texts, limit)
		if err != nil {
			return err
		}
		runs, err = pgx.CollectRows(rows, scanOwn)
		return err
	})
	if c != nil {
		return nil, outward(c)
	}
	return runs, nil
}
