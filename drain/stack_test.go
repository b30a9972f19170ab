package drain

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

// stack is both stores. The buffer tells of each ack and each return, so that
// tests need not poll.
type stack struct {
	*buffer.Store
	t       *testing.T
	db      *redisdb.DB
	runs    *runstore.Store
	sql     *pgxpool.Pool
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each
	turns   []string      // environments, in the order in which they were leased
}

const realPartitions = 4

func newStack(t *testing.T, redisURL, prefix, postgresURL string) *stack {
	t.Helper()
	if redisURL == "" {
		redisURL, prefix = stacktest.Redis(t)
	}
	if postgresURL == "" {
		postgresURL = stacktest.Postgres(t)
	}
	if err := schema.Migrate(t.Context(), postgresURL); err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, changed: make(chan struct{})}
	var err error
	if s.db, err = redisdb.New(redisdb.Config{URL: redisURL, Prefix: prefix, Partitions: realPartitions, Deadline: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	if _, err := s.db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Store, err = buffer.New(s.db, buffer.Config{}); err != nil {
		t.Fatal(err)
	}
	if s.runs, err = runstore.Open(t.Context(), runstore.Config{
		URL: postgresURL, MaxConns: 16, StatementTimeout: 10 * time.Second, BreakerFailures: 3, BreakerPause: 100 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.runs.Close)
	if s.sql, err = pgxpool.New(t.Context(), postgresURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sql.Close)
	return s
}

func (s *stack) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stack) Lease(ctx context.Context, partition int, env string, n int, token buffer.Token, ttl time.Duration) ([]buffer.Lease, error) {
	got, err := s.Store.Lease(ctx, partition, env, n, token, ttl)
	s.mu.Lock()
	if len(got) > 0 {
		s.turns = append(s.turns, env)
	}
	s.mu.Unlock()
	s.tell()
	return got, err
}

func (s *stack) Ack(ctx context.Context, acks []buffer.Ack) []buffer.Acked {
	defer s.tell()
	return s.Store.Ack(ctx, acks)
}

func (s *stack) Requeue(ctx context.Context, list []buffer.Requeue) []buffer.HeldReply {
	defer s.tell()
	return s.Store.Requeue(ctx, list)
}

func (s *stack) Fail(ctx context.Context, list []buffer.Holding) []buffer.HeldReply {
	defer s.tell()
	return s.Store.Fail(ctx, list)
}

// until waits for what the drain does to make ok true.
func (s *stack) until(what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.t.Fatalf("%s: did not come to be", what)
		}
	}
}

func (s *stack) empty() bool {
	total, err := s.Total(s.t.Context())
	return err == nil && total.Entries == 0
}

var realMinted sync.Mutex

// snapshotOf makes a run of a trigger, in a partition.
func snapshotOf(t run.Trigger, partition int) *run.Snapshot {
	if t.Organisation == "" {
		t.Organisation = "o"
	}
	if t.Environment == "" {
		t.Environment = "e"
	}
	if t.Task == "" {
		t.Task = "task"
	}
	var hash run.Hash
	key := t.Key()
	if !key.IsZero() {
		hash = key.Hash()
	}
	realMinted.Lock()
	defer realMinted.Unlock()
	s := run.NewSnapshot(run.MintID(time.Now(), partition), key, hash, t)
	return &s
}

// accept buffers triggers, and returns their runs.
func (s *stack) accept(triggers ...run.Trigger) (ids []run.ID) {
	s.t.Helper()
	for chunk := range slices.Chunk(triggers, 200) {
		list := make([]buffer.Acceptance, len(chunk))
		for i, t := range chunk {
			list[i] = buffer.Acceptance{Snapshot: snapshotOf(t, (len(ids)+i)%realPartitions), CheckSkipped: true}
		}
		for i, a := range s.Accept(s.t.Context(), list) {
			if a.Err != nil || a.State != buffer.AcceptedNew {
				s.t.Fatalf("accept: %s, %v", a.State, a.Err)
			}
			ids = append(ids, list[i].Snapshot.ID)
		}
	}
	return ids
}

func many(n int, t run.Trigger) []run.Trigger {
	list := make([]run.Trigger, n)
	for i := range list {
		list[i] = t
		list[i].Payload = fmt.Appendf(nil, `{"n":%d}`, i)
	}
	return list
}

func (s *stack) count(sql string, args ...any) (n int) {
	s.t.Helper()
	if err := s.sql.QueryRow(s.t.Context(), sql, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// landed requires that Postgres has each run, once, and nothing else, with no
// two intervals of a key overlapping, and that the buffer has nothing left.
func (s *stack) landed(ids []run.ID) {
	s.t.Helper()
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	if n := s.count("select count(*) from runs where id = any($1)", texts); n != len(ids) {
		s.t.Errorf("%d of %d runs are in Postgres", n, len(ids))
	}
	if n := s.count("select count(*) from runs where kind < 2"); n != len(ids) {
		s.t.Errorf("%d rows for %d runs", n, len(ids))
	}
	if n := s.count(`select count(*) from runs a join runs b
		on a.env_id = b.env_id and a.id < b.id and a.kind = 0 and b.kind = 0
		and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
		and a.accepted_at < b.key_until and b.accepted_at < a.key_until`); n != 0 {
		s.t.Errorf("%d overlaps", n)
	}
	if !s.empty() {
		s.t.Error("something is left in the buffer")
	}
}

func (s *stack) status(id run.ID) run.Status {
	s.t.Helper()
	found, err := s.runs.Runs(s.t.Context(), "e", []run.ID{id})
	if err != nil {
		s.t.Fatal(err)
	}
	return found[id].Status
}

func (s *stack) drainer(change ...func(*Config)) *Drainer {
	s.t.Helper()
	d := newDrainer(s.t, s, s.runs, append([]func(*Config){func(c *Config) {
		c.Partitions, c.ReapEvery, c.Retry = realPartitions, 50*time.Millisecond, 20*time.Millisecond
	}}, change...)...)
	s.t.Cleanup(func() { stop(s.t, d) })
	return d
}
