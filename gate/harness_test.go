package gate

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

// open connects to a Redis. The deadline is long: the machine may be busy.
func open(t testing.TB, url, prefix string) *redisdb.DB {
	t.Helper()
	db, err := redisdb.New(redisdb.Config{URL: url, Prefix: prefix, Partitions: 4, Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func shared(t testing.TB) (db *redisdb.DB, raw redis.UniversalClient) {
	t.Helper()
	url, prefix := stacktest.Redis(t)
	return open(t, url, prefix), plain(t, url)
}

func plain(t testing.TB, url string) redis.UniversalClient { return stacktest.Client(t, url) }

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// none is a Redis that is not there.
type none struct{ names redisdb.Names }

func (none) Run(_ context.Context, calls []redisdb.Call) []redisdb.Result {
	results := make([]redisdb.Result, len(calls))
	for i := range results {
		results[i].Err = redisdb.Unreadable()
	}
	return results
}
func (none) Available() bool        { return false }
func (n none) Names() redisdb.Names { return n.names }

func everyone(string) bool { return true }

// settings are the defaults with everyone enrolled, on a test's clock.
func settings(c *clock) Config {
	cfg := Defaults()
	cfg.Enrolled = everyone
	cfg.Now = c.Now
	return cfg
}

func gateOn(t testing.TB, cfg Config, redis Redis) *Gate {
	t.Helper()
	g, err := New(cfg, redis)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func snapshot(environment string) *run.Snapshot {
	return &run.Snapshot{Trigger: run.Trigger{Organisation: "org", Environment: environment, Task: "task"}}
}
