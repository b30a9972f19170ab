package buffer

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Every script on a server in cluster mode, which refuses a key of another slot,
// also one that a script forms itself (case 128).
func TestCluster(t *testing.T) {
	t.Parallel()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	server := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
		c.Settings = map[string]string{"cluster-enabled": "yes", "cluster-port": port, "cluster-allow-reads-when-down": "no"}
	})
	raw := redis.NewClient(must(redis.ParseURL(server.URL())))
	defer func() { _ = raw.Close() }()
	if err := raw.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	ask := time.NewTicker(5 * time.Millisecond)
	defer ask.Stop()
	for !strings.Contains(raw.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
		select {
		case <-ask.C:
		case <-t.Context().Done():
			t.Fatal("the cluster never came up")
		}
	}
	keeper := &shelf{}
	b := onRedis(t, redisdb.Config{URL: server.URL(), Prefix: "m", Partitions: 16, Deadline: 10 * time.Second}, Config{Keeper: keeper})
	if !b.db.Cluster() {
		t.Fatal("no cluster")
	}
	var batch []Acceptance
	fresh := b.fresh(nil)
	for i := range 100 {
		fresh.Snapshot = snap(i%16, fmt.Sprint(i))
		batch = append(batch, fresh)
	}
	for round, want := range []State{AcceptedNew, AlreadyThere} {
		for i, a := range b.Accept(t.Context(), batch) {
			if a.Err != nil || a.State != want {
				t.Fatalf("round %d, run %d: %+v", round, i, a)
			}
		}
	}
	for i := range batch[:16] {
		again := b.fresh(snap(i, batch[i].Snapshot.Trigger.IdempotencyKey))
		b.want(again, BoundTo)
		if r := b.claim(batch[i].Snapshot, claim.NewToken()); r.State != claim.Bound {
			t.Fatalf("%+v", r)
		}
	}
	var holdings []Holding
	var acks []Ack
	token, next := NewToken(), NewToken()
	for p := range 16 {
		for _, l := range b.lease(p, 100, token) {
			holdings, acks = append(holdings, Holding{l.Ref, token}), append(acks, Ack{Ref: l.Ref, Ver: 1})
		}
		b.lapse(p)
	}
	b.held("extend", b.Extend(t.Context(), holdings[:50], time.Hour), HeldDone)
	for p := range 16 {
		b.reap(p)
		if _, err := b.Revive(t.Context(), p, 10); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Sweep(t.Context(), p, 0, 10); err != nil {
			t.Fatal(err)
		}
		b.lease(p, 100, next)
	}
	if len(holdings) != 100 {
		t.Fatalf("%d leases", len(holdings))
	}
	for i, h := range holdings[:20] {
		patch(t, b, h.Ref, run.Patch{Delay: run.Instant(i + 1)})
	}
	for i := range holdings {
		holdings[i].Token = next
	}
	b.held("fail", b.Fail(t.Context(), holdings[90:]), HeldDone)
	var back []Requeue
	for _, h := range holdings[80:90] {
		back = append(back, Requeue{Ref: h.Ref, Token: next, Count: true})
	}
	b.held("requeue", b.Requeue(t.Context(), back), HeldDone)
	for i, a := range b.Ack(t.Context(), acks[:80]) {
		if !a.Done() {
			t.Fatalf("ack %d: %+v", i, a)
		}
	}
	if u := must(b.Total(t.Context())); u.Entries != 10 {
		t.Fatalf("%+v", u)
	}
	if list := must(b.List(t.Context(), env, Page{Limit: 50})); len(list) != 10 {
		t.Fatalf("%v", list)
	}
	all := make([]int, 16)
	for p := range all {
		all[p] = p
	}
	if heads := must(b.Heads(t.Context(), all)); len(heads) != 16 {
		t.Fatalf("%+v", heads)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	kept := slices.Collect(maps.Values(keeper.kept))
	for _, name := range raw.Keys(t.Context(), "m:*").Val() {
		raw.Del(t.Context(), name)
	}
	for round := range 2 {
		for i, r := range b.Restore(t.Context(), kept) {
			if r.Err != nil || r.Run != (round == 0) {
				t.Fatalf("%d: %+v", i, r)
			}
		}
		for i, st := range b.Standing(t.Context(), kept) {
			if st.Stand != Waiting {
				t.Fatalf("%d: %+v", i, st)
			}
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}
