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

// Stores are durable servers that nothing else uses. Postgres syncs each commit.
type Stores struct {
	Redis    *devstack.Redis
	Postgres *devstack.Postgres
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
	s := &Stores{}
	if s.Redis, err = devstack.NewRedis(devstack.RedisConfig{
		Dir: filepath.Join(dir, "redis"), DieWithParent: true, Settings: ofRedis,
	}); err != nil {
		return nil, err
	}
	if s.Postgres, err = devstack.NewPostgres(devstack.PostgresConfig{
		Dir: filepath.Join(dir, "postgres"), DieWithParent: true, Settings: ofPostgres,
	}); err != nil {
		return nil, err
	}
	if err = errors.Join(s.Redis.Start(ctx), s.Postgres.Start(ctx)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends the servers at once.
func (s *Stores) Stop() error { return errors.Join(s.Redis.Kill(), s.Postgres.Kill()) }

// ForTest starts servers that end with the test.
func ForTest(t testing.TB, fsync string) *Stores {
	t.Helper()
	ofRedis, ofPostgres := settings(fsync)
	return &Stores{
		Redis:    stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) { c.Settings = ofRedis }),
		Postgres: stacktest.PrivatePostgres(t, func(c *devstack.PostgresConfig) { c.Settings = ofPostgres }),
	}
}

// Database makes an empty database and returns its address: contestants share
// the servers, not their tables.
func (s *Stores) Database(ctx context.Context) (string, error) {
	admin, err := pgx.Connect(ctx, s.Postgres.URL())
	if err != nil {
		return "", err
	}
	defer func() { _ = admin.Close(ctx) }()
	name := "bench_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return "", err
	}
	u, err := url.Parse(s.Postgres.URL())
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
