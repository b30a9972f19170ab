//go:build unix

package mollifiertest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
)

// Main runs a package's tests and then lets go of the servers. Without it they are left
// running for the next test binary to find.
func Main(m *testing.M) { stacktest.Main(m) }

// Stores are a Redis prefix and a Postgres database of one test. They go when the test
// ends.
type Stores struct {
	Redis    string // URL
	Prefix   string // of all keys
	Postgres string // URL of the database
}

// NewStores makes stores on the servers that all tests share, which may be neither
// stopped nor flushed.
func NewStores(t testing.TB) *Stores {
	t.Helper()
	s := &Stores{Postgres: stacktest.Postgres(t)}
	s.Redis, s.Prefix = stacktest.Redis(t)
	return s
}

// Server is a server of the test's own. Its URL stays the same whatever is done to it.
type Server interface {
	// Kill ends it as a crash would. What it had promised to keep, it has when it is
	// started again.
	Kill() error
	// Stop ends it in an orderly way.
	Stop(ctx context.Context) error
	// Start starts it again, and returns when it serves.
	Start(ctx context.Context) error
	// Pause freezes it: connections stay open, and nothing answers.
	Pause() error
	// Resume ends a Pause.
	Resume() error
}

// Private are stores on servers of the test's own.
type Private struct {
	*Stores
	RedisServer, PostgresServer Server
}

// NewPrivate starts a Redis and a Postgres for this test alone, which sync as durable
// ones should. That takes a second or two.
func NewPrivate(t testing.TB) *Private {
	t.Helper()
	redis, postgres := stacktest.PrivateRedis(t), stacktest.PrivatePostgres(t)
	return &Private{
		Stores:      &Stores{Redis: redis.URL(), Prefix: "m", Postgres: postgres.URL()},
		RedisServer: redis, PostgresServer: postgres,
	}
}

// Exec runs a statement in the test's database, for example to make a table of its own.
func (s *Stores) Exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	s.connected(t, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, statement, args...)
		return err
	})
}

// Count asks the test's database for a number.
func (s *Stores) Count(t testing.TB, statement string, args ...any) (n int) {
	t.Helper()
	s.connected(t, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, statement, args...).Scan(&n)
	})
	return n
}

func (s *Stores) connected(t testing.TB, do func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleanups, too
	c, err := pgx.Connect(ctx, s.Postgres)
	if err == nil {
		err = do(ctx, c)
		_ = c.Close(ctx) // the answer is there
	}
	if err != nil {
		t.Fatalf("mollifiertest: the test's database: %v", err)
	}
}

// Advance moves Postgres's clock ahead for every node of these stores, after the first
// has been started: delayed runs become due, and runs whose TTL has passed expire, at
// Engine.Sweep or within a second. It adds up. Redis's clock, the nodes' and what waits in the buffer do
// not hear of it.
func (s *Stores) Advance(t testing.TB, d time.Duration) {
	t.Helper()
	s.connected(t, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `
create table if not exists mollifiertest_clock (ahead bigint not null);
insert into mollifiertest_clock select 0 where not exists (select from mollifiertest_clock);
create or replace function now_us() returns bigint language sql volatile as
$$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint + (select ahead from mollifiertest_clock) $$`)
		if err != nil {
			return err
		}
		_, err = c.Exec(ctx, "update mollifiertest_clock set ahead = ahead + $1", d.Microseconds())
		return err
	})
}

// RequireDrained waits until nothing is in the buffer, and fails the test if that takes
// more than a minute. Some node has to drain.
func (s *Stores) RequireDrained(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left, err := s.empty(ctx)
	if err != nil {
		t.Fatalf("mollifiertest: %d runs are in the buffer: %v", left, err)
	}
}

func (s *Stores) empty(ctx context.Context) (left int64, err error) {
	db, err := redisdb.New(redisdb.Config{URL: s.Redis, Prefix: s.Prefix, Partitions: partitions, Deadline: 5 * time.Second})
	if err != nil {
		return -1, err
	}
	defer db.Close()
	if _, err := db.Open(ctx); err != nil {
		return -1, err
	}
	store, err := buffer.New(db, buffer.Config{})
	if err != nil {
		return -1, err
	}
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		usage, err := store.Total(ctx)
		if err == nil && usage.Entries == 0 {
			return 0, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return usage.Entries, ctx.Err()
		}
	}
}
