package claim

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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
	if got := b.raw.Get(t.Context(), b.names.deployment()).Val(); got != fmt.Sprintf("1|%d|1", partitions) {
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
	b.raw.Set(t.Context(), b.names.deployment(), "2|x", 0)
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
		"TTL":             func(c *Config) { c.TTL = MaxTTL + 1 },
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

// The scripts on a server in cluster mode: keys of a call are declared and of
// one slot, and a batch over many partitions still is one Do (case 128).
func TestCluster(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{"cluster-enabled": "yes", "cluster-port": freePort(t), "cluster-allow-reads-when-down": "no"}
	})
	raw := plain(t, server.URL())
	if err := raw.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		return strings.Contains(raw.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	b := onRedis(t, Config{URL: server.URL(), Prefix: "m", Partitions: 64, Deadline: 10 * time.Second})
	caps, err := b.Open(t.Context())
	if err != nil || !caps.Cluster {
		t.Fatalf("%+v %v", caps, err)
	}
	heard := hear(t, b.Store)
	<-heard

	mine := NewToken()
	var claims, publishes, resets []Op
	for i := range 500 {
		k := keyOf(fmt.Sprint(i))
		k.partition = i % 64
		claims = append(claims, k.op(Claim, mine))
	}
	for i, r := range b.Do(t.Context(), claims) {
		if r.State != Claimed {
			t.Fatalf("claim %d: %+v", i, r)
		}
		k := key{claims[i].Partition, claims[i].Hash}
		if i%2 == 0 {
			publishes = append(publishes, k.publish(mine, newID(), r.AcceptedAt, r.AcceptedAt+hour, false))
		} else {
			resets = append(resets, k.op(Renew, mine))
		}
	}
	b.want(key{claims[0].Partition, claims[0].Hash}.op(Claim, NewToken()), Pending)
	for i, r := range b.Do(t.Context(), append(publishes, resets...)) {
		if r.State != Done {
			t.Fatalf("op %d: %+v", i, r)
		}
	}
	if h := <-heard; h != claims[0].Hash {
		t.Fatalf("announced %s", h)
	}
	cut := b.now() + hour
	for _, op := range resets[:5] {
		if _, err := b.Clock(t.Context(), op.Partition, op.Hash); err != nil {
			t.Fatal(err)
		}
		if err := b.Reset(t.Context(), op.Partition, op.Hash, cut); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range b.Do(t.Context(), []Op{resets[0], resets[5]}) {
		if want := []State{Lost, Done}[i]; r.State != want {
			t.Fatalf("after the reset: %+v", r)
		}
	}
	// The server does check: keys of two slots in one call are refused.
	err = raw.EvalSha(t.Context(), verbScripts[Renew].sha, []string{b.names.record(1, claims[0].Hash), b.names.record(2, claims[0].Hash)}).Err()
	if !redis.HasErrorPrefix(err, "CROSSSLOT") {
		t.Fatalf("two slots in one call: %v", err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Everything works for a user who may do no more than this, on these keys.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	raw := plain(t, server.URL())
	err := raw.Do(t.Context(), "ACL", "SETUSER", "mollifier", "on", ">secret", "resetchannels", "~m:*", "&m:*", "-@all",
		"+hello", "+client|setname", "+select", "+ping", "+info", "+eval", "+evalsha",
		"+get", "+mget", "+set", "+setnx", "+time", "+publish", "+subscribe", "+unsubscribe").Err()
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(server.URL(), "@")
	b := onRedis(t, Config{URL: "redis://mollifier:secret@" + server.URL()[at+1:], Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second})
	b.raw = raw
	if caps, err := b.Open(t.Context()); err != nil || caps.Fsync != "" {
		t.Fatalf("%+v %v", caps, err)
	}
	heard := hear(t, b.Store)
	<-heard
	k, mine := keyOf("a"), NewToken()
	accepted := b.want(k.op(Claim, mine), Claimed).AcceptedAt
	b.want(k.op(Claim, NewToken()), Pending)
	b.want(k.op(Renew, mine), Done)
	b.want(k.publish(mine, newID(), accepted, accepted+hour, false), Done)
	if h := <-heard; h != k.hash {
		t.Fatalf("announced %s", h)
	}
	b.want(k.op(Claim, mine), Resolved)
	if err := b.Reset(t.Context(), k.partition, k.hash, accepted+1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Clock(t.Context(), k.partition, k.hash); err != nil {
		t.Fatal(err)
	}
	b.want(k.op(Claim, mine), Claimed)
	b.want(k.op(Release, mine), Done)
}
