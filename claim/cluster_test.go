package claim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
)

// The scripts on a cluster of three masters: keys of a call are declared and of
// one slot, and a batch over many partitions still is one Do (case 128).
func TestCluster(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Cluster(t)
	b := onRedis(t, redisdb.Config{URL: url, Prefix: prefix, Partitions: 64, Deadline: 10 * time.Second})
	raw := b.raw
	caps, err := b.db.Open(t.Context())
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
		if _, err := b.Reset(t.Context(), op.Partition, op.Hash, cut); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range b.Do(t.Context(), []Op{resets[0], resets[5]}) {
		if want := []State{Lost, Done}[i]; r.State != want {
			t.Fatalf("after the reset: %+v", r)
		}
	}
	// The entry of a bound run is found in the slot of its key's record.
	for i, op := range resets[6:40] {
		k, id := key{op.Partition, op.Hash}, newID()
		b.put(k, bound(id, cut-hour, cut+hour))
		b.want(k.op(Claim, mine), Claimed) // no entry: healed
		b.put(k, bound(id, cut-hour, cut+hour))
		b.buffer(k, id, "q", cut+hour)
		b.want(k.op(Claim, mine), Bound)
		if cleared, err := b.Reset(t.Context(), op.Partition, op.Hash, cut); err != nil || cleared != (Cleared{Run: id}) {
			t.Fatalf("reset %d: %+v %v", i, cleared, err)
		}
	}
	// The server does check: keys of two slots in one call are refused.
	err = raw.EvalSha(t.Context(), verbScripts[Renew].SHA(), []string{b.names.Record(1, claims[0].Hash), b.names.Record(2, claims[0].Hash)}).Err()
	if !redis.HasErrorPrefix(err, "CROSSSLOT") {
		t.Fatalf("two slots in one call: %v", err)
	}
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
	b := onRedis(t, redisdb.Config{URL: "redis://mollifier:secret@" + server.URL()[at+1:], Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second})
	b.raw = raw
	if caps, err := b.db.Open(t.Context()); err != nil || caps.Fsync != "" {
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
	if _, err := b.Reset(t.Context(), k.partition, k.hash, accepted+1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Clock(t.Context(), k.partition, k.hash); err != nil {
		t.Fatal(err)
	}
	b.want(k.op(Claim, mine), Claimed)
	b.want(k.op(Release, mine), Done)
}
