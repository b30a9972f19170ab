package redisdb

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

func TestOpenTellsCapabilities(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	b := onRedis(t, Config{URL: server.URL(), Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second})
	caps, err := b.Open(t.Context()) // again: what was found
	if err != nil {
		t.Fatal(err)
	}
	if !atLeast(caps.Version, 7) || caps.Cluster || !caps.AOF || caps.Fsync != "always" || caps.Replicas != 0 {
		t.Fatalf("%+v", caps)
	}
	if caps.Valkey == "" && caps.WaitAOF != atLeast(caps.Version, 7, 4, 3) {
		t.Fatalf("%+v", caps)
	}
}

func TestOpenRefusesEviction(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{"maxmemory-policy": "allkeys-lru"}
	})
	s, err := New(Config{URL: server.URL(), Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	_, err = s.Open(t.Context())
	if err == nil || errors.Is(err, run.ErrUnavailable) {
		t.Fatalf("opened on a Redis that evicts: %v", err)
	}
	for _, word := range []string{"maxmemory-policy", "allkeys-lru", "noeviction"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %s", err, word)
		}
	}
	// The person changes the setting; the same store opens.
	if err := plain(t, server.URL()).ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesOtherPartitions(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	if got := b.raw.Get(t.Context(), b.names.Deployment()).Val(); got != fmt.Sprintf("1|%d|1", partitions) {
		t.Fatalf("deployment %q", got)
	}
	onRedis(t, b.cfg) // agrees
	cfg := b.cfg
	cfg.Partitions = 77
	other := must(New(cfg))
	defer func() { _ = other.Close() }()
	_, err := other.Open(t.Context())
	if err == nil || errors.Is(err, run.ErrUnavailable) ||
		!strings.Contains(err.Error(), "77 partitions") || !strings.Contains(err.Error(), fmt.Sprintf("%d partitions", partitions)) {
		t.Fatalf("two partitionings: %v", err)
	}
	b.raw.Set(t.Context(), b.names.Deployment(), "2|x", 0)
	if _, err = other.Open(t.Context()); err == nil || errors.Is(err, run.ErrUnavailable) {
		t.Fatalf("unknown deployment record: %v", err)
	}
}

// Nobody listens: unavailable, to be tried again, and no address in the text.
func TestOpenWithoutRedis(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	s := must(New(Config{URL: "redis://user:secret@" + addr, Prefix: "m", Partitions: partitions}))
	defer func() { _ = s.Close() }()
	_, err = s.Open(t.Context())
	if !errors.Is(err, run.ErrUnavailable) || OutcomeUnknown(err) {
		t.Fatal(err)
	}
	if strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "secret") {
		t.Fatalf("%v", err)
	}
}

func TestExamine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		info, refused string
		waitAOF       bool
	}{
		{"redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n", "6.2.14", false},
		{"redis_version:\r\nmaxmemory_policy:noeviction\r\n", "too old", false},
		{"redis_version:7.0.15\r\nmaxmemory_policy:volatile-ttl\r\n", "volatile-ttl", false},
		{"redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n", "", false},
		{"redis_version:7.4.2\r\nmaxmemory_policy:noeviction\r\n", "", false},
		{"redis_version:7.4.3\r\nmaxmemory_policy:noeviction\r\n", "", true},
		{"redis_version:8.2\r\nmaxmemory_policy:noeviction\r\n", "", true},
		{"redis_version:7.2.4\r\nvalkey_version:7.2.9\r\nmaxmemory_policy:noeviction\r\n", "", false},
		{"redis_version:7.2.4\r\nvalkey_version:8.1.0\r\nmaxmemory_policy:noeviction\r\n", "", true},
	} {
		caps, err := examine(parseInfo(c.info))
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%q: %v", c.info, err)
		}
		if caps.WaitAOF != c.waitAOF {
			t.Errorf("%q: WAITAOF %t", c.info, caps.WaitAOF)
		}
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	good := Config{URL: "redis://localhost", Prefix: "m", Partitions: 64}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*Config){
		"URL":             func(c *Config) { c.URL = "" },
		"Config.URL":      func(c *Config) { c.URL = "http://secret@x" },
		"not a URL":       func(c *Config) { c.URL = "redis://u:secret@[::1" },
		"Prefix":          func(c *Config) { c.Prefix = "m{x}" },
		"Partitions":      func(c *Config) { c.Partitions = 1025 },
		"Deadline":        func(c *Config) { c.Deadline = -1 },
		"Conns":           func(c *Config) { c.Conns = -1 },
		"ClientName":      func(c *Config) { c.ClientName = "a b" },
		"BreakerFailures": func(c *Config) { c.BreakerFailures = -1 },
		"BreakerPause":    func(c *Config) { c.BreakerPause = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
