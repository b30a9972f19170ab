package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/client"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/run"
)

// The Go code that the pages show, so that it compiles. It is not run here; the
// tests of the engine are about what it does.
var _ = []any{open, trigger, triggerMany, branch, others, works, lands, tested, closes, observed, overHTTP}

func open(ctx context.Context) error {
	engine, err := mollifier.New(ctx, mollifier.Config{
		Redis:    os.Getenv("REDIS_URL"),    // redis:// or rediss://, 7.0 or later, noeviction
		Postgres: os.Getenv("DATABASE_URL"), // postgres://, 14 or later
		Migrate:  true,
		Logger:   slog.Default(),
	})
	if err != nil {
		return err // names the field of Config, or the store and what is wrong with it
	}
	return engine.Close(ctx)
}

func observed(ctx context.Context, meters metric.MeterProvider, tracers trace.TracerProvider) error {
	engine, err := mollifier.New(ctx, mollifier.Config{
		Redis:          os.Getenv("REDIS_URL"),
		Postgres:       os.Getenv("DATABASE_URL"),
		MeterProvider:  meters,  // metric.MeterProvider of OpenTelemetry; nil for no metrics
		TracerProvider: tracers, // trace.TracerProvider; nil for no traces
	})
	if err != nil {
		return err
	}
	return engine.Close(ctx)
}

func trigger(ctx context.Context, engine *mollifier.Engine, payload []byte) (run.ID, error) {
	result, err := engine.Trigger(ctx, run.Trigger{
		Organisation:   "acme",
		Environment:    "prod",
		Task:           "send-invoice",
		Payload:        payload,
		IdempotencyKey: "order-42",
		KeyTTL:         24 * time.Hour,
	})
	return branch(result, err, func(_ time.Duration, err error) error { return err })
}

func triggerMany(ctx context.Context, engine *mollifier.Engine, triggers []run.Trigger) error {
	verdicts, err := engine.TriggerBatch(ctx, "batch_42", triggers) // up to 1,000
	if err != nil {
		return err // with verdicts: Postgres failed in between; without: nothing was triggered. Repeat it
	}
	for i, v := range verdicts {
		if v.Err != nil && !v.Kept {
			slog.Warn("to be sent again", "item", i, "error", v.Err)
		}
	}
	batch, err := engine.Batch(ctx, "prod", "batch_42")
	if err != nil {
		return err
	}
	slog.Info("batch", "status", batch.Status(), "places", len(batch.Places))
	return nil
}

func branch(result run.Result, err error, retryAfter func(time.Duration, error) error) (run.ID, error) {
	var invalid *run.InvalidError
	var refused *run.RefusedError
	switch {
	case err == nil:
		return result.ID(), nil
	case errors.As(err, &invalid):
		return run.ID{}, fmt.Errorf("fix field %s: %w", invalid.Field, err) // nothing was stored
	case errors.As(err, &refused):
		return run.ID{}, retryAfter(refused.RetryAfter, err) // zero: choose a pause yourself
	default:
		return run.ID{}, err // the cause of ctx
	}
}

func others(ctx context.Context, engine *mollifier.Engine, id run.ID) (all []any) {
	{
		found, err := engine.Run(ctx, "prod", id)
		all = append(all, found, err)
	}
	{
		cleared, err := engine.Reset(ctx, run.ResetRequest{
			Organisation: "acme", Environment: "prod", Task: "send-invoice", IdempotencyKey: "order-42",
		})
		all = append(all, cleared, err)
	}
	return all
}

func works(ctx context.Context, engine *mollifier.Engine, work func([]byte) ([]byte, error)) error {
	runs, err := engine.Take(ctx, run.TakeRequest{Most: 10})
	if err != nil {
		return err
	}
	for _, r := range runs {
		finish := run.Finish{Status: run.Completed}
		if finish.Output, err = work(r.Trigger.Payload); err != nil {
			finish = run.Finish{Status: run.Failed, Failure: &run.Failure{Message: err.Error()}}
		}
		if _, err := engine.Finish(ctx, r.Trigger.Environment, r.ID, finish); err != nil {
			slog.Error("not recorded", "run", r.ID, "error", err)
		}
	}
	return nil
}

func lands(cfg mollifier.Config) mollifier.Config {
	cfg.OnMaterialised = func(ctx context.Context, tx pgx.Tx, runs []run.Landed) error {
		rows := make([][]any, 0, len(runs))
		for _, r := range runs {
			if !r.Status.Final() { // cancelled or expired in the buffer: nothing is to be done
				rows = append(rows, []any{r.ID.String(), r.Trigger.Environment, r.Trigger.Task})
			}
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"outbox"}, []string{"run", "environment", "task"}, pgx.CopyFromRows(rows))
		return err
	}
	return cfg
}

// The test of a program that takes webhooks.
func tested(t *testing.T, hook run.Trigger) {
	stores := mollifiertest.NewStores(t)
	a, b := stores.Start(t), stores.Start(t) // two nodes
	first, err := a.Trigger(t.Context(), hook)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Trigger(t.Context(), hook)
	if err != nil {
		t.Fatal(err)
	}
	mollifiertest.RequireOneRun(t, a, "prod", first, again)
}

func closes(engine *mollifier.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := engine.Close(ctx); err != nil {
		slog.Error("cut off", "error", err)
	}
}

func overHTTP(ctx context.Context) error {
	c, err := client.New(client.Config{URL: "http://127.0.0.1:8030", Key: os.Getenv("TRIGGER_SECRET_KEY")})
	if err != nil {
		return err
	}
	defer c.Close()
	handle, err := c.Trigger(ctx, client.Trigger{Task: "send-invoice", Payload: json.RawMessage(`{"order":42}`)})
	if err != nil {
		return err
	}
	r, err := c.Wait(ctx, handle.ID)
	if err == nil {
		fmt.Println(r.Status)
	}
	return err
}
