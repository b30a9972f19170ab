package mollifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/explain"
	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/fleet"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/gate/recording"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/ring"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/shard"
	"github.com/e0ff5a15/mollifier/telemetry"
)

// breakerFailures in a row open the breaker of a store.
const breakerFailures = 3

func (e *Engine) open(ctx context.Context) error {
	if err := e.make(); err != nil {
		return err
	}
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return e.openRuns(both) })
	g.Go(func() error { return e.openRedis(both) })
	if err := g.Wait(); err != nil {
		return err
	}
	e.reader = fallback.New(fallback.Config{
		Rows: e.runs, Entries: e.buffer, Records: fallback.RedisRecords{DB: e.redis},
		Partitions: e.cfg.Partitions, Buffers: e.enrolment.claims, Kept: e.ring.Holds,
	})
	var err error
	if e.telemetry, err = telemetry.New(e.cfg.MeterProvider, e.cfg.TracerProvider); err != nil {
		return fmt.Errorf("mollifier: Config.MeterProvider: %w", err)
	}
	drains := drain.Config{Partitions: e.cfg.Partitions, Paused: e.pauses.paused, Logger: e.cfg.Logger}
	if e.telemetry != nil {
		drains.Observer = e.telemetry
	}
	if e.drain, err = drain.New(drains, e.buffer, e.runs); err != nil {
		return fmt.Errorf("mollifier: %w", err)
	}
	if err = e.openOverrides(ctx); err != nil {
		return err
	}
	e.quotas = &quotas{
		cfg: e.cfg.Buffer, usage: e.buffer.Usage, total: e.buffer.Total, rate: e.drain.Rate,
		oldest: func() time.Duration { return e.drain.Levels().Total.Oldest },
		envs:   map[string]*level{}, news: make(chan struct{}, 1),
	}
	e.recent = explain.NewRing(e.cfg.Recent, func(environment string) (gate.State, gate.Limits) {
		return e.gate.State(environment, time.Now()), e.gate.Limits(environment)
	})
	acts := actors.Config{
		Partitions: e.cfg.Partitions, Shards: e.cfg.Shards,
		ClaimTTL: e.cfg.ClaimTTL, WaitBudget: e.cfg.WaitBudget,
		RedisDeadline: e.cfg.RedisDeadline, SettleDeadline: e.cfg.PostgresDeadline,
		SettleSlots: max(1, e.cfg.PostgresConns/4),
		MaxCallers:  e.cfg.MaxCallers, MaxBytes: e.cfg.MaxBytes, Logger: e.cfg.Logger,
		Diverts: func(organisation string) bool {
			return !e.cfg.NoDivert && e.mollifies(organisation) && e.redis.Unfit() == nil
		},
		Durability: e.durability, Admit: e.quotas.admit, Accepted: e.drain.Notify, Witness: e.recent,
	}
	if e.telemetry != nil {
		acts.Observer = e.telemetry
	}
	stores := actors.Stores{Claims: e.claims, Runs: e.runs, Buffer: e.buffer, Gate: e.gate, Clock: e.redis}
	if e.shards, err = actors.Start(acts, stores); err != nil {
		return err
	}
	if err = e.telemetry.Read(readings{e}); err != nil {
		return fmt.Errorf("mollifier: Config.MeterProvider: %w", err)
	}
	return nil
}

// make builds what stands on Redis; it does not touch the network.
func (e *Engine) make() (err error) {
	if e.redis, err = redisdb.New(redisdb.Config{
		URL: e.cfg.Redis, Prefix: e.cfg.Prefix, Partitions: e.cfg.Partitions,
		Deadline: e.cfg.RedisDeadline, BreakerFailures: breakerFailures, OnBreaker: e.logRedis,
		Durability: e.cfg.Durability,
	}); err != nil {
		return fmt.Errorf("mollifier: Config.Redis: %w", err)
	}
	if e.claims, err = claim.New(e.redis, claim.Config{TTL: e.cfg.ClaimTTL}); err != nil {
		return fmt.Errorf("mollifier: Config.ClaimTTL: %w", err)
	}
	var kept buffer.Config
	if e.cfg.RingBytes > 0 {
		if e.ring, err = ring.New(ring.Config{Bytes: e.cfg.RingBytes, Partitions: e.cfg.Partitions}); err != nil {
			return fmt.Errorf("mollifier: Config.RingBytes: %w", err)
		}
		kept.Keeper = e.ring
	}
	if e.buffer, err = buffer.New(e.redis, kept); err != nil {
		return fmt.Errorf("mollifier: Config.Buffer: %w", err)
	}
	e.board = fleet.New(e.redis)
	e.enrolment = newEnrolment(e.mollifies, e.buffer)
	c := gate.Defaults()
	c.Window, c.Threshold, c.Hold = e.cfg.Gate.Window, e.cfg.Gate.Threshold, e.cfg.Gate.Hold
	c.Off, c.Shadow, c.Enrolled = e.cfg.Gate.Off, e.cfg.Gate.Shadow, e.cfg.Enrolled
	c.Logger = e.cfg.Logger
	if e.cfg.Gate.Smooth {
		c.Algorithm = gate.GCRA
	}
	if e.cfg.Gate.RateOnly {
		c.Pressure.Least = math.MaxInt
	}
	if e.cfg.Gate.RecordBytes > 0 {
		e.recorded = recording.NewRecorder(e.cfg.Node, c.Algorithm, e.cfg.Gate.RecordBytes)
		c.Record = e.recorded.Record
	}
	if e.gate, err = gate.New(c, e.redis); err != nil {
		return fmt.Errorf("mollifier: Config.Gate: %w", err)
	}
	return nil
}

