package redisdb

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

var setScript = NewScript("#!lua\nlocal r = {} for i, k in ipairs(KEYS) do r[i] = redis.call('SET', k, ARGV[1])['ok'] end return r")

// A durable call is answered only if a replica has it; others do not wait. The
// breaker has nothing to do with it.
func TestReplicaMustHaveIt(t *testing.T) {
	t.Parallel()
	primary, replica := stacktest.PrivateRedis(t), stacktest.PrivateRedis(t)
	b := onRedis(t, Config{
		URL: primary.URL(), Prefix: "m", Partitions: partitions, Deadline: 2 * time.Second, Durability: run.DurableRedisReplica,
		BreakerFailures: 1,
	})
	set := func(durable bool) error {
		return b.Run(t.Context(), []Call{
			{Script: setScript, Keys: []string{"m:a"}, Args: []any{"1"}},
			{Script: setScript, Keys: []string{"m:b"}, Args: []any{"1"}, Durable: durable},
		})[1].Err
	}
	if err := set(true); !OutcomeUnknown(err) || b.Breaker() != BreakerClosed {
		t.Fatalf("without a replica: %v", err)
	}
	if err := set(false); err != nil {
		t.Fatal(err)
	}
	follow(t, replica, primary)
	wait(t, func() bool { return set(true) == nil })
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := set(true); !OutcomeUnknown(err) || b.Breaker() != BreakerClosed {
		t.Fatalf("with a replica that hangs: %v", err)
	}
	if got := b.raw.Get(t.Context(), "m:b").Val(); got != "1" {
		t.Fatal("the call was not executed")
	}
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return set(true) == nil })
}

// follow makes one server the replica of another.
func follow(t *testing.T, replica, primary *devstack.Redis) {
	t.Helper()
	u, err := url.Parse(primary.URL())
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	raw := plain(t, replica.URL())
	if err := raw.ConfigSet(t.Context(), "masterauth", password).Err(); err != nil {
		t.Fatal(err)
	}
	if err := raw.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it never came to pass")
		}
	}
}

// What the server can not do is refused by name.
func TestDurabilityIsRefusedByName(t *testing.T) {
	t.Parallel()
	lacking := &Capabilities{AOF: true, Fsync: "everysec"}
	for _, c := range []struct {
		durability run.Durability
		caps       *Capabilities
		want       string // of the error, or the command
	}{
		{"", lacking, ""},
		{run.DurableRedis, lacking, ""},
		{run.DurableRedisFsync, &Capabilities{AOF: true, Fsync: "always"}, ""},
		{run.DurableRedisFsync, &Capabilities{AOF: true, Fsync: "always", Cluster: true}, ""},
		{run.DurableRedisFsync, &Capabilities{AOF: true, WaitAOF: true}, "waitaof"},
		{run.DurableRedisFsync, lacking, "WAITAOF"},
		{run.DurableRedisFsync, &Capabilities{AOF: true, WaitAOF: true, Fsync: "everysec"}, "2.5s"},
		{run.DurableRedisFsync, &Capabilities{AOF: true, WaitAOF: true, Fsync: "no"}, "never"},
		{run.DurableRedisFsync, &Capabilities{WaitAOF: true}, "append-only"},
		{run.DurableRedisReplica, lacking, "wait"},
		{run.DurableRedisReplica, &Capabilities{Cluster: true}, "wait"},
	} {
		command, err := (&Config{Durability: c.durability, Deadline: time.Second}).wait(c.caps)
		got := ""
		if err != nil {
			got = err.Error()
		} else if command != nil {
			got, _ = command[0].(string)
		}
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s on %+v: %q, want %q", c.durability, *c.caps, got, c.want)
		}
	}
	cfg := Config{URL: "redis://h", Prefix: "m", Partitions: 1, Durability: "postgres"}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Durability") {
		t.Error(err)
	}
}

// A durable call on a file that is synced each second is answered once it is synced; it
// is not if nobody syncs.
func TestFileMustHaveIt(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{"appendfsync": "everysec"}
	})
	d := must(New(Config{URL: server.URL(), Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second, Durability: run.DurableRedisFsync}))
	defer func() { _ = d.Close() }()
	if _, err := d.Open(t.Context()); err != nil {
		if raw := plain(t, server.URL()); raw.Do(t.Context(), "command", "info", "waitaof").String() == "command info waitaof: [<nil>]" {
			t.Skipf("this server has no WAITAOF (Redis 7.4.3, Valkey 8): %v", err)
		}
		t.Fatal(err)
	}
	set := func() error {
		return d.Run(t.Context(), []Call{{Script: setScript, Keys: []string{"m:a"}, Args: []any{"1"}, Durable: true}})[0].Err
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	if err := plain(t, server.URL()).ConfigSet(t.Context(), "appendfsync", "no").Err(); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return OutcomeUnknown(set()) })
	if s := d.Breaker(); s != BreakerClosed {
		t.Fatalf("breaker %s", s)
	}
}
