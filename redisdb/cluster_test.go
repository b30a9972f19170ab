package redisdb

import (
	"fmt"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

var getScript = NewScript("#!lua\nreturn { redis.call('GET', KEYS[1]) }")

// Calls go to the servers that have their slots, each with an outcome of its own; a
// call without keys goes to all, and so every server's clock is known.
func TestClusterServesAllSlots(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Cluster(t)
	d := must(New(Config{URL: url, Prefix: prefix, Partitions: 64, Deadline: 10 * time.Second}))
	defer func() { _ = d.Close() }()
	caps, err := d.Open(t.Context())
	if err != nil || !caps.Cluster || !d.Cluster() || !d.Available() {
		t.Fatalf("%+v %v", caps, err)
	}
	var calls []Call
	for p := range 64 {
		name := d.names.Record(p, run.Hash{byte(p)})
		calls = append(calls, Call{Script: setScript, Keys: []string{name}, Args: []any{p}}, Call{Script: getScript, Keys: []string{name}})
	}
	calls = append(calls, Call{Script: setScript, Keys: []string{d.names.Record(1, run.Hash{}), d.names.Record(2, run.Hash{})}, Args: []any{"x"}}, ClockCall())
	results := d.Run(t.Context(), calls)
	for p := range 64 {
		if r := results[2*p+1]; r.Err != nil || r.Values[0] != fmt.Sprint(p) {
			t.Fatalf("partition %d: %+v", p, r)
		}
	}
	if r := results[128]; r.Err == nil || OutcomeUnknown(r.Err) {
		t.Fatalf("two slots in one call: %+v", r)
	}
	if r := results[129]; r.Err != nil || r.At == 0 {
		t.Fatalf("%+v", r)
	}
	if at, _, epoch := d.LastTime(); at == 0 || len(epoch) != 3*40+2 {
		t.Fatalf("%d %q: three servers' clocks are known", at, epoch)
	}
}

// owned returns a partition whose slot a server of the cluster has, by its number.
func owned(t *testing.T, d *DB, c *devstack.Cluster, master int) int {
	t.Helper()
	for p := range d.Partitions() {
		s, err := d.link.Load().servers.of(t.Context(), d.names.Leases(p))
		if err != nil {
			t.Fatal(err)
		}
		if s.client.Options().Addr == c.Master(master).Addr() {
			return p
		}
	}
	t.Fatal("no partition is there")
	return 0
}

// A slot moves, a master is replaced by its replica, and one is lost with its replica:
// calls follow, partitions of others never notice, and what is lost comes back.
func TestClusterChanges(t *testing.T) {
	t.Parallel()
	c := stacktest.PrivateCluster(t, 3, 1, nil)
	d := must(New(Config{
		URL: c.URL(), Prefix: "m", Partitions: 16, Deadline: 5 * time.Second, BreakerFailures: 2,
		BreakerPause: 10 * time.Millisecond, Durability: run.DurableRedisReplica,
	}))
	defer func() { _ = d.Close() }()
	if _, err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	var at [3]int // a partition of each master
	for i := range at {
		at[i] = owned(t, d, c, i)
	}
	name := func(p, n int) string { return d.names.Record(p, run.Hash{byte(n)}) }
	set := func(keys ...string) error {
		return d.Run(t.Context(), []Call{{Script: setScript, Keys: keys, Args: []any{"1"}, Durable: true}})[0].Err
	}
	fine := func(what string, keys ...string) {
		t.Helper()
		if err := set(keys...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i, p := range at {
		fine(fmt.Sprintf("master %d, with its replica", i), name(p, 0))
		fine("again", name(p, 1))
	}

	// A slot on its way. A call whose keys are all gone, or all new, is asked of the
	// other; one whose keys are in both is refused, untouched, and no breaker counts it.
	moving := stacktest.MoveSlot(t, name(at[0], 0), c.Master(0), c.Master(1))
	fine("a key that is still there", name(at[0], 0))
	if moving.Keys(1) != 1 {
		t.Fatal("nothing was moved")
	}
	for n := range 3 {
		fine("a key here, there, or new", name(at[0], n))
	}
	moving.Keys(1)
	d.Run(t.Context(), []Call{{Script: setScript, Keys: []string{name(at[0], 3)}, Args: []any{"1"}}})
	for range 5 {
		if err := set(name(at[0], 0), name(at[0], 9)); err == nil || OutcomeUnknown(err) {
			t.Fatalf("keys of which one is there and one new: %v", err)
		}
	}
	if s := d.Breaker(); s != BreakerClosed {
		t.Fatalf("breaker %s", s)
	}
	if d.Unbroken(MaxInstant) {
		t.Fatal("a slot that moves keeps nobody from it")
	}
	moving.End()
	fine("after it has moved", name(at[0], 0), name(at[0], 9))
	wait(t, func() bool { // once the server that is asked for the slots has heard of it
		fine("after it has moved", name(at[0], 0))
		s := must(d.link.Load().servers.of(t.Context(), name(at[0], 0)))
		return s.client.Options().Addr == c.Master(1).Addr()
	})

	// A master dies, and its replica takes over.
	for _, server := range []*devstack.Redis{c.Master(2)} {
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	once := func(p int) error {
		return d.Run(t.Context(), []Call{{Script: setScript, Keys: []string{name(p, 5)}, Args: []any{"1"}}})[0].Err
	}
	wait(t, func() bool {
		if err := once(at[1]); err != nil {
			t.Fatalf("another master's partition: %v", err)
		}
		return once(at[2]) == nil
	})
	if err := set(name(at[2], 5)); !OutcomeUnknown(err) {
		t.Fatalf("without a replica that has it: %v", err)
	}

	// A master dies with its replica: its partitions are out, at once and cheaply.
	for _, server := range []*devstack.Redis{c.Replica(1, 0), c.Master(1)} {
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, func() bool {
		results := d.Run(t.Context(), []Call{
			{Script: setScript, Keys: []string{name(at[1], 6)}, Args: []any{"1"}},
			{Script: setScript, Keys: []string{name(at[2], 6)}, Args: []any{"1"}},
		})
		if results[0].Err == nil || results[1].Err != nil {
			t.Fatalf("%+v", results)
		}
		return d.Breaker() == BreakerOpen
	})
	if !d.Available() {
		t.Fatal("the others are there")
	}
	if err := c.Master(1).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return once(at[1]) == nil && once(at[0]) == nil })
	if d.Breaker() == BreakerOpen {
		t.Fatal("the breaker of a server that is back")
	}
}

// A node starts while one master is out, by an address that does not answer.
func TestClusterOpensWithoutAMaster(t *testing.T) {
	t.Parallel()
	c := stacktest.PrivateCluster(t, 3, 0, nil)
	first := must(New(Config{URL: c.URL(), Prefix: "m", Partitions: 16, Deadline: 5 * time.Second}))
	defer func() { _ = first.Close() }()
	if _, err := first.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := must(first.link.Load().servers.of(t.Context(), first.names.Deployment()))
	out := 0
	if s.client.Options().Addr == c.Master(0).Addr() {
		out = 1
	}
	if err := c.Master(out).Kill(); err != nil {
		t.Fatal(err)
	}
	d := must(New(first.cfg))
	defer func() { _ = d.Close() }()
	wait(t, func() bool { _, err := d.Open(t.Context()); return err == nil })
	served := 0
	for p := range 16 {
		if d.Run(t.Context(), []Call{{Script: setScript, Keys: []string{d.names.Leases(p)}, Args: []any{"1"}}})[0].Err == nil {
			served++
		}
	}
	if served == 0 || served == 16 {
		t.Fatalf("%d of 16 partitions are served", served)
	}
}
