package mollifier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

func shared(t *testing.T) mollifier.Config {
	t.Helper()
	cfg := mollifier.Config{Postgres: stacktest.Postgres(t), Migrate: true}
	cfg.Redis, cfg.Prefix = stacktest.Redis(t)
	return cfg
}

func open(t *testing.T, cfg mollifier.Config) *mollifier.Engine {
	t.Helper()
	e, err := mollifier.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func order(key string) run.Trigger {
	return run.Trigger{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: key, Payload: []byte(`{"n":1}`)}
}

func trigger(t *testing.T, e *mollifier.Engine, tr run.Trigger) run.Result {
	t.Helper()
	r, err := e.Trigger(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The whole life of a run through the door for embedders.
func TestTriggerReadTakeFinishRetrigger(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	e := open(t, shared(t))
	first := trigger(t, e, order("42"))
	if first.Cached() || first.State() != run.Materialised || first.Durability() != run.DurablePostgres {
		t.Errorf("first: cached %v, %s, %s", first.Cached(), first.State(), first.Durability())
	}
	r, err := e.Run(ctx, "prod", first.ID())
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != run.Queued || string(r.Trigger.Payload) != `{"n":1}` || r.Trigger.IdempotencyKey != "42" || !r.CreatedAt.Equal(first.AcceptedAt()) {
		t.Errorf("read back: %+v", r)
	}
	if _, err := e.Run(ctx, "staging", first.ID()); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("another environment read the run: %v", err)
	}
	taken, err := e.Take(ctx, run.TakeRequest{Most: 10})
	if err != nil || len(taken) != 1 || taken[0].ID != first.ID() || taken[0].Status != run.Executing {
		t.Fatalf("take: %+v, %v", taken, err)
	}
	if again, err := e.Take(ctx, run.TakeRequest{Most: 10}); err != nil || len(again) != 0 {
		t.Fatalf("taken twice: %+v, %v", again, err)
	}
	if _, err := e.Finish(ctx, "prod", first.ID(), run.Finish{Status: run.Failed, Failure: &run.Failure{Message: "no"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finish(ctx, "prod", first.ID(), run.Finish{Status: run.Completed}); !errors.Is(err, run.ErrConflict) {
		t.Errorf("a failed run was completed: %v", err)
	}
	second := trigger(t, e, order("42"))
	if second.Cached() || second.ID() == first.ID() {
		t.Errorf("the failed run still holds its key")
	}
	cleared, err := e.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "42"})
	if err != nil || cleared != second.ID() {
		t.Errorf("reset: %s, %v; want %s", cleared, err, second.ID())
	}
	if _, err := e.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "42"}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("second reset: %v", err)
	}
	if r, err := e.Run(ctx, "prod", second.ID()); err != nil || r.KeyUntil.After(time.Now().Add(time.Minute)) {
		t.Errorf("the interval of a reset run goes on until %s, %v", r.KeyUntil, err)
	}
	if third := trigger(t, e, order("42")); third.Cached() {
		t.Error("a reset key answered its old run")
	}
}

func TestInvalidTriggersAreRefusedBeforeAnything(t *testing.T) {
	t.Parallel()
	e := open(t, shared(t))
	for field, tr := range map[string]run.Trigger{
		"options.idempotencyKey": order("nul\x00"),
		"environment":            {Organisation: "acme", Task: "send"},
		"taskId":                 {Organisation: "acme", Environment: "prod", Task: "\xff"},
	} {
		_, err := e.Trigger(t.Context(), tr)
		var invalid *run.InvalidError
		if !errors.Is(err, run.ErrInvalid) || !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := e.Reset(t.Context(), run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: ""}); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("reset without a key: %v", err)
	}
	if s := e.Stats(); s.Triggers != 0 || s.Claims != 0 {
		t.Errorf("counted: %+v", s)
	}
}

