package peers

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// job is a trigger as River takes it.
type job struct {
	Environment string `json:"env" river:"unique"`
	Task        string `json:"task" river:"unique"`
	Key         string `json:"key" river:"unique"`
	Payload     string `json:"payload"`
}

// Kind names the job for River.
func (job) Kind() string { return "bench" }

func riverClient(ctx context.Context, s *load.Stores, conns int) (*river.Client[pgx.Tx], *pgxpool.Pool, error) {
	database, err := s.Database(ctx)
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.New(ctx, database+"&pool_max_conns="+strconv.Itoa(conns))
	if err != nil {
		return nil, nil, err
	}
	driver := riverpgxv5.New(pool)
	m, err := rivermigrate.New(driver, nil)
	if err == nil {
		_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := river.NewClient(driver, &river.Config{}) // inserts only
	return c, pool, err
}

// River inserts a job for each trigger, unique by its key.
func River(ctx context.Context, s *load.Stores, conns int, payload []byte) (*load.Contestant, error) {
	c, pool, err := riverClient(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	options := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
	return &load.Contestant{
		Name: "River Insert with UniqueOpts, pool of " + strconv.Itoa(conns),
		Do: func(ctx context.Context, i int) error {
			_, err := c.Insert(ctx, job{"bench", "bench", prefix + strconv.Itoa(i), string(payload)}, options)
			return err
		},
		Close: pool.Close,
	}, nil
}

// RiverMany inserts batches of jobs: with COPY if fast.
func RiverMany(ctx context.Context, s *load.Stores, conns, batch int, fast bool, payload []byte) (*load.Contestant, error) {
	c, pool, err := riverClient(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	name := "River InsertMany"
	if fast {
		name = "River InsertManyFast"
	}
	return &load.Contestant{
		Name: fmt.Sprintf("%s of %d", name, batch), Each: batch,
		Do: func(ctx context.Context, i int) error {
			jobs := make([]river.InsertManyParams, batch)
			for n := range jobs {
				jobs[n].Args = job{"bench", "bench", fmt.Sprint(prefix, i, "-", n), string(payload)}
			}
			if fast {
				_, err := c.InsertManyFast(ctx, jobs)
				return err
			}
			_, err := c.InsertMany(ctx, jobs)
			return err
		},
		Close: pool.Close,
	}, nil
}
