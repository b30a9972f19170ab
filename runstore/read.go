package runstore

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var runsSQL = statement("runs")

// Runs reads runs of one environment by id, on the primary. An id that is not
// there, is zero, or belongs to another environment is not in the map. An alias
// is answered under its own id, with Canonical and everything else of the run
// that it stands for. The key is in the run as it was given, even after its
// interval has ended: KeyUntil tells, and hiding it is for who shows it.
//
// The error is run.ErrInvalid without an environment, else a *run.RefusedError.
func (s *Store) Runs(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	return s.runs(ctx, runsSQL, environment, ids)
}

func (s *Store) runs(ctx context.Context, sql, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	if environment == "" {
		return nil, missing("environment")
	}
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		if !id.IsZero() {
			texts = append(texts, id.String())
		}
	}
	if len(texts) == 0 {
		return map[run.ID]run.Run{}, nil
	}
	var found map[run.ID]run.Run
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, sql, environment, texts)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, scanAsked)
		if err != nil {
			return err
		}
		found = make(map[run.ID]run.Run, len(list))
		for _, r := range list {
			found[r.ID] = r
		}
		return nil
	})
	if c != nil {
		return nil, outward(c)
	}
	return found, nil
}

// scanAsked reads a run behind the id that was asked for.
func scanAsked(row pgx.CollectableRow) (run.Run, error) {
	var asked string
	r, _, err := scanRun(row, &asked)
	if err != nil {
		return run.Run{}, err
	}
	if r.ID, err = run.ParseID(asked); err != nil {
		return run.Run{}, unreadable("id")
	}
	return r, nil
}

var versionsSQL = statement("versions")

// Versions tells, on the primary, which of the runs have a row, aliases included,
// and for each the version of its buffer entry that the row has. An id that is not
// in the map has none. Errors are as those of [Store.Runs].
func (s *Store) Versions(ctx context.Context, environment string, ids []run.ID) (map[run.ID]int64, error) {
	if environment == "" {
		return nil, missing("environment")
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	var found map[run.ID]int64
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		found = make(map[run.ID]int64, len(ids))
		rows, err := conn.Query(ctx, versionsSQL, environment, texts)
		if err != nil {
			return err
		}
		var (
			text string
			ver  int64
		)
		_, err = pgx.ForEachRow(rows, []any{&text, &ver}, func() error {
			id, err := run.ParseID(text)
			found[id] = ver
			return err
		})
		return err
	})
	if c != nil {
		return nil, outward(c)
	}
	return found, nil
}
