package runstore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

// testStore is a store on a database of its own, and a way around the store.
type testStore struct {
	*Store
	sql *pgxpool.Pool
	t   *testing.T
}

func newStore(t *testing.T) *testStore {
	t.Helper()
	return openStore(t, stacktest.Postgres(t))
}

func openStore(t *testing.T, url string) *testStore {
	t.Helper()
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{URL: url, MaxConns: 8, StatementTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	sql, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sql.Close)
	return &testStore{Store: s, sql: sql, t: t}
}

// exec runs SQL around the store, as an operator or a foreign worker would.
func (s *testStore) exec(sql string, args ...any) {
	s.t.Helper()
	tag, err := s.sql.Exec(s.t.Context(), sql, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	if tag.RowsAffected() == 0 {
		s.t.Fatalf("no rows: %s", sql)
	}
}

func (s *testStore) count(sql string, args ...any) (n int) {
	s.t.Helper()
	if err := s.sql.QueryRow(s.t.Context(), sql, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

const overlaps = `select count(*) from runs a join runs b
  on a.env_id = b.env_id and a.id < b.id and a.kind = 0 and b.kind = 0
 and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
 and a.accepted_at < b.key_until and b.accepted_at < a.key_until`

func (s *testStore) settleOne(snap *run.Snapshot) Settled {
	s.t.Helper()
	return s.Settle(s.t.Context(), []Settlement{{snap}})[0]
}

// want settles a snapshot and requires the outcome.
func (s *testStore) want(outcome Outcome, snap *run.Snapshot) Settled {
	s.t.Helper()
	got := s.settleOne(snap)
	if got.Err != nil || got.Outcome != outcome {
		s.t.Fatalf("settled as %q, %v; want %q", got.Outcome, got.Err, outcome)
	}
	if (got.ID.IsZero() || got.Canonical.IsZero()) != (outcome == Stale) {
		s.t.Fatal("settled without a run id, or stale with one")
	}
	return got
}

func (s *testStore) finish(id run.ID, status run.Status) run.Run {
	s.t.Helper()
	r, err := s.Finish(s.t.Context(), env, id, run.Finish{Status: status})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *testStore) one(id run.ID) run.Run {
	s.t.Helper()
	found, err := s.Runs(s.t.Context(), env, []run.ID{id})
	if err != nil {
		s.t.Fatal(err)
	}
	r, ok := found[id]
	if !ok {
		s.t.Fatalf("run %s is not there", id)
	}
	return r
}

const (
	env = "env_1"
	org = "org_1"
)

var minted atomic.Int64

func mint() run.ID { return run.MintID(time.UnixMilli(1_750_000_000_000+minted.Add(1)), 7) }

func snapshot(t run.Trigger) *run.Snapshot {
	if t.Organisation == "" {
		t.Organisation = org
	}
	if t.Environment == "" {
		t.Environment = env
	}
	if t.Task == "" {
		t.Task = "task"
	}
	key := t.Key()
	var hash run.Hash
	if !key.IsZero() {
		hash = key.Hash()
	}
	s := run.NewSnapshot(mint(), key, hash, t)
	return &s
}

// keyed is a trigger of an idempotency key, accepted at the given instant.
func keyed(key string, at run.Instant) *run.Snapshot {
	s := snapshot(run.Trigger{IdempotencyKey: key})
	s.AcceptedAt = at
	return s
}

func TestOpenNamesTheField(t *testing.T) {
	t.Parallel()
	good := Config{URL: "postgres://u:secret@h:5432/d", MaxConns: 4, StatementTimeout: time.Second}
	for field, spoil := range map[string]func(*Config){
		"Config.URL":              func(c *Config) { c.URL = "postgres://u:secret@h:port/d" },
		"default_query_exec_mode": func(c *Config) { c.URL += "?default_query_exec_mode=simple_protocol" },
		"Config.MaxConns":         func(c *Config) { c.MaxConns = 3 },
		"Config.StatementTimeout": func(c *Config) { c.StatementTimeout = time.Millisecond },
		"Config.BreakerFailures":  func(c *Config) { c.BreakerFailures = -1 },
		"Config.BreakerPause":     func(c *Config) { c.BreakerPause = -1 },
	} {
		c := good
		spoil(&c)
		s, err := Open(t.Context(), c)
		if err == nil {
			s.Close()
			t.Errorf("%s: accepted", field)
		} else if !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", field, err)
		}
	}
	s, err := Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestDeploymentIsWrittenOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Deployment(t.Context(), 64, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range [][2]int{{32, 1}, {64, 2}} {
		err := s.Deployment(t.Context(), other[0], other[1])
		if !errors.Is(err, ErrDisagrees) {
			t.Errorf("%v: got %v", other, err)
		}
	}
	if err := s.Deployment(t.Context(), 32, 1); !strings.Contains(err.Error(), "32") || !strings.Contains(err.Error(), "64") {
		t.Errorf("both values should be named: %v", err)
	}
}

// A durable level is set on every connection, whatever the server's default:
// the shared test server has it off.
func TestConnectionsCommitDurably(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, pool := range []*pgxpool.Pool{s.hot, s.cold} {
		for setting, want := range map[string]string{
			"synchronous_commit": "on", "statement_timeout": "10s", "lock_timeout": "5s",
			"idle_in_transaction_session_timeout": "20s", "application_name": "mollifier",
		} {
			var got string
			if err := pool.QueryRow(t.Context(), "select current_setting($1)", setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %q", setting, got, err, want)
			}
		}
	}
}

// A flood of reads leaves settlements their connections.
func TestReadsLeaveConnectionsToSettlements(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for range int(s.cold.Config().MaxConns) {
		conn, err := s.cold.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	got := s.want(Created, keyed("k", 100))
	answer := s.Check(t.Context(), []Check{{env, keyed("k", 0).Hash, got.ID}})[0]
	if answer.Err != nil || !answer.Holds {
		t.Fatalf("check: %+v", answer)
	}
	if total := s.hot.Config().MaxConns + s.cold.Config().MaxConns; total != 8 {
		t.Errorf("the pools may open %d connections, and MaxConns is 8", total)
	}
}

// No call without an id reaches Postgres: the server of this store is not there.
func TestNothingIsAskedWithoutAnID(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{URL: "postgres://u@127.0.0.1:1/d", MaxConns: 4, StatementTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	hash := keyed("k", 0).Hash
	noID, noEnv := keyed("k", 0), keyed("k", 0)
	noID.ID, noEnv.Trigger.Environment = run.ID{}, ""
	noHash := keyed("k", 0)
	noHash.Hash = run.Hash{}
	for i, a := range s.Settle(ctx, []Settlement{{nil}, {noID}, {noEnv}, {noHash}}) {
		if !errors.Is(a.Err, run.ErrInvalid) {
			t.Errorf("settlement %d: %v", i, a.Err)
		}
	}
	for i, a := range s.Check(ctx, []Check{{env, hash, run.ID{}}, {"", hash, mint()}, {env, run.Hash{}, mint()}}) {
		if !errors.Is(a.Err, run.ErrInvalid) {
			t.Errorf("check %d: %v", i, a.Err)
		}
	}
	if found, err := s.Runs(ctx, env, []run.ID{{}}); err != nil || len(found) != 0 {
		t.Errorf("runs: %v, %v", found, err)
	}
	if _, err := s.Runs(ctx, "", []run.ID{mint()}); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("runs without environment: %v", err)
	}
	if _, err := s.Finish(ctx, env, run.ID{}, run.Finish{Status: run.Completed}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("finish: %v", err)
	}
	if _, err := s.Finish(ctx, "", mint(), run.Finish{Status: run.Completed}); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("finish without environment: %v", err)
	}
	if _, err := s.Finish(ctx, env, mint(), run.Finish{Status: "DONE"}); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("finish with a made-up status: %v", err)
	}
	if _, _, err := s.Reset(ctx, env, run.Hash{}, 0); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("reset: %v", err)
	}
	if _, _, err := s.Reset(ctx, "", hash, 0); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("reset without environment: %v", err)
	}
	if _, err := s.Keys(ctx, []KeyRef{{Environment: env}}); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("keys: %v", err)
	}
	if _, err := s.Take(ctx, 0); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("take: %v", err)
	}
	if _, _, err := s.Sweep(ctx, 0); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("sweep: %v", err)
	}
}

func TestClosedStore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.Store.Close()
	if got := s.settleOne(keyed("k", 1)); !errors.Is(got.Err, run.ErrClosed) || OutcomeUnknown(got.Err) {
		t.Errorf("settle: %v", got.Err)
	}
	if _, err := s.Runs(context.Background(), env, []run.ID{mint()}); !errors.Is(err, run.ErrClosed) {
		t.Errorf("runs: %v", err)
	}
}
