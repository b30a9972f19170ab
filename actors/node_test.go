package actors_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/shard"
)

const partitions = 16

// stores is one pair of stores that several nodes may share.
type stores struct {
	redis, prefix, postgres string
	claimTTL, waitBudget    time.Duration
	maxCallers              int
	gated, divert           bool
}

func newStores(t *testing.T) stores {
	t.Helper()
	s := stores{postgres: stacktest.Postgres(t), claimTTL: 10 * time.Second, waitBudget: 30 * time.Second, maxCallers: 1 << 16}
	s.redis, s.prefix = stacktest.Redis(t)
	if err := schema.Migrate(t.Context(), s.postgres); err != nil {
		t.Fatal(err)
	}
	return s
}

// node is the shards of one node on real stores, with faults to inject.
type node struct {
	*actors.Shards
	t      *testing.T
	claims *faultyClaims
	runs   *faultyRuns
	buffer *faultyBuffer
	gate   *gate.Gate
	redis  *claim.Store
	db     *redisdb.DB
	store  *buffer.Store
	pg     *runstore.Store
}

func (s stores) node(t *testing.T) *node {
	t.Helper()
	ctx := t.Context()
	pg, err := runstore.Open(ctx, runstore.Config{URL: s.postgres, MaxConns: 6, StatementTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	db, err := redisdb.New(redisdb.Config{URL: s.redis, Prefix: s.prefix, Deadline: 5 * time.Second, Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Open(ctx); err != nil {
		t.Fatal(err)
	}
	claims, err := claim.New(db, claim.Config{TTL: s.claimTTL})
	if err != nil {
		t.Fatal(err)
	}
	store, err := buffer.New(db, buffer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	settings := gate.Defaults()
	settings.Off, settings.Enrolled = !s.gated, func(string) bool { return true }
	g, err := gate.New(settings, db)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, claims: newFaultyClaims(claims), runs: &faultyRuns{real: pg}, buffer: &faultyBuffer{real: store},
		gate: g, redis: claims, db: db, store: store, pg: pg,
	}
	n.Shards, err = actors.Start(actors.Config{
		Partitions: partitions, Shards: 3, ClaimTTL: s.claimTTL, WaitBudget: s.waitBudget,
		RedisDeadline: 5 * time.Second, SettleDeadline: 10 * time.Second, SettleSlots: 2,
		MaxCallers: s.maxCallers, MaxBytes: 1 << 30, Logger: slog.New(slog.DiscardHandler),
		Diverts:    func(string) bool { return s.divert },
		Durability: func() run.Durability { return run.DurableRedis },
		Admit:      func(string, int) error { return nil },
		Accepted:   func() {},
	}, actors.Stores{Claims: n.claims, Runs: n.runs, Buffer: n.buffer, Gate: g, Clock: db})
	if err != nil {
		t.Fatal(err)
	}
	wakes, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = claims.Wakes(wakes, func(hash run.Hash) {
			if hash == (run.Hash{}) {
				n.WakeAll()
				return
			}
			n.Wake(hash)
		})
	})
	t.Cleanup(func() {
		n.openAll()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		stop()
		wg.Wait()
		_ = db.Close()
		pg.Close()
	})
	return n
}

func (n *node) openAll() {
	for _, h := range n.claims.before {
		h.open()
	}
	for _, h := range n.claims.after {
		h.open()
	}
	n.runs.beforeSettle.open()
	n.runs.afterSettle.open()
	n.runs.beforeCheck.open()
	n.runs.beforeLook.open()
	n.buffer.before.open()
	n.buffer.after.open()
}

// keyed is a valid trigger with an idempotency key.
func keyed(key string) run.Trigger {
	return run.Trigger{Organisation: "org", Environment: "env", Task: "task", IdempotencyKey: key, Payload: []byte(`{}`)}
}

type answer struct {
	result run.Result
	err    error
}

func (n *node) trigger(ctx context.Context, t run.Trigger) answer {
	r, err := n.Trigger(ctx, &t, true, snapshotOf(t))
	return answer{r, err}
}

func snapshotOf(t run.Trigger) func() run.Snapshot {
	return func() run.Snapshot {
		key := t.Key()
		var hash run.Hash
		if !key.IsZero() {
			hash = key.Hash()
		}
		return run.NewSnapshot(run.ID{}, key, hash, t)
	}
}

// start triggers in the background; the channel gives the answer.
func (n *node) start(t run.Trigger) <-chan answer {
	return n.startContext(context.Background(), t)
}

func (n *node) startContext(ctx context.Context, t run.Trigger) <-chan answer {
	out := make(chan answer, 1)
	go func() { out <- n.trigger(ctx, t) }()
	return out
}

// must waits for an answer that is no error.
func must(t *testing.T, from <-chan answer) run.Result {
	t.Helper()
	select {
	case a := <-from:
		if a.err != nil {
			t.Fatalf("trigger: %v", a.err)
		}
		return a.result
	case <-time.After(30 * time.Second):
		t.Fatal("no answer")
	}
	panic("unreachable")
}

func (n *node) now(t run.Trigger) run.Result {
	n.t.Helper()
	return must(n.t, n.start(t))
}

// reset resets the key as the engine does.
func (n *node) reset(t run.Trigger) run.ID {
	n.t.Helper()
	ctx := n.t.Context()
	key := t.Key()
	p := shard.Partition(key, partitions)
	cut, err := n.redis.Clock(ctx, p, key.Hash())
	if err != nil {
		n.t.Fatal(err)
	}
	cut, cleared, err := n.pg.Reset(ctx, t.Environment, key.Hash(), cut)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.redis.Reset(ctx, p, key.Hash(), cut); err != nil {
		n.t.Fatal(err)
	}
	return cleared
}

// finish moves a run to a final status, as a worker does.
func (n *node) finish(id run.ID, status run.Status) {
	n.t.Helper()
	if _, err := n.pg.Finish(n.t.Context(), "env", id, run.Finish{Status: status}); err != nil {
		n.t.Fatal(err)
	}
}

func keyOf(t run.Trigger) run.Key { return t.Key() }

func partitionOf(key run.Key) int { return shard.Partition(key, partitions) }

// forget drops what Redis knows of a key.
func (s stores) forget(t *testing.T, key run.Key) {
	t.Helper()
	s.withRedis(t, func(ctx context.Context, c *redis.Client) error {
		keys, err := c.Keys(ctx, s.prefix+":*"+key.Hash().String()).Result()
		if err != nil || len(keys) != 1 {
			return fmt.Errorf("%d records: %w", len(keys), err)
		}
		return c.Del(ctx, keys...).Err()
	})
}

func (s stores) withRedis(t *testing.T, do func(context.Context, *redis.Client) error) {
	t.Helper()
	opts, err := redis.ParseURL(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	if err := do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func (s stores) exec(t *testing.T, statement string, args ...any) int {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var n int
	if err := c.QueryRow(t.Context(), statement, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// expire lets the interval of a run's key have ended a second ago, in both stores.
func (s stores) expire(t *testing.T, key run.Key, id run.ID) {
	t.Helper()
	past := time.Now().Add(-time.Second).UnixMicro()
	n := s.exec(t, `with moved as (update runs set accepted_at = $3::bigint - 1000, key_until = $3::bigint
		where env_id = $1 and id = $2 returning 1) select count(*) from moved`, key.Environment, id.String(), past)
	if n != 1 {
		t.Fatalf("%d rows moved", n)
	}
	s.withRedis(t, func(ctx context.Context, c *redis.Client) error {
		keys, err := c.Keys(ctx, s.prefix+":*"+key.Hash().String()).Result()
		if err != nil || len(keys) != 1 {
			return fmt.Errorf("%d records: %w", len(keys), err)
		}
		return c.Set(ctx, keys[0], fmt.Sprintf("1|r|%s|%d|%d|-|-", id, past-1000, past), time.Minute).Err()
	})
}

// assertIntervals checks the invariant of identity: no two real runs of one key
// have intervals that overlap.
func assertIntervals(t *testing.T, s stores) {
	t.Helper()
	if n := s.exec(t, `select count(*) from runs a join runs b on a.env_id = b.env_id and a.id < b.id and a.kind = 0 and b.kind = 0
		and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
		and a.accepted_at < b.key_until and b.accepted_at < a.key_until`); n != 0 {
		t.Errorf("%d pairs of runs of one key overlap", n)
	}
}

// eventually waits until a condition holds, looking again whenever the
// scheduler lets it; it is for counters that no signal announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}
