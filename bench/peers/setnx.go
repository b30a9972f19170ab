package peers

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"golang.org/x/sync/singleflight"

	"github.com/e0ff5a15/mollifier/bench"
	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

//go:embed lua/trip.lua
var tripText string

// setnx is the pipeline that is written when the need arises: SETNX decides who
// makes the run, a script counts, a row is inserted, a SET publishes.
type setnx struct {
	redis *redis.Client
	pool  *pgxpool.Pool
	trip  *redis.Script
	calls atomic.Int64
}

func newSetNX(ctx context.Context, s *load.Stores, conns int) (*setnx, error) {
	o, err := redis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PoolSize = conns
	pool, err := table(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	return &setnx{redis: redis.NewClient(o), pool: pool, trip: redis.NewScript(tripText)}, nil
}

func (p *setnx) close() {
	_ = p.redis.Close()
	p.pool.Close()
}

// pollEvery is how often a loser looks whether the winner has published.
const pollEvery = 25 * time.Millisecond

func (p *setnx) trigger(ctx context.Context, key string, payload []byte) (string, error) {
	p.calls.Add(1)
	won, err := p.redis.SetNX(ctx, key, "pending", 10*time.Second).Result()
	if err != nil {
		return "", err
	}
	if !won {
		return p.wait(ctx, key)
	}
	p.calls.Add(1)
	if err := p.trip.Run(ctx, p.redis, []string{"setnx:rate", "setnx:tripped"}, 200, 1_000_000, 500).Err(); err != nil {
		return "", err
	}
	id := newID()
	if _, err := p.pool.Exec(ctx, insertRun, id, key, payload); err != nil {
		return "", err
	}
	p.calls.Add(1)
	return id, p.redis.Set(ctx, key, id, time.Minute).Err()
}

func (p *setnx) wait(ctx context.Context, key string) (string, error) {
	for {
		p.calls.Add(1)
		id, err := p.redis.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return "", err
		}
		if id != "pending" && id != "" {
			return id, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// SetNX runs the pipeline for each trigger.
func SetNX(ctx context.Context, s *load.Stores, conns int, payload []byte) (*load.Contestant, error) {
	p, err := newSetNX(ctx, s, conns)
	if err != nil {
		return nil, err
	}
	prefix := load.Fresh()
	return &load.Contestant{
		Name: "SETNX, gate, INSERT, SET; pools of " + strconv.Itoa(conns),
		Do: func(ctx context.Context, i int) error {
			_, err := p.trigger(ctx, prefix+strconv.Itoa(i), payload)
			return err
		},
		Counts: func() load.Counts { return load.Counts{load.RedisCalls: float64(p.calls.Load())} },
		Close:  p.close,
	}, nil
}

// Singleflight puts singleflight in front of the pipeline, and has callers come in
// bursts: all of a burst trigger one new key at once. One operation is a burst.
func Singleflight(ctx context.Context, s *load.Stores, callers int, payload []byte) (*load.Contestant, error) {
	p, err := newSetNX(ctx, s, 16)
	if err != nil {
		return nil, err
	}
	var group singleflight.Group
	prefix := load.Fresh()
	return &load.Contestant{
		Name: "singleflight in front of SETNX, gate, INSERT", Each: callers,
		Do: func(ctx context.Context, i int) error {
			key := prefix + strconv.Itoa(i)
			return bench.AtOnce(callers, func() error {
				_, err, _ := group.Do(key, func() (any, error) { return p.trigger(ctx, key, payload) })
				return err
			})
		},
		Counts: func() load.Counts { return load.Counts{load.RedisCalls: float64(p.calls.Load())} },
		Close:  p.close,
	}, nil
}
