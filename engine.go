package mollifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/shard"
)

// Engine is the mollifier of one node. Its methods are safe for concurrent
// use. Make one with [New] and end it with [Engine.Close].
type Engine struct {
	cfg    Config
	claims *claim.Store
	runs   *runstore.Store
	shards *actors.Shards

	stopWakes context.CancelFunc
	wakes     sync.WaitGroup
	closeOnce sync.Once
}

// Stats counts what an engine has done since it started.
type Stats = actors.Stats

// New connects to both stores, checks that they are fit and that this
// deployment's partitions agree with what they remember, and starts the
// shards. ctx bounds the start only. The error names the field of cfg that is
// wrong, or the store that can not be used and why.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Migrate {
		if err := schema.Migrate(ctx, cfg.Postgres); err != nil {
			return nil, fmt.Errorf("mollifier: migrate: %w", err)
		}
	}
	e := &Engine{cfg: cfg}
	if err := e.open(ctx); err != nil {
		e.closeStores()
		return nil, err
	}
	wakes, stop := context.WithCancel(context.Background())
	e.stopWakes = stop
	e.wakes.Go(func() { e.listen(wakes) })
	return e, nil
}

func (e *Engine) open(ctx context.Context) (err error) {
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return e.openRuns(both) })
	g.Go(func() error { return e.openClaims(both) })
	if err := g.Wait(); err != nil {
		return err
	}
	e.shards, err = actors.Start(actors.Config{
		Partitions: e.cfg.Partitions, Shards: e.cfg.Shards,
		ClaimTTL: e.cfg.ClaimTTL, WaitBudget: e.cfg.WaitBudget,
		RedisDeadline: e.cfg.RedisDeadline, SettleDeadline: e.cfg.postgresBudget(),
		SettleSlots: max(1, e.cfg.PostgresConns/4),
		MaxCallers:  e.cfg.MaxCallers, MaxBytes: e.cfg.MaxBytes, Logger: e.cfg.Logger,
	}, actors.Stores{Claims: e.claims, Runs: e.runs})
	return err
}

func (e *Engine) openRuns(ctx context.Context) (err error) {
	if e.runs, err = runstore.Open(ctx, runstore.Config{
		URL: e.cfg.Postgres, MaxConns: e.cfg.PostgresConns, StatementTimeout: e.cfg.PostgresDeadline,
	}); err != nil {
		return fmt.Errorf("mollifier: Config.Postgres: %w", err)
	}
	if err := e.runs.Verify(ctx); err != nil {
		return fmt.Errorf("mollifier: Config.Postgres: %w", err)
	}
	if err := e.runs.Deployment(ctx, e.cfg.Partitions, shard.HashVersion); err != nil {
		return fmt.Errorf("mollifier: Config.Partitions: %w", err)
	}
	return nil
}

// openClaims opens the claim store. While Redis does not answer, the engine
// runs without it: triggers settle in Postgres alone and say so.
func (e *Engine) openClaims(ctx context.Context) (err error) {
	if e.claims, err = claim.New(claim.Config{
		URL: e.cfg.Redis, Prefix: e.cfg.Prefix, Partitions: e.cfg.Partitions,
		TTL: e.cfg.ClaimTTL, Deadline: e.cfg.RedisDeadline, OnBreaker: e.logBreaker,
	}); err != nil {
		return fmt.Errorf("mollifier: Config.Redis: %w", err)
	}
	found, err := e.claims.Open(ctx)
	switch {
	case err == nil:
		e.cfg.Logger.Info("redis", slog.String("version", found.Version), slog.Bool("cluster", found.Cluster),
			slog.Bool("aof", found.AOF), slog.String("fsync", found.Fsync))
	case errors.Is(err, run.ErrUnavailable):
		e.cfg.Logger.Warn("redis does not answer; keys are kept by Postgres alone until it does")
	case errors.Is(err, claim.ErrDisagrees):
		return fmt.Errorf("mollifier: Config.Partitions: %w", err)
	default:
		return fmt.Errorf("mollifier: Config.Redis: %w", err)
	}
	return nil
}

func (e *Engine) logBreaker(s claim.BreakerState) {
	e.cfg.Logger.Warn("redis breaker", slog.String("state", string(s)))
}

// listen opens the claim store, if that is still to be done, and passes
// wake-ups of foreign claims on to the shards until ctx ends.
func (e *Engine) listen(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = 5 * time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		_, err := e.claims.Open(ctx)
		if err != nil && !errors.Is(err, run.ErrUnavailable) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// The engine was started without Redis, and this one can not be used.
		e.cfg.Logger.Error("redis can not be used; keys are kept by Postgres alone", slog.Any("error", err))
		return
	}
	_ = e.claims.Wakes(ctx, func(hash run.Hash) {
		if hash == (run.Hash{}) {
			e.shards.WakeAll()
			return
		}
		e.shards.Wake(hash)
	})
}