// Redis stops: triggers settle in Postgres and say that their identity is
// provisional; Redis returns: claims are made again, and the keys of the outage
// keep their runs.
func TestRedisStopsAndReturns(t *testing.T) {
	t.Parallel()
	redis := stacktest.PrivateRedis(t)
	cfg := mollifier.Config{Redis: redis.URL(), Postgres: stacktest.Postgres(t), Migrate: true}
	e := open(t, cfg)
	before := trigger(t, e, order("before"))
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	ids := map[string]run.ID{"before": before.ID()}
	for i := range 20 {
		key := fmt.Sprint("during-", i)
		r := trigger(t, e, order(key))
		if r.Identity() != run.Provisional || r.Cached() {
			t.Errorf("%s: %s, cached %v", key, r.Identity(), r.Cached())
		}
		ids[key] = r.ID()
	}
	if r := trigger(t, e, order("before")); r.ID() != before.ID() || !r.Cached() {
		t.Errorf("Postgres did not know the key of before")
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Errorf("not ready while Postgres works: %v", err)
	}
	if _, err := e.Reset(t.Context(), run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "before"}); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("a reset without Redis: %v", err)
	}
	if err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "claims are made again", func() bool {
		return trigger(t, e, order("probe")).Identity() == run.Confirmed
	})
	for key, id := range ids {
		if r := trigger(t, e, order(key)); r.ID() != id || !r.Cached() || r.Identity() != run.Confirmed {
			t.Errorf("%s: %s cached %v %s, want %s", key, r.ID(), r.Cached(), r.Identity(), id)
		}
	}
}

// Redis hangs: the calls end at their deadline, and triggers go on.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	redis := stacktest.PrivateRedis(t)
	e := open(t, mollifier.Config{Redis: redis.URL(), Postgres: stacktest.Postgres(t), Migrate: true, RedisDeadline: 50 * time.Millisecond})
	trigger(t, e, order("warm"))
	if err := redis.Pause(); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if r := trigger(t, e, order(fmt.Sprint(i))); r.Identity() != run.Provisional {
			t.Errorf("%s", r.Identity())
		}
	}
	if err := redis.Resume(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "claims are made again", func() bool {
		return trigger(t, e, order("probe")).Identity() == run.Confirmed
	})
}

// Postgres hangs: whoever reads, resets or finishes is refused in the time that
// a trigger would be, not after all the tries of a database that answers.
func TestPostgresHangs(t *testing.T) {
	t.Parallel()
	postgres := stacktest.PrivatePostgres(t)
	url, prefix := stacktest.Redis(t)
	const deadline = 500 * time.Millisecond
	e := open(t, mollifier.Config{Redis: url, Prefix: prefix, Postgres: postgres.URL(), Migrate: true, NoDivert: true, PostgresDeadline: deadline})
	id := trigger(t, e, order("warm")).ID()
	if err := postgres.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"trigger": func() error { _, err := e.Trigger(ctx, order("k")); return err },
		"run":     func() error { _, err := e.Run(ctx, "prod", id); return err },
		"reset": func() error {
			_, err := e.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "warm"})
			return err
		},
		"finish": func() error {
			_, err := e.Finish(ctx, "prod", id, run.Finish{Status: run.Canceled})
			return err
		},
	} {
		start := time.Now()
		err := call()
		// An attempt alone may take longer than this, and there would be four.
		if took := time.Since(start); took > 2*deadline+900*time.Millisecond {
			t.Errorf("%s: refused after %s", name, took)
		}
		if !errors.Is(err, run.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := postgres.Resume(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "runs are read again", func() bool { _, err := e.Run(ctx, "prod", id); return err == nil })
}

// An engine that starts while Redis is down takes triggers, and uses Redis once it is there.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := stacktest.PrivateRedis(t)
	if err := redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := open(t, mollifier.Config{Redis: redis.URL(), Postgres: stacktest.Postgres(t), Migrate: true})
	if r := trigger(t, e, order("k")); r.Identity() != run.Provisional {
		t.Errorf("%s", r.Identity())
	}
	if err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "claims are made", func() bool { return trigger(t, e, order("probe")).Identity() == run.Confirmed })
}

