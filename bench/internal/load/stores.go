package load

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

// The ways in which Redis keeps its append-only file.
const (
	FsyncAlways   = "always"   // synced before each answer
	FsyncEverySec = "everysec" // synced once a second
)

// Stores are a Redis and a Postgres that nothing else uses, both durable: Postgres
// syncs each commit.
type Stores struct {
	Redis    string // addresses, with passwords: keep them out of logs
	Postgres string

	redis, postgres server // nil: not ours to watch
}

type server interface {
	PID() int
	Kill() error
}

func settings(fsync string) (redis, postgres map[string]string) {
	return map[string]string{"appendfsync": fsync},
		map[string]string{"shared_buffers": "1GB", "max_connections": "500"}
}

// Start starts servers in a new folder below dir.
func Start(ctx context.Context, dir, fsync string) (*Stores, error) {
	dir, err := os.MkdirTemp(dir, "stores-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // passable for the user that Postgres runs as
		return nil, err
	}
	ofRedis, ofPostgres := settings(fsync)
	r, err := devstack.NewRedis(devstack.RedisConfig{
		Dir: filepath.Join(dir, "redis"), DieWithParent: true, Settings: ofRedis,
	})
	if err != nil {
		return nil, err
	}
	p, err := devstack.NewPostgres(devstack.PostgresConfig{
		Dir: filepath.Join(dir, "postgres"), DieWithParent: true, Settings: ofPostgres,
	})
	if err != nil {
		return nil, err
	}
	err = errors.Join(r.Start(ctx), p.Start(ctx))
	s := &Stores{r.URL(), p.URL(), r, p}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends the servers at once.
func (s *Stores) Stop() error { return errors.Join(s.redis.Kill(), s.postgres.Kill()) }

// ForTest returns servers that end with the test. In short mode they are the ones
// that all tests share, which are not durable: the figures are worth nothing then.
func ForTest(t testing.TB, fsync string) *Stores {
	t.Helper()
	if testing.Short() {
		url, _ := stacktest.Redis(t)
		return &Stores{Redis: url, Postgres: stacktest.Postgres(t)}
	}
	ofRedis, ofPostgres := settings(fsync)
	r := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) { c.Settings = ofRedis })
	p := stacktest.PrivatePostgres(t, func(c *devstack.PostgresConfig) { c.Settings = ofPostgres })
	return &Stores{r.URL(), p.URL(), r, p}
}

// Database makes an empty database and returns its address: contestants share
// the servers, not their tables.
func (s *Stores) Database(ctx context.Context) (string, error) {
	admin, err := pgx.Connect(ctx, s.Postgres)
	if err != nil {
		return "", err
	}
	defer func() { _ = admin.Close(ctx) }()
	name := "t_bench_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return "", err
	}
	u, err := url.Parse(s.Postgres)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// Fresh is a prefix that nobody has used before.
func Fresh() string { return rand.Text()[:12] + "-" }

// Body is a JSON payload of the given size that no store can compress to nothing.
func Body(size int) []byte {
	text := make([]byte, 0, size+26)
	text = append(text, '"')
	for len(text) < size-1 {
		text = append(text, rand.Text()...)
	}
	return append(text[:size-1], '"')
}
