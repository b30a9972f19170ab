package claim

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// A batch bigger than one script call, with bad ops and repeated keys in it.
func TestBigBatch(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	mine := NewToken()
	var ops []Op
	for i := range 3*maxKeys + 7 {
		k := keyOf(fmt.Sprint(i))
		k.partition = i % partitions
		ops = append(ops, k.op(Claim, mine))
	}
	ops = append(ops,
		keyOf("0").op(Claim, NewToken()), // the same key again: pending
		Op{Verb: Claim, Hash: keyOf("x").hash},
		Op{Verb: Claim, Hash: keyOf("x").hash, Token: mine, Partition: partitions},
		Op{Verb: Claim, Hash: keyOf("x").hash, Token: mine, Partition: -1},
		Op{Verb: 9, Hash: keyOf("x").hash, Token: mine},
		Op{Token: mine},
		keyOf("x").op(Publish, mine),
		keyOf("x").publish(mine, newID(), 0, 1, false),
		keyOf("x").publish(mine, newID(), 1, redisdb.MaxInstant+1, false),
	)
	ops[3*maxKeys+7].Partition = 0
	replies := b.Do(t.Context(), ops)
	if len(replies) != len(ops) {
		t.Fatalf("%d replies for %d ops", len(replies), len(ops))
	}
	for i, r := range replies {
		switch {
		case i < 3*maxKeys+7 && (r.Err != nil || r.State != Claimed):
			t.Fatalf("op %d: %+v", i, r)
		case i == 3*maxKeys+7 && r.State != Pending:
			t.Fatalf("op %d: %+v", i, r)
		case i > 3*maxKeys+7 && (r.Err == nil || r.State != 0 || redisdb.OutcomeUnknown(r.Err)):
			t.Fatalf("op %d: %+v", i, r)
		}
	}
	if got := b.Do(t.Context(), nil); got != nil {
		t.Fatalf("no ops: %+v", got)
	}
}

// Publish runs before claim, so that a flight that ends and the one that
// follows it fit in one batch.
func TestOrderWithinBatch(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	at := b.want(k.op(Claim, mine), Claimed).AcceptedAt
	id := newID()
	replies := b.Do(t.Context(), []Op{k.op(Claim, NewToken()), k.publish(mine, id, at, at+hour, false)})
	if replies[0].State != Resolved || replies[0].Run != id || replies[1].State != Done {
		t.Fatalf("%+v", replies)
	}
}

// Case 16: of all who saw the same run lose its key, one takes it.
func TestOneOfTheLosersWins(t *testing.T) {
	t.Parallel()
	b, k, dead := onShared(t), keyOf("a"), newID()
	now := b.now()
	b.put(k, resolved(dead, now, now+hour))
	const n = 50
	states := make(chan State, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			op := k.op(Claim, NewToken())
			op.Observed = dead
			states <- b.Do(t.Context(), []Op{op})[0].State
		})
	}
	wg.Wait()
	close(states)
	count := map[State]int{}
	for s := range states {
		count[s]++
	}
	if count[Claimed] != 1 || count[Pending] != n-1 {
		t.Fatalf("states %v", count)
	}
}

// Case 4: whatever a customer writes, no name in Redis shows it, and two keys
// never share a record.
func TestNothingOfTheCustomerInRedis(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	texts := []string{
		"marker:a", "marker:a:b", "{marker}", "}marker{0}", "marker|1|p", "marker' .. redis.call('FLUSHALL') .. '",
		"marker\r\nFLUSHALL\r\n", "märker\U0001F600marker", strings.Repeat("marker", 341),
	}
	seen := map[string]bool{}
	for _, task := range texts {
		for _, text := range texts {
			k := key{partition: 3, hash: run.Key{Kind: run.KindIdempotency, Environment: "marker", Task: task, Text: text}.Hash()}
			mine := NewToken()
			at := b.want(k.op(Claim, mine), Claimed).AcceptedAt
			b.want(k.publish(mine, newID(), at, at+hour, false), Done)
			seen[b.redisKey(k)] = true
		}
	}
	if len(seen) != len(texts)*len(texts) {
		t.Fatalf("%d records for %d keys", len(seen), len(texts)*len(texts))
	}
	keys := stacktest.Keys(b.t, b.raw, b.cfg.Prefix+"*")
	if len(keys) != len(seen)+1 {
		t.Fatalf("%d names, want %d and the deployment's", len(keys), len(seen))
	}
	for _, name := range keys {
		value := b.raw.Get(t.Context(), name).Val()
		if strings.Contains(strings.ToLower(name+value), "marker") || strings.Contains(name+value, "FLUSHALL") {
			t.Errorf("%q holds a customer's text: %q", name, value)
		}
		if name != b.names.Deployment() && !seen[name] {
			t.Errorf("unexpected name %q", name)
		}
	}
}
