package mollifier

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// One pass after the other: what is over goes, environments as each of them says, and
// nothing that is younger than what the buffer holds, or while Redis does not answer.
func TestRetentionWaitsForTheBuffer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := Config{
		Postgres: stacktest.Postgres(t), Migrate: true, Partitions: 16, NoDrain: true, NoSweep: true, RedisDeadline: 5 * time.Second,
		Gate: GateConfig{RateOnly: true},
		Retention: RetentionConfig{Runs: 24 * time.Hour, Of: func(environment string) time.Duration {
			if environment == "dev" {
				return 0
			}
			return 24 * time.Hour
		}},
	}
	cfg.Redis, cfg.Prefix = stacktest.Redis(t)
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
	sql, err := pgx.Connect(ctx, cfg.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sql.Close(context.Background()) })
	const day = 24 * time.Hour
	now := time.Now()
	// over is a run that was over so long ago.
	over := func(environment string, ago time.Duration) run.ID {
		t.Helper()
		r, err := e.Trigger(ctx, run.Trigger{Organisation: "acme", Environment: environment, Task: "send"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Finish(ctx, environment, r.ID(), run.Finish{Status: run.Canceled}); err != nil {
			t.Fatal(err)
		}
		at := run.InstantOf(now.Add(-ago))
		if _, err := sql.Exec(ctx, "update runs set accepted_at = $2, finished_at = $2, key_until = null where id = $1", r.ID().String(), int64(at)); err != nil {
			t.Fatal(err)
		}
		return r.ID()
	}
	gone := func(environment string, id run.ID) bool {
		t.Helper()
		_, err := e.Run(ctx, environment, id)
		if err != nil && !errors.Is(err, run.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	}
	oldest, old, young, kept := over("prod", 10*day), over("prod", 5*day), over("prod", time.Hour), over("dev", 10*day)

	// A run of seven days ago waits, as one that was put back does.
	waits := run.NewSnapshot(run.MintID(now.Add(-7*day), 3), run.Key{}, run.Hash{}, run.Trigger{Organisation: "acme", Environment: "prod", Task: "send"})
	text, err := waits.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.buffer.Restore(ctx, []buffer.Kept{{
		Ref: buffer.Ref{Environment: "prod", ID: waits.ID}, Organisation: "acme", Snapshot: string(text), AcceptedAt: run.InstantOf(now.Add(-7 * day)),
	}})[0]; got.Err != nil || !got.Run {
		t.Fatalf("%+v", got)
	}

	pass := func(minutes int) {
		t.Helper()
		if err := e.retainOnce(ctx, now.Add(time.Duration(minutes)*time.Minute), 10*time.Minute, 0); err != nil {
			t.Fatal(err)
		}
	}
	for minutes := range 10 {
		pass(minutes)
	}
	if e.RetentionStats() != (RetentionStats{}) {
		t.Errorf("%+v before the buffer was looked at for long enough", e.RetentionStats())
	}
	pass(10) // moves the horizon
	pass(11)
	if !gone("prod", oldest) || gone("prod", old) || gone("prod", young) || gone("dev", kept) || e.RetentionStats().Runs != 1 {
		t.Errorf("while a run of seven days ago waits: %+v", e.RetentionStats())
	}
	if _, err := e.Explain(ctx, "", oldest); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("explained: %v", err)
	}

	// When it has gone, what it was is remembered for a while.
	if _, err := e.reader.CancelBuffered(ctx, "prod", waits.ID, "test"); err != nil {
		t.Fatal(err)
	}
	leases, err := e.buffer.Lease(ctx, 3, "prod", 10, buffer.NewToken(), time.Minute)
	if err != nil || len(leases) != 1 {
		t.Fatalf("%+v, %v", leases, err)
	}
	if got := e.buffer.Ack(ctx, []buffer.Ack{{Ref: leases[0].Ref, Ver: leases[0].Entry.Ver, Canonical: waits.ID}})[0]; got.Err != nil {
		t.Fatal(got.Err)
	}
	for minutes := 12; minutes < 21; minutes++ {
		pass(minutes)
	}
	if gone("prod", old) {
		t.Error("the look before was forgotten at once")
	}
	for minutes := 21; minutes < 24; minutes++ {
		pass(minutes)
	}
	if !gone("prod", old) || gone("prod", young) || gone("dev", kept) {
		t.Errorf("when nothing waits: %+v", e.RetentionStats())
	}

	// Without Redis nothing is removed.
	last := over("prod", 5*day)
	if err := e.redis.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.retainOnce(ctx, now.Add(time.Hour), 10*time.Minute, 0); err == nil {
		t.Error("a pass without Redis")
	}
	if n := e.RetentionStats().Runs; n != 2 {
		t.Errorf("%d removed; %s", n, last)
	}
}

// What was found counts when the looks cover the span, and the least of them does.
func TestLooksAtTheBuffer(t *testing.T) {
	t.Parallel()
	var l looks
	at := time.Unix(1_800_000_000, 0)
	for i, c := range []struct {
		oldest, least run.Instant
		ok            bool
	}{{0, 0, false}, {50, 50, false}, {70, 50, true}, {60, 50, true}, {0, 60, true}, {0, 60, true}, {0, 0, true}} {
		if least, ok := l.add(at.Add(time.Duration(i)*time.Minute), c.oldest, 2*time.Minute); least != c.least || ok != c.ok {
			t.Errorf("look %d: %d %v, want %d %v", i, least, ok, c.least, c.ok)
		}
	}
	if len(l.list) != 3 {
		t.Errorf("%d looks are kept", len(l.list))
	}
}
