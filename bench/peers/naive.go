package peers

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// runsTable is as much of a table of runs as such a program would have.
const runsTable = `
create table task_runs (
  id text primary key, env_id text not null, org_id text not null, task text not null, idempotency_key text,
  status text not null, payload bytea, payload_type text not null, queue text not null,
  created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create unique index on task_runs (env_id, task, idempotency_key)`

const insertRun = `
insert into task_runs (id, env_id, org_id, task, idempotency_key, status, payload, payload_type, queue)
values ($1, 'bench', 'bench', 'bench', $2, 'QUEUED', $3, 'application/json', 'task/bench')
on conflict (env_id, task, idempotency_key) do nothing`

// table opens a pool on a database with an empty table of runs.
func table(ctx context.Context, s *load.Stores, conns int) (*pgxpool.Pool, error) {
	database, err := s.Database(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, database+"&pool_max_conns="+strconv.Itoa(conns))
	if err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, runsTable)
	return pool, err
}

func newID() string { return "run_" + strconv.FormatInt(time.Now().UnixMilli(), 36) + rand.Text() }

// Naive is INSERT ... ON CONFLICT DO NOTHING for each trigger.
func Naive(ctx context.Context, s *load.Stores, conns int, payload []byte) (*load.Contestant, error) {
	pool, err := table(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: "INSERT ON CONFLICT, pool of " + strconv.Itoa(conns),
		Do: func(ctx context.Context, i int) error {
			_, err := pool.Exec(ctx, insertRun, newID(), prefix+strconv.Itoa(i), payload)
			return err
		},
		Close: pool.Close,
	}, nil
}