// Trigger starts a run, or answers the live run of the trigger's key.
//
// The result always carries a run id. The errors to branch on:
// run.ErrInvalid (nothing was stored; an [*run.InvalidError] names the field),
// run.ErrOverloaded, run.ErrClosed (nothing was stored), run.ErrClaimTimeout,
// run.ErrUnavailable (a retry with the same key is safe), or the cause of ctx,
// whose end stops the wait but not the trigger: it may still take effect.
func (e *Engine) Trigger(ctx context.Context, t run.Trigger) (run.Result, error) {
	if err := t.Validate(); err != nil {
		return run.Result{}, err
	}
	key := t.Key()
	var hash run.Hash
	if !key.IsZero() {
		hash = key.Hash()
	}
	return e.shards.Trigger(ctx, run.NewSnapshot(run.ID{}, key, hash, t), e.cfg.Enrolled(t.Organisation))
}

// Run reads one run of an environment by any id that was ever handed out for
// it. A run of another environment is run.ErrNotFound, as is an id that does
// not exist; run.ErrUnavailable means that nobody knows.
func (e *Engine) Run(ctx context.Context, environment string, id run.ID) (run.Run, error) {
	if id.IsZero() || environment == "" {
		return run.Run{}, run.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	found, err := e.runs.Runs(ctx, environment, []run.ID{id})
	if err != nil {
		return run.Run{}, err
	}
	r, ok := found[id]
	if !ok {
		return run.Run{}, run.ErrNotFound
	}
	return r, nil
}

// Reset ends the interval of an idempotency key on every node at once: the
// next trigger of the key makes a new run. It returns the id of the run that
// held the key, or run.ErrNotFound when none did. For an enrolled organisation
// it needs both stores; run.ErrUnavailable means that it may have taken effect
// in part, and is safe to repeat.
func (e *Engine) Reset(ctx context.Context, organisation, environment, task, idempotencyKey string) (run.ID, error) {
	t := run.Trigger{Organisation: organisation, Environment: environment, Task: task, IdempotencyKey: idempotencyKey}
	if err := t.Validate(); err != nil {
		return run.ID{}, err
	}
	key := t.Key()
	if key.Kind != run.KindIdempotency {
		return run.ID{}, &run.InvalidError{Field: "idempotencyKey", Rule: "must not be empty"}
	}
	hash, enrolled := key.Hash(), e.cfg.Enrolled(organisation)
	partition := shard.Partition(key, e.cfg.Partitions)
	var cut run.Instant // zero: Postgres's clock
	var err error
	if enrolled {
		if cut, err = e.claims.Clock(ctx, partition, hash); err != nil {
			return run.ID{}, err
		}
	}
	inTime, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	cut, cleared, err := e.runs.Reset(inTime, environment, hash, cut)
	if err != nil {
		return run.ID{}, err
	}
	if enrolled {
		if err := e.claims.Reset(ctx, partition, hash, cut); err != nil {
			return run.ID{}, err
		}
	}
	if cleared.IsZero() {
		return run.ID{}, run.ErrNotFound
	}
	return cleared, nil
}

// Take hands at most n queued runs to a worker, oldest turn first, and marks
// them EXECUTING. Runs that another worker is taking are skipped, so any number
// of workers may call it at once, on any node.
func (e *Engine) Take(ctx context.Context, n int) ([]run.Run, error) {
	if n <= 0 {
		return nil, &run.InvalidError{Field: "n", Rule: "at least 1"}
	}
	return e.runs.Take(ctx, n)
}

// Finish records what became of a run. The transition table is
// [run.Status.CanBecome]; run.ErrConflict means that the run is in a status
// that does not allow it. A status that clears the key lets the next trigger
// of the key make a new run.
func (e *Engine) Finish(ctx context.Context, environment string, id run.ID, f run.Finish) (run.Run, error) {
	if id.IsZero() || environment == "" {
		return run.Run{}, run.ErrNotFound
	}
	if !f.Status.Valid() {
		return run.Run{}, &run.InvalidError{Field: "status", Rule: "must be one of the run statuses"}
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	return e.runs.Finish(ctx, environment, id, f)
}

// Sweep moves at most limit runs whose time has come: delayed runs become
// QUEUED, runs whose ttl has passed EXPIRED. Any node may call it at any time.
func (e *Engine) Sweep(ctx context.Context, limit int) (expired, released int, err error) {
	return e.runs.Sweep(ctx, limit)
}

// Ready returns nil while the engine takes triggers and at least one of its
// stores answers.
func (e *Engine) Ready(ctx context.Context) error {
	if e.claims.Available() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return e.runs.Ready(ctx)
}

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats { return e.shards.Stats() }

// Close refuses new triggers, answers those that wait, ends their flights and
// closes the stores, in that order. When ctx ends first, whoever still waits is
// answered with run.ErrClosed, and Close returns the cause of ctx.
func (e *Engine) Close(ctx context.Context) (err error) {
	e.closeOnce.Do(func() {
		err = e.shards.Stop(ctx)
		e.stopWakes()
		e.wakes.Wait()
		e.closeStores()
	})
	return err
}

func (e *Engine) closeStores() {
	if e.claims != nil {
		_ = e.claims.Close() // nothing is under way any more
	}
	if e.runs != nil {
		e.runs.Close()
	}
}
