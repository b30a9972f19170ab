//go:build unix

package stacktest_test

import (
	"context"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries = -1
	c := redis.NewClient(opts)
	t.Cleanup(func() { c.Close() })
	return c
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "two/with: odd \"name\" and more than forty characters"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, stacktest.Postgres(t))
			if _, err := c.Exec(t.Context(), "CREATE TABLE mine (n int)"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDatabaseAndKeysGoWithTheTest(t *testing.T) {
	t.Parallel()
	var postgres, url, prefix string
	var open *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		postgres = stacktest.Postgres(t)
		var err error
		// Still connected when the test ends.
		if open, err = pgx.Connect(t.Context(), postgres); err != nil {
			t.Fatal(err)
		}
		url, prefix = stacktest.Redis(t)
		if err := client(t, url).Set(t.Context(), prefix+"{7}:key", 1, 0).Err(); err != nil {
			t.Fatal(err)
		}
	})
	if err := open.Ping(t.Context()); err == nil {
		t.Error("the database of a test that has ended still answers")
	}
	if c, err := pgx.Connect(t.Context(), postgres); err == nil {
		c.Close(t.Context())
		t.Error("the database of a test that has ended is still there")
	}
	if n, err := client(t, url).Exists(t.Context(), prefix+"{7}:key").Result(); err != nil || n != 0 {
		t.Errorf("%d keys of a test that has ended are left (%v)", n, err)
	}
}

func TestPrivateRedisKeepsWhatItAnswered(t *testing.T) {
	t.Parallel()
	r := stacktest.PrivateRedis(t)
	url := r.URL()
	c := client(t, url)
	for i, end := range []func() error{
		func() error { return r.Stop(t.Context()) },
		r.Kill,
	} {
		if err := c.Incr(t.Context(), "n").Err(); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()).Err(); err == nil {
			t.Error("Redis answers though it was stopped")
		}
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.URL() != url {
			t.Error("the URL changed over a restart")
		}
		if n, err := c.Get(t.Context(), "n").Int(); err != nil || n != i+1 {
			t.Errorf("after restart %d: n = %d, %v", i+1, n, err)
		}
	}
}

func TestPrivateRedisPauses(t *testing.T) {
	t.Parallel()
	r := stacktest.PrivateRedis(t)
	c := client(t, r.URL())
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Ping(short).Err(); err == nil {
		t.Error("Redis answers though it was paused")
	}
	if err := r.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Errorf("stop while paused: %v", err)
	}
}

func TestPrivatePostgresKeepsWhatItAnswered(t *testing.T) {
	t.Parallel()
	p := stacktest.PrivatePostgres(t)
	url := p.URL()
	c := connect(t, url)
	if _, err := c.Exec(t.Context(), "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func() error{
		func() error { return p.Stop(t.Context()) },
		p.Kill,
	} {
		c := connect(t, url)
		if _, err := c.Exec(t.Context(), "INSERT INTO kept VALUES ($1)", i); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()); err == nil {
			t.Error("Postgres answers though it was stopped")
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := connect(t, url).QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n); err != nil || n != i+1 {
			t.Errorf("after restart %d: %d rows, %v", i+1, n, err)
		}
	}
}

func TestPrivatePostgresPausesOpenConnections(t *testing.T) {
	t.Parallel()
	p := stacktest.PrivatePostgres(t)
	c := connect(t, p.URL())
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := c.Exec(context.Background(), "SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("Postgres answers though it was paused: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestPrivateServersMayBeConfigured(t *testing.T) {
	t.Parallel()
	r := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}
	})
	got, err := client(t, r.URL()).ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil || got["maxmemory-policy"] != "allkeys-lru" {
		t.Errorf("policy %v, %v", got, err)
	}
}
