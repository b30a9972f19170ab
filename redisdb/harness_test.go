package redisdb

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

const partitions = 8

// bench is an opened DB with a plain client beside it.
type bench struct {
	*DB
	raw *redis.Client
}

// onShared opens a DB on the shared Redis. Tests of rules, not of deadlines:
// the machine may be busy.
func onShared(t testing.TB) *bench {
	url, prefix := stacktest.Redis(t)
	return onRedis(t, Config{URL: url, Prefix: prefix, Partitions: partitions, Deadline: 10 * time.Second})
}

func onRedis(t testing.TB, cfg Config) *bench {
	t.Helper()
	d := must(New(cfg))
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{DB: d, raw: plain(t, cfg.URL)}
}

func plain(t testing.TB, url string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opt.Protocol = 2
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewClient(opt)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
