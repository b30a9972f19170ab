package mollifier

import (
	"context"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// Whom a reset has cleared is answered also when the run was in the buffer while
// the reset was in Postgres, and in Postgres when it came to Redis. A run that
// had ended before the reset looks the same in Redis, and was not cleared by it.
func TestResetOfARunThatMovesMeanwhile(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := Config{
		Postgres: stacktest.Postgres(t), Migrate: true, Partitions: 16, NoDrain: true,
		Gate: GateConfig{Window: time.Hour, Threshold: 1, Hold: time.Hour, RateOnly: true},
	}
	cfg.Redis, cfg.Prefix = stacktest.Redis(t)
	start := func() *Engine {
		e, err := New(ctx, cfg)
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
	e := start()
	trigger := func(key string) run.Result {
		r, err := e.Trigger(ctx, run.Trigger{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: key})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	key := run.Key{Kind: run.KindIdempotency, Environment: "prod", Task: "send", Text: "moves"}
	partition, hash := shard.Partition(key, cfg.Partitions), key.Hash()

	failed := trigger("failed") // passes the gate
	for trigger("").State() != run.Buffered {
	}
	moves := trigger("moves")
	if moves.State() != run.Buffered {
		t.Fatalf("%s", moves.State())
	}

	cut, err := e.claims.Clock(ctx, partition, hash)
	if err != nil {
		t.Fatal(err)
	}
	cut, cleared, err := e.runs.Reset(ctx, "prod", hash, cut)
	if err != nil || !cleared.IsZero() {
		t.Fatalf("in Postgres: %q, %v", cleared, err)
	}
	cfg.NoDrain = false
	start()
	drained := time.NewTicker(5 * time.Millisecond)
	defer drained.Stop()
	for {
		left, err := e.buffer.Total(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if left.Entries == 0 {
			break
		}
		<-drained.C
	}
	if cleared, err = e.lift(ctx, "prod", partition, hash, cut, cleared); err != nil || cleared != moves.ID() {
		t.Errorf("cleared %q, %v, want %q", cleared, err, moves.ID())
	}
	// Repeated, it has nothing to clear any more.
	if again, err := e.lift(ctx, "prod", partition, hash, cut, run.ID{}); err != nil || !again.IsZero() {
		t.Errorf("repeated: cleared %q, %v", again, err)
	}

	if _, err := e.Finish(ctx, "prod", failed.ID(), run.Finish{Status: run.Failed}); err != nil {
		t.Fatal(err)
	}
	if cleared, err := e.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "failed"}); err == nil {
		t.Errorf("a failed run was cleared: %q", cleared)
	}
}