// Postgres restarts under load: callers get a run or a retryable refusal, a
// retry with the same key gives one run, and nothing acknowledged is lost.
func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	postgres := stacktest.PrivatePostgres(t)
	url, prefix := stacktest.Redis(t)
	e := open(t, mollifier.Config{
		Redis: url, Prefix: prefix, Postgres: postgres.URL(), Migrate: true, PostgresDeadline: 500 * time.Millisecond, NoDivert: true,
	})
	var (
		mu    sync.Mutex
		acked = map[string]map[run.ID]bool{}
		wg    sync.WaitGroup
	)
	started, restarted := make(chan struct{}), make(chan struct{})
	var once sync.Once
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-restarted:
					if i > 20 {
						return
					}
				default:
				}
				key := fmt.Sprint(w%4, "-", i)
				r, err := e.Trigger(context.Background(), order(key))
				if err != nil {
					if !errors.Is(err, run.ErrUnavailable) && !errors.Is(err, run.ErrClaimTimeout) {
						t.Errorf("%s: %v", key, err)
						return
					}
					i--
					continue
				}
				mu.Lock()
				if acked[key] == nil {
					acked[key] = map[run.ID]bool{}
				}
				acked[key][r.ID()] = true
				if len(acked) > 50 {
					once.Do(func() { close(started) })
				}
				mu.Unlock()
			}
		})
	}
	<-started
	if err := postgres.Kill(); err != nil {
		t.Error(err)
	}
	if err := postgres.Start(t.Context()); err != nil {
		t.Error(err)
	}
	waitFor(t, "Postgres answers", func() bool {
		r, err := e.Trigger(t.Context(), order("after"))
		if err != nil {
			return false
		}
		_, err = e.Run(t.Context(), "prod", r.ID())
		return err == nil && r.Identity() == run.Confirmed
	})
	close(restarted)
	wg.Wait()
	// An outage may leave a key two names, one of them provisional: once the
	// buffer is drained both are one run.
	canonical := func(id run.ID) run.ID {
		r, err := e.Run(t.Context(), "prod", id)
		if errors.Is(err, run.ErrNotFound) {
			t.Errorf("acknowledged run %s is not found", id)
		}
		return r.Canonical // zero while nobody knows
	}
	for key, ids := range acked {
		waitFor(t, key+" is one run", func() bool {
			r, err := e.Trigger(t.Context(), order(key))
			if err != nil {
				return false
			}
			now := canonical(r.ID())
			for id := range ids {
				if now.IsZero() || canonical(id) != now {
					return false
				}
			}
			return true
		})
	}
}

// A node whose partitions differ from the deployment's refuses to start, by name.
func TestDisagreeingNodeRefusesToStart(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Partitions = 16
	open(t, cfg)
	cfg.Partitions = 32
	_, err := mollifier.New(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "Partitions") || !strings.Contains(err.Error(), "16") || !strings.Contains(err.Error(), "32") {
		t.Errorf("error %v", err)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	good := mollifier.Config{Redis: "redis://x", Postgres: "postgres://x"}.WithDefaults()
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for field, change := range map[string]func(*mollifier.Config){
		"Redis":            func(c *mollifier.Config) { c.Redis = "" },
		"Postgres":         func(c *mollifier.Config) { c.Postgres = "" },
		"Prefix":           func(c *mollifier.Config) { c.Prefix = "{x}" },
		"Partitions":       func(c *mollifier.Config) { c.Partitions = 1025 },
		"Shards":           func(c *mollifier.Config) { c.Shards = -1 },
		"ClaimTTL":         func(c *mollifier.Config) { c.ClaimTTL = time.Second },
		"WaitBudget":       func(c *mollifier.Config) { c.WaitBudget = -1 },
		"RedisDeadline":    func(c *mollifier.Config) { c.RedisDeadline = time.Hour },
		"PostgresDeadline": func(c *mollifier.Config) { c.PostgresDeadline = time.Millisecond },
		"PostgresConns":    func(c *mollifier.Config) { c.PostgresConns = 1 },
		"MaxCallers":       func(c *mollifier.Config) { c.MaxCallers = -1 },
		"MaxBytes":         func(c *mollifier.Config) { c.MaxBytes = 1 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "Config."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
		if _, err := mollifier.New(t.Context(), c); err == nil {
			t.Errorf("%s: New took it", field)
		}
	}
}

func TestCloseTwiceAndUseAfter(t *testing.T) {
	t.Parallel()
	e := open(t, shared(t))
	for range 2 {
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Trigger(t.Context(), order("k")); !errors.Is(err, run.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// waitFor looks again until something that no signal announces has happened.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}
