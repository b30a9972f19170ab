package actors_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

func bounced(key string) run.Trigger {
	t := keyed(key)
	t.Payload, t.PayloadType = []byte(key), "text/plain"
	t.Debounce = &run.Debounce{Key: "d", Delay: time.Hour, Trailing: true}
	return t
}

// What comes under one debounce key while a batch is under way is the next batch,
// whatever its own keys are. The first batch is held until all have come, so that
// the count is exact. Triggers that are not debounced go past it.
func TestABurstOfOneDebounceKeyIsTwoBatches(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	const callers = 300
	held := n.runs.beforeSettle.shut()
	answers := []<-chan answer{n.start(bounced("k0"))}
	<-held
	for i := 1; i < callers; i++ {
		answers = append(answers, n.start(bounced(fmt.Sprint("k", i))))
	}
	eventually(t, "all are on their way to Postgres", func() bool { return n.Stats().Settles == callers })
	n.runs.beforeSettle.open()
	first := must(t, answers[0])
	for i, a := range answers[1:] {
		if r := must(t, a); r.ID() != first.ID() || r.Cached() {
			t.Errorf("trigger %d after it is %s, cached %v; want %s", i, r.ID(), r.Cached(), first.ID())
		}
	}
	if s := n.Stats(); s.SettleCalls != 2 {
		t.Errorf("%d triggers took %d batches, want 2", callers, s.SettleCalls)
	}
}

// A node dies when its push is committed and nobody was told. Whoever tries again on
// another node has the same run, and the trigger has pushed once.
func TestANodeDiesAfterItsPush(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	s.claimTTL = time.Second
	dying, other := s.node(t), s.node(t)
	first := other.now(bounced("k0"))
	committed := dying.runs.afterSettle.shut()
	_ = dying.start(bounced("k1"))
	<-committed
	// Its claim outlives it, but nobody renews it.
	dying.claims.before[claim.Renew].shut()
	if r := must(t, other.start(bounced("k1"))); r.ID() != first.ID() || !r.Cached() {
		t.Errorf("the retry is %s, cached %v; want %s from before", r.ID(), r.Cached(), first.ID())
	}
	if r := other.now(bounced("k2")); r.ID() != first.ID() {
		t.Errorf("the next is %s, want %s", r.ID(), first.ID())
	}
}
