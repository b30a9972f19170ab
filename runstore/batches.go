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
	batchSQL        = statement("batch")
	batchHeaderSQL  = statement("batch_header")
	batchReleaseSQL = statement("batch_release")
	batchPlaceSQL   = statement("batch_place")
	batchSealSQL    = statement("batch_seal")
	batchRunsSQL    = statement("batch_runs")
)

// NewBatch is a batch that is to exist. Environment and ID are required.
type NewBatch struct {
	Environment string
	ID          string
	Items       int         // how many runs it is to have
	CreatedAt   run.Instant // zero means Postgres's clock
	Sealed      bool        // all of its items are known now

	// Key is the identity of the request; zero for none. The key holds its batch
	// for KeyTTL.
	Key            run.Key
	KeyTTL         time.Duration
	IdempotencyKey string // as it was given
	RequestHash    run.Digest

	ParentRun    run.ID // of all its runs
	ResumeParent bool
}

// BatchHeader is a batch as it is stored, without its runs.
type BatchHeader struct {
	ID             string
	Items          int
	CreatedAt      time.Time
	SealedAt       time.Time // zero while items are still to come
	IdempotencyKey string
	RequestHash    run.Digest
	ParentRun      run.ID
	ResumeParent   bool
	Taken          []int // the places that are taken, in order
}

// Batch is a batch and the places that are taken.
type Batch struct {
	BatchHeader
	Places []Place // by index
}

// Place is what an item of a batch was answered with: a run, or an error.
type Place struct {
	Index int

	Run       run.ID     // as the caller was answered; zero if there is an error instead
	Canonical run.ID     // the run that it stands for; zero while it has no row
	Status    run.Status // empty while it has no row
	// AcceptedAt and UpdatedAt are the run's, zero while it has no row.
	AcceptedAt, UpdatedAt time.Time

	Task        string // of an item without a run
	Error, Code string // why it has none
}

// CreateBatch writes the header of a batch, before its runs: a run's place is
// written together with its row only if the header is there. (Rows that were
// there first get their places now.) It answers the header as it is stored, so
// it may be repeated. Where a batch holds the key, it is that batch's header,
// under its own id and with its own size. An id that is in use with another
// size, or in another environment, is run.ErrConflict.
func (s *Store) CreateBatch(ctx context.Context, b NewBatch) (BatchHeader, error) {
	switch {
	case b.Environment == "":
		return BatchHeader{}, missing("environment")
	case b.ID == "":
		return BatchHeader{}, missing("batch")
	case b.Items < 0 || b.Items > math.MaxInt32:
		return BatchHeader{}, &run.InvalidError{Field: "items", Rule: "from 0 to 2147483647"}
	}
	var (
		h     BatchHeader
		found bool
	)
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		h, found, err = b.create(ctx, conn)
		return err
	})
	switch {
	case c != nil:
		return BatchHeader{}, outward(c)
	case !found:
		return BatchHeader{}, fmt.Errorf("runstore: create batch: the id is taken: %w", run.ErrConflict)
	case h.ID == b.ID && h.Items != b.Items:
		return BatchHeader{}, fmt.Errorf("runstore: create batch: it is there with %d items: %w", h.Items, run.ErrConflict)
	}
	return h, nil
}

// create inserts the header, or finds what is in its way. A batch whose key's
// time is over gives the key up; what another batch does to the key between two
// statements costs another round.
func (b *NewBatch) create(ctx context.Context, conn *pgxpool.Conn) (h BatchHeader, found bool, err error) {
	var hash []byte
	if !b.Key.IsZero() {
		sum := b.Key.Hash()
		hash = sum[:]
	}
	for range maxRounds {
		if h, found, err = b.insert(ctx, conn, hash); err != nil || found {
			return h, found, err
		}
		var over bool
		if h, over, found, err = readHeader(ctx, conn, b.Environment, b.ID, hash); err != nil {
			return h, false, err
		}
		switch {
		case found && (!over || h.ID == b.ID):
			return h, true, nil
		case !found && hash == nil:
			return h, false, nil // another environment has the id
		}
		if _, err := conn.Exec(ctx, batchReleaseSQL, b.Environment, hash); err != nil {
			return h, false, err
		}
	}
	return h, false, nil
}

func (b *NewBatch) insert(ctx context.Context, conn *pgxpool.Conn, hash []byte) (h BatchHeader, made bool, err error) {
	rows, err := conn.Query(ctx, batchSQL,
		b.ID, b.Environment, b.Items, int64(b.CreatedAt), hash, b.KeyTTL.Microseconds(), b.IdempotencyKey,
		digestBytes(b.RequestHash), b.Sealed, b.ParentRun.String(), b.ResumeParent)
	if err != nil {
		return BatchHeader{}, false, err
	}
	var created, sealed int64
	_, err = pgx.ForEachRow(rows, []any{&created, &sealed}, func() error {
		made = true
		h = BatchHeader{
			ID: b.ID, Items: b.Items, CreatedAt: timeOf(created), SealedAt: timeOf(sealed),
			IdempotencyKey: b.IdempotencyKey, RequestHash: b.RequestHash, ParentRun: b.ParentRun, ResumeParent: b.ResumeParent,
		}
		return nil
	})
	return h, made, err
}

