package limits

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// partitions is how many the deployment has by default.
const partitions = 64

func client(s *load.Stores, conns int) (*redis.Client, error) {
	o, err := redis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Protocol, o.PoolSize = 2, conns
	return redis.NewClient(o), nil
}

// Set writes strings, so many in a pipeline: what Redis does at best.
func Set(s *load.Stores, pipeline, conns int, value []byte) (*load.Contestant, error) {
	c, err := client(s, conns)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: fmt.Sprintf("SET, %d in a pipeline", pipeline), Each: pipeline,
		Do: func(ctx context.Context, i int) error {
			if pipeline == 1 {
				return c.Set(ctx, prefix+strconv.Itoa(i), value, 0).Err()
			}
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for n := range pipeline {
					p.Set(ctx, prefix+strconv.Itoa(i)+"-"+strconv.Itoa(n), value, 0)
				}
				return nil
			})
			return err
		},
		Close: func() { _ = c.Close() },
	}, nil
}

// Accept runs the accept script alone, so many runs in a call, keyed or not. The
// looks into Postgres that an engine makes before are left out.
func Accept(ctx context.Context, s *load.Stores, batch int, payload []byte, keyed bool) (*load.Contestant, error) {
	db, err := redisdb.New(redisdb.Config{
		URL: s.Redis, Prefix: load.Fresh() + "a", Partitions: partitions, Deadline: 10 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	if _, err := db.Open(ctx); err != nil {
		return nil, err
	}
	store, err := buffer.New(db, buffer.Config{MaxEntries: 1 << 30, MaxBytes: 1 << 40})
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: fmt.Sprintf("accept script alone, %d a call", batch), Each: batch,
		Do: func(ctx context.Context, i int) error {
			runs := make([]buffer.Acceptance, batch)
			for n := range runs {
				snapshot := snapshot(prefix+strconv.Itoa(i)+"-"+strconv.Itoa(n), i*batch+n, payload, keyed)
				runs[n] = buffer.Acceptance{Snapshot: &snapshot, CheckSkipped: true}
			}
			for _, a := range store.Accept(ctx, runs) {
				if a.State != buffer.AcceptedNew {
					return fmt.Errorf("%s: %w", a.State, a.Err)
				}
			}
			return nil
		},
		Close: func() { _ = db.Close() },
	}, nil
}

func snapshot(key string, n int, payload []byte, keyed bool) run.Snapshot {
	t := run.Trigger{Organisation: "bench", Environment: "bench", Task: "bench", Payload: payload}
	if keyed {
		t.IdempotencyKey = key
	}
	k := t.Key()
	var hash run.Hash
	if keyed {
		hash = k.Hash()
	}
	return run.NewSnapshot(run.MintID(time.Now(), n%partitions), k, hash, t)
}
