package mollifier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// outbox gives cfg a hook that writes each run into a table of the database, and
// then does as the test says.
func outbox(t *testing.T, cfg *mollifier.Config) (then *atomic.Pointer[mollifier.Hook]) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cfg.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "create table outbox (run text, buffered boolean)"); err != nil {
		t.Fatal(err)
	}
	then = new(atomic.Pointer[mollifier.Hook])
	cfg.OnMaterialised = func(ctx context.Context, tx pgx.Tx, runs []run.Landed) error {
		for _, r := range runs {
			if _, err := tx.Exec(ctx, "insert into outbox values ($1, $2)", r.ID.String(), r.Buffered); err != nil {
				return err
			}
		}
		if hook := then.Load(); hook != nil {
			return (*hook)(ctx, tx, runs)
		}
		return nil
	}
	return then
}

// outboxAgrees requires every run to be in the outbox once, and nothing else.
func outboxAgrees(t *testing.T, postgres string) {
	t.Helper()
	if n := count(t, postgres, "select count(*) from outbox") - count(t, postgres, "select count(distinct run) from outbox"); n != 0 {
		t.Errorf("%d runs are in the outbox again", n)
	}
	if n := count(t, postgres, "select count(*) from (select id from runs where kind = 0 and status <> 'SYSTEM_FAILURE') r full join (select run from outbox) o on r.id = o.run where r.id is null or o.run is null"); n != 0 {
		t.Errorf("%d runs are in the table or the outbox only", n)
	}
}

// What passed and what was drained lands in the outbox, with its row.
func TestHookOfPassedAndDrainedRuns(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.Migrate = true
	outbox(t, &cfg)
	e := open(t, cfg)
	trip(t, e)
	ids := map[run.ID]bool{}
	for i := range 40 {
		ids[trigger(t, e, order(fmt.Sprint(i%20))).ID()] = true
	}
	if len(ids) != 20 {
		t.Errorf("%d runs of 20 keys", len(ids))
	}
	drained(t, cfg)
	outboxAgrees(t, cfg.Postgres)
	if n := count(t, cfg.Postgres, "select count(*) from outbox where buffered"); n < 20 {
		t.Errorf("%d came out of the buffer", n)
	}
}

// While the hook takes nothing, triggers are acknowledged by the buffer and wait
// there; when it does again they land, once. One that it refuses for good fails
// alone: at its caller, or visibly if it was acknowledged.
func TestHookThatFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(){
		"error": func() {},
		"panic": func() { panic("of the hook") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := shared(t)
			cfg.RedisDeadline = 5 * time.Second
			var log bytes.Buffer
			var mu sync.Mutex
			cfg.Logger = slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))
			then := outbox(t, &cfg)
			e := open(t, cfg)
			broken := mollifier.Hook(func(context.Context, pgx.Tx, []run.Landed) error {
				fault()
				return errors.New("broken")
			})
			then.Store(&broken)
			ids := map[string]run.ID{}
			for i := range 10 {
				r := trigger(t, e, order(fmt.Sprint(i)))
				if r.State() != run.Buffered {
					t.Errorf("%d was acknowledged as %s", i, r.State())
				}
				ids[fmt.Sprint(i)] = r.ID()
			}
			if n := count(t, cfg.Postgres, "select count(*) from runs"); n != 0 {
				t.Errorf("%d rows", n)
			}
			then.Store(nil)
			drained(t, cfg)
			outboxAgrees(t, cfg.Postgres)
			for key, id := range ids {
				if r := trigger(t, e, order(key)); r.ID() != id || !r.Cached() {
					t.Errorf("%s: %s, cached %v", key, r.ID(), r.Cached())
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if got := bytes.Contains(log.Bytes(), []byte("panic in Config.OnMaterialised")); got != (name == "panic") {
				t.Errorf("the panic is logged: %v", got)
			}
		})
	}
}