func readHeader(ctx context.Context, q querier, environment, id string, key []byte) (h BatchHeader, over, found bool, err error) {
	rows, err := q.Query(ctx, batchHeaderSQL, environment, id, key)
	if err != nil {
		return h, false, false, err
	}
	var (
		created, sealed int64
		request         []byte
		parent          string
		taken           []int32
	)
	_, err = pgx.ForEachRow(rows, []any{
		&h.ID, &h.Items, &created, &sealed, &h.IdempotencyKey, &request, &parent, &h.ResumeParent, &over, &taken,
	}, func() (err error) {
		found = true
		h.CreatedAt, h.SealedAt, h.RequestHash = timeOf(created), timeOf(sealed), digestOf(request)
		for _, i := range taken {
			h.Taken = append(h.Taken, int(i))
		}
		if parent != "" {
			if h.ParentRun, err = run.ParseID(parent); err != nil {
				return unreadable("parent_id")
			}
		}
		return nil
	})
	return h, over, found, err
}

// BatchHeader reads a batch without its runs. A batch that is not in the
// environment is run.ErrNotFound.
func (s *Store) BatchHeader(ctx context.Context, environment, id string) (BatchHeader, error) {
	b, err := s.readBatch(ctx, s.hot, environment, id, false)
	return b.BatchHeader, err
}

// Batch reads a batch with the places that are taken, aliases followed. A batch
// that is not in the environment is run.ErrNotFound.
func (s *Store) Batch(ctx context.Context, environment, id string) (Batch, error) {
	return s.readBatch(ctx, s.cold, environment, id, true)
}

func (s *Store) readBatch(ctx context.Context, pool *pgxpool.Pool, environment, id string, places bool) (Batch, error) {
	if environment == "" {
		return Batch{}, missing("environment")
	}
	if id == "" {
		return Batch{}, fmt.Errorf("runstore: batch: %w", run.ErrNotFound)
	}
	var (
		b     Batch
		found bool
	)
	c := s.retry(ctx, pool, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		b = Batch{}
		if b.BatchHeader, _, found, err = readHeader(ctx, conn, environment, id, nil); err != nil || !found || !places {
			return err
		}
		rows, err := conn.Query(ctx, batchRunsSQL, environment, id)
		if err != nil {
			return err
		}
		b.Places, err = pgx.CollectRows(rows, scanPlace)
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

func scanPlace(row pgx.CollectableRow) (p Place, err error) {
	var (
		own, canonical    string
		accepted, updated int64
	)
	if err := row.Scan(&p.Index, &own, &canonical, &p.Status, &accepted, &updated, &p.Task, &p.Error, &p.Code); err != nil {
		return p, err
	}
	p.AcceptedAt, p.UpdatedAt = timeOf(accepted), timeOf(updated)
	for _, id := range [...]struct {
		text string
		id   *run.ID
	}{{own, &p.Run}, {canonical, &p.Canonical}} {
		if id.text == "" {
			continue
		}
		if *id.id, err = run.ParseID(id.text); err != nil {
			return p, unreadable("run_id")
		}
	}
	return p, nil
}

// PlaceBatch writes what items of a batch were answered with, whether those runs
// have their rows or not, and answers which of the places were free. A place
// that is taken keeps what it has. One that a drainer has written for this very
// run counts as free once: to the first who is about to tell the item's sender.
// Without a header nothing is written. Of a Place it looks at Index, Run, and where
// Run is zero at Task, Error and Code; of several with one Index, at the first.
func (s *Store) PlaceBatch(ctx context.Context, environment, id string, places []Place) (free map[int]bool, err error) {
	switch {
	case environment == "":
		return nil, missing("environment")
	case id == "":
		return nil, missing("batch")
	}
	var (
		indices                    []int32
		ids, tasks, failures, code []string
	)
	named := make(map[int]bool, len(places))
	for i := range places {
		p := &places[i]
		if p.Run.IsZero() == (p.Error == "") {
			return nil, &run.InvalidError{Field: "place", Rule: "must have a run or an error"}
		}
		if p.Index < 0 || p.Index > math.MaxInt32 {
			return nil, &run.InvalidError{Field: "index", Rule: "from 0 to 2147483647"}
		}
		if named[p.Index] {
			continue
		}
		named[p.Index] = true
		indices, ids, tasks = append(indices, int32(p.Index)), append(ids, p.Run.String()), append(tasks, p.Task)
		failures, code = append(failures, p.Error), append(code, p.Code)
	}
	if len(indices) == 0 {
		return map[int]bool{}, nil
	}
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		free = make(map[int]bool, len(places))
		rows, err := conn.Query(ctx, batchPlaceSQL, environment, id, indices, ids, tasks, failures, code)
		if err != nil {
			return err
		}
		var i int
		_, err = pgx.ForEachRow(rows, []any{&i}, func() error {
			free[i] = true
			return nil
		})
		return err
	})
	if c != nil {
		return nil, outward(c)
	}
	return free, nil
}

// SealBatch seals a batch if all of its places are taken, and answers how many
// are. It may be repeated. A batch that is not in the environment is
// run.ErrNotFound.
func (s *Store) SealBatch(ctx context.Context, environment, id string) (taken int, sealed bool, err error) {
	if environment == "" {
		return 0, false, missing("environment")
	}
	found := false
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, batchSealSQL, environment, id)
		if err != nil {
			return err
		}
		var items int
		_, err = pgx.ForEachRow(rows, []any{&items, &taken, &sealed}, func() error {
			found = true
			return nil
		})
		return err
	})
	switch {
	case c != nil:
		return 0, false, outward(c)
	case !found:
		return 0, false, fmt.Errorf("runstore: batch: %w", run.ErrNotFound)
	}
	return taken, sealed, nil
}
