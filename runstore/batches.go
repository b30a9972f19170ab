package runstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	batchSQL       = statement("batch")
	batchHeaderSQL = statement("batch_header")
	batchLinkSQL   = statement("batch_link")
	batchAdoptSQL  = statement("batch_adopt")
	batchRunsSQL   = statement("batch_runs")
)

// Batch is a batch as it is stored: how many runs it is to have, and those that
// have their rows.
type Batch struct {
	ID        string
	Items     int
	CreatedAt time.Time
	Runs      []BatchRun // by index
}

// BatchRun is a place in a batch and its run.
type BatchRun struct {
	Index     int
	Run       run.ID // as the caller was answered
	Canonical run.ID // the run that it stands for
	Status    run.Status
}

// CreateBatch writes the header of a batch, before its runs: a run's place is
// written together with its row only if the header is there. (Rows that were
// there first get their places now.) It answers the header as it is stored, so
// it may be repeated; createdAt of zero means Postgres's clock. An id that is in
// use with another size, or in another environment, is run.ErrConflict.
func (s *Store) CreateBatch(ctx context.Context, environment, id string, items int, createdAt run.Instant) (Batch, error) {
	switch {
	case environment == "":
		return Batch{}, missing("environment")
	case id == "":
		return Batch{}, missing("batch")
	case items < 0 || items > math.MaxInt32:
		return Batch{}, &run.InvalidError{Field: "items", Rule: "from 0 to 2147483647"}
	}
	b := Batch{ID: id}
	found := false
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		if _, err := conn.Exec(ctx, batchSQL, id, environment, items, int64(createdAt)); err != nil {
			return err
		}
		var err error
		if found, err = b.read(ctx, conn, environment); err != nil || !found {
			return err
		}
		_, err = conn.Exec(ctx, batchAdoptSQL, environment, id)
		return err
	})
	switch {
	case c != nil:
		return Batch{}, outward(c)
	case !found:
		return Batch{}, fmt.Errorf("runstore: create batch: the id is taken: %w", run.ErrConflict)
	case b.Items != items:
		return Batch{}, fmt.Errorf("runstore: create batch: it is there with %d items: %w", b.Items, run.ErrConflict)
	}
	return b, nil
}

func (b *Batch) read(ctx context.Context, q querier, environment string) (found bool, err error) {
	rows, err := q.Query(ctx, batchHeaderSQL, environment, b.ID)
	if err != nil {
		return false, err
	}
	var at int64
	_, err = pgx.ForEachRow(rows, []any{&b.Items, &at}, func() error {
		found, b.CreatedAt = true, timeOf(at)
		return nil
	})
	return found, err
}

// LinkBatch links places of a batch with runs that were there before: what a
// trigger with a key got that another run held. It answers the places that are
// linked now; one is not if its run has no row yet, or the batch no header. A
// place that was linked before keeps its run.
func (s *Store) LinkBatch(ctx context.Context, environment, id string, links map[int]run.ID) (linked map[int]bool, err error) {
	switch {
	case environment == "":
		return nil, missing("environment")
	case id == "":
		return nil, missing("batch")
	}
	indices, ids := make([]int32, 0, len(links)), make([]string, 0, len(links))
	for i, r := range links {
		if r.IsZero() {
			return nil, missing("id")
		}
		if i < 0 || i > math.MaxInt32 {
			return nil, &run.InvalidError{Field: "index", Rule: "from 0 to 2147483647"}
		}
		indices, ids = append(indices, int32(i)), append(ids, r.String())
	}
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		linked = make(map[int]bool, len(links))
		rows, err := conn.Query(ctx, batchLinkSQL, environment, id, indices, ids)
		if err != nil {
			return err
		}
		var i int
		_, err = pgx.ForEachRow(rows, []any{&i}, func() error {
			linked[i] = true
			return nil
		})
		return err
	})
	if c != nil {
		return nil, outward(c)
	}
	return linked, nil
}

// BatchRuns reads a batch with the places that have a row, aliases followed. A
// batch that is not in the environment is run.ErrNotFound.
func (s *Store) BatchRuns(ctx context.Context, environment, id string) (Batch, error) {
	switch {
	case environment == "":
		return Batch{}, missing("environment")
	case id == "":
		return Batch{}, fmt.Errorf("runstore: batch: %w", run.ErrNotFound)
	}
	b := Batch{ID: id}
	found := false
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		if found, err = b.read(ctx, conn, environment); err != nil || !found {
			return err
		}
		rows, err := conn.Query(ctx, batchRunsSQL, environment, id)
		if err != nil {
			return err
		}
		b.Runs, err = pgx.CollectRows(rows, scanBatchRun)
		return err
	})
	switch {
	case c != nil:
		return Batch{}, outward(c)
	case !found:
		return Batch{}, fmt.Errorf("runstore: batch: %w", run.ErrNotFound)
	}
	return b, nil
}

func scanBatchRun(row pgx.CollectableRow) (b BatchRun, err error) {
	var own, canonical string
	if err := row.Scan(&b.Index, &own, &canonical, &b.Status); err != nil {
		return b, err
	}
	if b.Run, err = run.ParseID(own); err != nil {
		return b, unreadable("run_id")
	}
	if b.Canonical, err = run.ParseID(canonical); err != nil {
		return b, unreadable("id")
	}
	return b, nil
}