// A run that the hook refuses for good: its trigger gets the hook's word, and if
// it was acknowledged it fails where its owner sees it; it holds up nobody.
func TestHookRefusesForGood(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	then := outbox(t, &cfg)
	picky := mollifier.Hook(func(_ context.Context, _ pgx.Tx, runs []run.Landed) error {
		for _, r := range runs {
			if r.Trigger.IdempotencyKey == "bad" {
				return &run.InvalidError{Field: "payload", Rule: "must name a customer"}
			}
		}
		return nil
	})
	then.Store(&picky)
	e := open(t, cfg)
	_, err := e.Trigger(t.Context(), order("bad"))
	if invalid, ok := errors.AsType[*run.InvalidError](err); !ok || invalid.Field != "payload" {
		t.Fatalf("the caller was told %v", err)
	}
	trip(t, e)
	bad := trigger(t, e, order("bad"))
	good := trigger(t, e, order("good"))
	if bad.State() != run.Buffered || good.State() != run.Buffered {
		t.Fatalf("%s, %s", bad.State(), good.State())
	}
	drained(t, cfg)
	if r, err := e.Run(t.Context(), "prod", bad.ID()); err != nil || r.Status != run.SystemFailure {
		t.Errorf("%s, %v", r.Status, err)
	}
	if r, err := e.Run(t.Context(), "prod", good.ID()); err != nil || r.Status != run.Queued {
		t.Errorf("%s, %v", r.Status, err)
	}
	outboxAgrees(t, cfg.Postgres)
}

// Postgres is killed under load, time and again: whatever became of each commit,
// the outbox and the table tell the same, and nothing acknowledged is missing.
func TestHookSurvivesPostgres(t *testing.T) {
	t.Parallel()
	postgres := stacktest.PrivatePostgres(t)
	url, prefix := stacktest.Redis(t)
	cfg := mollifier.Config{
		Redis: url, Prefix: prefix, Postgres: postgres.URL(), Migrate: true,
		PostgresDeadline: 500 * time.Millisecond, RedisDeadline: 5 * time.Second,
	}
	outbox(t, &cfg)
	e := open(t, cfg)
	var (
		mu    sync.Mutex
		acked = map[run.ID]bool{}
		wg    sync.WaitGroup
	)
	keys := make(chan string)
	for range 8 {
		wg.Go(func() {
			for key := range keys {
				r, err := e.Trigger(context.Background(), order(key))
				for err != nil { // the same key is safe
					r, err = e.Trigger(context.Background(), order(key))
				}
				mu.Lock()
				acked[r.ID()] = true
				mu.Unlock()
			}
		})
	}
	for round := range 3 {
		for i := range 120 {
			keys <- fmt.Sprint(round, "-", i)
			if i == 40 {
				if err := postgres.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		if err := postgres.Start(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(keys)
	wg.Wait()
	drained(t, cfg)
	outboxAgrees(t, cfg.Postgres)
	disjoint(t, cfg.Postgres)
	if len(acked) != 360 {
		t.Errorf("%d runs of 360 keys", len(acked))
	}
	for id := range acked {
		if r, err := e.Run(t.Context(), "prod", id); err != nil || r.Status != run.Queued {
			t.Errorf("%s: %s, %v", id, r.Status, err)
		}
	}
}

// locked is a log that may be read while it is written.
type locked struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

// A deployment with a hook has it on every node: one without does not start, and says why,
// until somebody gives the hook up.
func TestHookIsOfTheDeployment(t *testing.T) {
	t.Parallel()
	with := shared(t)
	outbox(t, &with)
	without := with
	without.OnMaterialised = nil
	start := func(cfg mollifier.Config) error {
		e, err := mollifier.New(t.Context(), cfg)
		if err != nil {
			return err
		}
		return e.Close(t.Context())
	}
	both := with
	both.DropHook = true
	dropped := without
	dropped.DropHook = true
	for _, step := range []struct {
		what string
		cfg  mollifier.Config
		err  string
	}{
		{"before there is one", without, ""},
		{"with one", with, ""},
		{"a second node with one", with, ""},
		{"without it", without, "Config.OnMaterialised"},
		{"without it, again", without, "handed to a hook"},
		{"with one that is given up", both, "Config.DropHook"},
		{"given up", dropped, ""},
		{"without it, later", without, ""},
	} {
		switch err := start(step.cfg); {
		case step.err == "" && err != nil, step.err != "" && (err == nil || !strings.Contains(err.Error(), step.err)):
			t.Errorf("%s: %v, want %q", step.what, err, step.err)
		}
	}
}