func (e *Engine) openRuns(ctx context.Context) (err error) {
	if e.runs, err = runstore.Open(ctx, runstore.Config{
		URL: e.cfg.Postgres, MaxConns: e.cfg.PostgresConns, StatementTimeout: e.cfg.PostgresDeadline,
		BreakerFailures: breakerFailures, BreakerPause: 500 * time.Millisecond,
		OnBreaker: e.logPostgres, Observe: e.gate.Observe, Hook: e.hook(),
	}); err != nil {
		return fmt.Errorf("mollifier: Config.Postgres: %w", err)
	}
	if err := e.runs.Verify(ctx); err != nil {
		return fmt.Errorf("mollifier: Config.Postgres: %w", err)
	}
	if err := e.runs.Deployment(ctx, e.cfg.Partitions, shard.HashVersion); err != nil {
		return unlikeDeployment(err)
	}
	if err := e.runs.Hooks(ctx, e.cfg.DropHook); errors.Is(err, runstore.ErrNoHook) {
		return fmt.Errorf("mollifier: Config.OnMaterialised: %w", err)
	} else if err != nil {
		return fmt.Errorf("mollifier: Config.Postgres: %w", err)
	}
	return nil
}

// unlikeDeployment names the setting that an error of [runstore.Store.Deployment] is
// about: Partitions if Postgres has answered, and disagrees.
func unlikeDeployment(err error) error {
	if errors.Is(err, runstore.ErrDisagrees) {
		return fmt.Errorf("mollifier: Config.Partitions: %w", err)
	}
	return fmt.Errorf("mollifier: Config.Postgres: %w", err)
}

// openRedis opens Redis. While Redis does not answer, the engine runs without
// it: triggers settle in Postgres alone and say so.
func (e *Engine) openRedis(ctx context.Context) error {
	found, err := e.redis.Open(ctx)
	switch {
	case err == nil:
		e.opened(found)
	case errors.Is(err, run.ErrUnavailable):
		e.cfg.Logger.Warn("redis does not answer; keys are kept by Postgres alone until it does", slog.Any("cause", err))
	case errors.Is(err, redisdb.ErrDisagrees):
		return fmt.Errorf("mollifier: Config.Partitions: %w", err)
	default:
		return fmt.Errorf("mollifier: Config.Redis: %w", err)
	}
	return nil
}

func (e *Engine) opened(found redisdb.Capabilities) {
	e.fsync.Store(found.AOF && found.Fsync == "always")
	e.cfg.Logger.Info("redis", slog.String("version", found.Version), slog.Bool("cluster", found.Cluster),
		slog.Bool("aof", found.AOF), slog.String("fsync", found.Fsync))
}

func (e *Engine) logRedis(s redisdb.BreakerState) {
	e.cfg.Logger.Warn("redis breaker", slog.String("state", string(s)))
}

func (e *Engine) logPostgres(s runstore.BreakerState) {
	e.cfg.Logger.Warn("postgres breaker", slog.String("state", string(s)))
}

// durability is what a run in the buffer has survived.
func (e *Engine) durability() run.Durability {
	if d := e.cfg.Durability; d == run.DurableRedisFsync || d == run.DurableRedisReplica {
		return d
	}
	if e.fsync.Load() {
		return run.DurableRedisFsync
	}
	return run.DurableRedis
}

// listen opens Redis, if that is still to be done, and passes wake-ups of
// foreign claims on to the shards until ctx ends.
func (e *Engine) listen(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = 5 * time.Second
	found, err := backoff.Retry(ctx, func() (redisdb.Capabilities, error) {
		found, err := e.redis.Open(ctx)
		if err != nil && !errors.Is(err, run.ErrUnavailable) {
			err = backoff.Permanent(err)
		}
		return found, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// The engine was started without Redis, and this one can not be used.
		e.cfg.Logger.Error("redis can not be used; keys are kept by Postgres alone", slog.Any("error", err))
		return
	}
	e.opened(found)
	_ = e.claims.Wakes(ctx, func(hash run.Hash) {
		if hash == (run.Hash{}) {
			e.shards.WakeAll()
			return
		}
		e.shards.Wake(hash)
	})
}
