package limits

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

func store(ctx context.Context, s *load.Stores, conns int) (*runstore.Store, string, error) {
	database, err := s.Database(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := schema.Migrate(ctx, database); err != nil {
		return nil, "", err
	}
	r, err := runstore.Open(ctx, runstore.Config{
		URL: database, MaxConns: max(conns*2, runstore.MinConns), StatementTimeout: 10 * time.Second,
	})
	return r, database, err
}

// Insert is the batched insert alone: this project's settlement, so many rows in
// a statement, on as many connections as there are callers.
func Insert(ctx context.Context, s *load.Stores, batch, conns int, payload []byte, keyed bool) (*load.Contestant, error) {
	r, _, err := store(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: fmt.Sprintf("batched insert alone, %d rows", batch), Each: batch,
		Do: func(ctx context.Context, i int) error {
			items := make([]runstore.Settlement, batch)
			for n := range items {
				snapshot := snapshot(prefix+strconv.Itoa(i)+"-"+strconv.Itoa(n), i*batch+n, payload, keyed)
				items[n].Snapshot = &snapshot
			}
			for _, settled := range r.Settle(ctx, items) {
				if settled.Err != nil {
					return settled.Err
				}
			}
			return nil
		},
		Close: r.Close,
	}, nil
}

// Copy is COPY into the same table, with its indexes and checks: rows go in, and
// nobody is told which of them were refused.
func Copy(ctx context.Context, s *load.Stores, batch, conns int, payload []byte) (*load.Contestant, error) {
	r, database, err := store(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	r.Close()
	pool, err := pgxpool.New(ctx, database+"&pool_max_conns="+strconv.Itoa(conns))
	if err != nil {
		return nil, err
	}
	columns := []string{
		"id", "env_id", "org_id", "task", "key_kind", "key_slot", "accepted_at", "key_until", "status", "queue_at",
		"payload", "payload_type", "payload_hash", "idempotency_key",
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: fmt.Sprintf("COPY, %d rows", batch), Each: batch,
		Do: func(ctx context.Context, i int) error {
			_, err := pool.CopyFrom(ctx, pgx.Identifier{"runs"}, columns, pgx.CopyFromSlice(batch, func(n int) ([]any, error) {
				s := snapshot(prefix+strconv.Itoa(i)+"-"+strconv.Itoa(n), i*batch+n, payload, true)
				at := time.Now().UnixMicro()
				return []any{
					s.ID.String(), s.Trigger.Environment, s.Trigger.Organisation, s.Trigger.Task, "k", s.Hash[:], at,
					at + run.DefaultKeyTTL.Microseconds(), "QUEUED", at,
					s.Trigger.Payload, s.Trigger.PayloadType, s.PayloadHash[:], s.Trigger.IdempotencyKey,
				}, nil
			}))
			return err
		},
		Close: pool.Close,
	}, nil
}

// Row commits one row at a time, into a table of two columns: the bare round trip.
func Row(ctx context.Context, s *load.Stores, conns int, payload []byte) (*load.Contestant, error) {
	pool, err := plain(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	return &load.Contestant{
		Name: "one row in one statement",
		Do: func(ctx context.Context, _ int) error {
			_, err := pool.Exec(ctx, "insert into bare (payload) values ($1)", payload)
			return err
		},
		Close: pool.Close,
	}, nil
}

// Trip does, one after the other, the bare round trips of a lone trigger with a
// key: a durable write in Redis, and a durable row in Postgres.
func Trip(ctx context.Context, s *load.Stores, payload []byte) (*load.Contestant, error) {
	redis, err := client(s, 1)
	if err != nil {
		return nil, err
	}
	pool, err := plain(ctx, s, 1)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: "a SET, then one row",
		Do: func(ctx context.Context, i int) error {
			if err := redis.Set(ctx, prefix+strconv.Itoa(i), i, 0).Err(); err != nil {
				return err
			}
			_, err := pool.Exec(ctx, "insert into bare (payload) values ($1)", payload)
			return err
		},
		Close: func() { _ = redis.Close(); pool.Close() },
	}, nil
}

// LookTrip does the bare round trips of a lone trigger that is buffered: one read
// of Postgres, and a durable write in Redis.
func LookTrip(ctx context.Context, s *load.Stores, payload []byte) (*load.Contestant, error) {
	redis, err := client(s, 1)
	if err != nil {
		return nil, err
	}
	pool, err := plain(ctx, s, 1)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: "a read of one row, then a SET",
		Do: func(ctx context.Context, i int) error {
			rows, err := pool.Query(ctx, "select payload from bare where id = $1", i)
			if err != nil {
				return err
			}
			rows.Close()
			return redis.Set(ctx, prefix+strconv.Itoa(i), payload, 0).Err()
		},
		Close: func() { _ = redis.Close(); pool.Close() },
	}, nil
}

func plain(ctx context.Context, s *load.Stores, conns int) (*pgxpool.Pool, error) {
	database, err := s.Database(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, database+"&pool_max_conns="+strconv.Itoa(conns))
	if err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, "create table bare (id bigserial primary key, payload bytea)")
	return pool, err
}

// Repeated makes one operation of n operations of c, side by side on as many
// goroutines.
func Repeated(c *load.Contestant, n, side int) *load.Contestant {
	return &load.Contestant{
		Name: fmt.Sprintf("%s, %d connections", c.Name, side), Each: n * c.Each, Close: c.Close,
		Do: func(ctx context.Context, i int) error {
			var g errgroup.Group
			g.SetLimit(side)
			for k := range n {
				g.Go(func() error { return c.Do(ctx, i*n+k) })
			}
			return g.Wait()
		},
	}
}

// Grouped is the plain batched insert that one would write for callers who each
// have one row: they queue, and so many connections take what has queued.
func Grouped(ctx context.Context, s *load.Stores, batch, conns int, payload []byte) (*load.Contestant, error) {
	r, _, err := store(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	type waiting struct {
		snapshot run.Snapshot
		done     chan error
	}
	queue := make(chan *waiting, 1<<16)
	for range conns {
		go func() {
			for first := range queue {
				group := []*waiting{first}
				for more := true; more && len(group) < batch; {
					select {
					case w, open := <-queue:
						if more = open; open {
							group = append(group, w)
						}
					default:
						more = false
					}
				}
				items := make([]runstore.Settlement, len(group))
				for i, w := range group {
					items[i].Snapshot = &w.snapshot
				}
				for i, settled := range r.Settle(context.Background(), items) {
					group[i].done <- settled.Err
				}
			}
		}()
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: fmt.Sprintf("grouped insert, %d connections", conns),
		Do: func(_ context.Context, i int) error {
			w := &waiting{snapshot(prefix+strconv.Itoa(i), i, payload, true), make(chan error, 1)}
			queue <- w
			return <-w.done
		},
		Close: func() { close(queue); r.Close() },
	}, nil
}
