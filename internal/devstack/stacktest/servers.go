//go:build unix

package stacktest

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/jackc/pgx/v5"
)

// Postgres returns the URL of a fresh, empty database on the shared Postgres.
// It is dropped when the test ends, whoever is still connected. The server
// neither syncs to disk nor may be stopped: see [PrivatePostgres].
func Postgres(t testing.TB) string {
	t.Helper()
	s := need(t)
	name := databasePrefix + wordFor(t.Name()) + "_" + unique()
	admin(t, s, func(ctx context.Context, c *pgx.Conn) error {
		// From template0: nobody is ever connected to it, so that tests can make
		// databases side by side.
		_, err := c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0")
		return err
	})
	t.Cleanup(func() {
		admin(t, s, func(ctx context.Context, c *pgx.Conn) error { return dropDatabase(ctx, c, name) })
	})
	url, err := databaseURL(s.postgres.URL(), name)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// Redis returns the URL of the shared Redis and a prefix for the test's keys,
// which ends with a colon and holds neither braces nor glob characters. Keys
// that begin with it are removed when the test ends. The server persists nothing
// and may be neither flushed nor stopped: see [PrivateRedis].
func Redis(t testing.TB) (url, prefix string) {
	t.Helper()
	if OnCluster() {
		return Cluster(t)
	}
	s := need(t)
	prefix = "t" + unique() + ":"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		client, err := s.redisClient()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		if err := removeKeys(ctx, client, prefix); err != nil {
			t.Errorf("stacktest: remove the test's keys: %v", err)
		}
	})
	return s.redis.URL(), prefix
}

// PrivateRedis returns a started Redis of the test's own, with the durable
// settings of the default stack unless a configure function changes them. The
// test may Stop, Start, Kill, Pause and Resume it; the URL stays the same. It
// ends, and its files go, when the test ends, or on Linux when the test process
// does.
func PrivateRedis(t testing.TB, configure ...func(*devstack.RedisConfig)) *devstack.Redis {
	t.Helper()
	cfg := devstack.RedisConfig{Dir: filepath.Join(privateFolder(t), "redis"), DieWithParent: true}
	for _, f := range configure {
		f(&cfg)
	}
	r, err := devstack.NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	return r
}

// PrivatePostgres returns a started Postgres of the test's own with an empty
// database, with the durable settings of the default stack unless a configure
// function changes them. The test may Stop, Start, Kill, Pause and Resume it;
// the URL stays the same. It ends, and its files go, when the test ends, or on
// Linux when the test process does. Making it takes a second or two.
func PrivatePostgres(t testing.TB, configure ...func(*devstack.PostgresConfig)) *devstack.Postgres {
	t.Helper()
	cfg := devstack.PostgresConfig{Dir: filepath.Join(privateFolder(t), "postgres"), DieWithParent: true}
	for _, f := range configure {
		f(&cfg)
	}
	p, err := devstack.NewPostgres(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, p)
	return p
}

func run(t testing.TB, server interface {
	Start(context.Context) error
	Kill() error
},
) {
	t.Helper()
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Errorf("stacktest: end a private server: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// privateFolder makes a folder for one private server. It is not t.TempDir,
// which the user that Postgres runs as could not reach.
func privateFolder(t testing.TB) string {
	t.Helper()
	s := need(t)
	parent := filepath.Join(s.base, "private")
	dir := filepath.Join(parent, wordFor(t.Name())+"_"+unique())
	for _, d := range []string{parent, dir} {
		if err := os.Mkdir(d, 0o711); err != nil && (d == dir || !os.IsExist(err)) {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("stacktest: remove a private server's files: %v", err)
		}
	})
	return dir
}

func need(t testing.TB) *stack {
	t.Helper()
	s, err := hold(t.Context())
	if err != nil {
		t.Fatalf("stacktest: no servers to test against: %v", err)
	}
	return s
}

func admin(t testing.TB, s *stack, f func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	c, err := pgx.Connect(ctx, s.postgres.URL())
	if err == nil {
		err = f(ctx, c)
		if closeErr := c.Close(ctx); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		t.Fatalf("stacktest: the test's database: %v", err)
	}
}

func unique() string { return strings.ToLower(rand.Text()[:12]) }
