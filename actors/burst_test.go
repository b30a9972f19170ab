package actors_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

// A thousand callers of one key on one node: one id, one of them is told that
// the run is new, and the stores are called three times: claim, settle, publish.
// The claim is held until all have arrived, so that the count is exact.
func TestBurstOfOneKeyCostsThreeCalls(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	const callers = 1000
	held := n.claims.before[claim.Claim].shut()
	answers := make([]<-chan answer, callers)
	answers[0] = n.start(keyed("burst"))
	<-held
	for i := 1; i < callers; i++ {
		answers[i] = n.start(keyed("burst"))
	}
	eventually(t, "all callers wait", func() bool { return n.Stats().Waiting == callers })
	n.claims.before[claim.Claim].open()

	checkOneRun(t, answers)
	s := n.Stats()
	if calls := s.Claims + s.Settles + s.Checks + s.Publishes; calls > 3 {
		t.Errorf("%d store calls for the burst (claims %d, settles %d, checks %d, publishes %d), want at most 3",
			calls, s.Claims, s.Settles, s.Checks, s.Publishes)
	}
}

// The same over three nodes that share the stores, with nothing held.
func TestBurstOverThreeNodesGivesOneRun(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	nodes := []*node{s.node(t), s.node(t), s.node(t)}
	var answers []<-chan answer
	for i := range 1000 {
		answers = append(answers, nodes[i%3].start(keyed("burst")))
	}
	checkOneRun(t, answers)
}

func checkOneRun(t *testing.T, answers []<-chan answer) run.ID {
	t.Helper()
	var id run.ID
	fresh := 0
	for i, a := range answers {
		r := must(t, a)
		if i == 0 {
			id = r.ID()
		}
		if r.ID() != id {
			t.Fatalf("two runs of one key: %s and %s", id, r.ID())
		}
		if !r.Cached() {
			fresh++
		}
		if r.Identity() != run.Confirmed {
			t.Errorf("identity %s without a fault", r.Identity())
		}
	}
	if fresh != 1 {
		t.Errorf("%d callers were told that the run is new, want exactly 1", fresh)
	}
	return id
}

// Many keys at once over three nodes, each from many callers.
func TestManyKeysOverThreeNodes(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	nodes := []*node{s.node(t), s.node(t), s.node(t)}
	const keys, each = 50, 20
	answers := map[string][]<-chan answer{}
	for i := range keys * each {
		key := fmt.Sprint("key-", i%keys)
		answers[key] = append(answers[key], nodes[i%3].start(keyed(key)))
	}
	seen := map[run.ID]string{}
	for key, list := range answers {
		id := checkOneRun(t, list)
		if other := seen[id]; other != "" {
			t.Errorf("keys %s and %s share run %s", key, other, id)
		}
		seen[id] = key
	}
}

// Equal keys of different environments, tasks and kinds never meet, whatever
// bytes they hold (cases 4 and 5).
func TestDifferentIdentitiesNeverMeet(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	base := keyed("a:b")
	otherEnv, otherTask, moved, request := base, base, base, base
	otherEnv.Environment = "env2"
	otherTask.Task = "task2"
	moved.Task, moved.IdempotencyKey = "task:a", "b"
	request.IdempotencyKey, request.RequestKey = "", "a:b"
	seen := map[run.ID]bool{}
	for _, tr := range []run.Trigger{base, otherEnv, otherTask, moved, request} {
		r := n.now(tr)
		if r.Cached() || seen[r.ID()] {
			t.Errorf("%+v met another identity's run", tr.Key())
		}
		seen[r.ID()] = true
	}
}

// Any text that passes validation works as a key.
func TestHostileKeysWork(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	for _, key := range []string{
		":", "{}", "{0}", "}{", "a|b", "\n\r\t", "*?[", "🧨🧨", "e\u0301", "\u202e", "'; drop table runs; --",
		strings.Repeat("k", run.MaxKeyLen), strings.Repeat("🧨", run.MaxKeyLen/2), " ", "p|x|1", "1|r|run_x|1|2|-|-",
	} {
		tr := keyed(key)
		if err := tr.Validate(); err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		first, second := n.now(tr), n.now(tr)
		if first.Cached() || !second.Cached() || first.ID() != second.ID() {
			t.Errorf("%.20q: %s cached=%v then %s cached=%v", key, first.ID(), first.Cached(), second.ID(), second.Cached())
		}
	}
}

// Triggers without any key always make a run, and are never cached.
func TestKeylessTriggersAreAllNew(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	tr := keyed("")
	var answers []<-chan answer
	for range 300 {
		answers = append(answers, n.start(tr))
	}
	seen := map[run.ID]bool{}
	for _, a := range answers {
		r := must(t, a)
		if seen[r.ID()] || r.Cached() {
			t.Fatalf("keyless trigger answered %s, cached %v", r.ID(), r.Cached())
		}
		seen[r.ID()] = true
	}
	if s := n.Stats(); s.Claims != 0 {
		t.Errorf("%d claims for triggers without a key", s.Claims)
	}
}

// A transport retry of one call answers the same run and is not cached, with
// and without an idempotency key (cases 3 and 110).
func TestTransportRetryIsTheSameCall(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	for name, tr := range map[string]run.Trigger{
		"request key alone": {Organisation: "org", Environment: "env", Task: "task", RequestKey: "r-1"},
		"with a key":        {Organisation: "org", Environment: "env", Task: "task", RequestKey: "r-2", IdempotencyKey: "k"},
	} {
		first, again, elsewhere := a.now(tr), a.now(tr), b.now(tr)
		if first.ID() != again.ID() || first.ID() != elsewhere.ID() {
			t.Errorf("%s: a retry made another run", name)
		}
		if first.Cached() || again.Cached() || elsewhere.Cached() {
			t.Errorf("%s: a retry of the same call was answered as cached", name)
		}
		tr.RequestKey = "another call"
		if other := a.now(tr); tr.IdempotencyKey != "" && (!other.Cached() || other.ID() != first.ID()) {
			t.Errorf("%s: another call of the key: cached %v", name, other.Cached())
		}
	}
}

// Organisations that are not enrolled make no Redis call at all (case 19).
func TestNotEnrolledMakesNoClaim(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	tr := keyed("not enrolled")
	first, err := n.Trigger(t.Context(), &tr, false, snapshotOf(tr))
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.Trigger(t.Context(), &tr, false, snapshotOf(tr))
	if err != nil {
		t.Fatal(err)
	}
	if first.ID() != second.ID() || first.Cached() || !second.Cached() {
		t.Errorf("%s %v, then %s %v", first.ID(), first.Cached(), second.ID(), second.Cached())
	}
	if s := n.Stats(); s.RedisCalls != 0 {
		t.Errorf("%d calls to Redis", s.RedisCalls)
	}
}

// A repeat with another payload answers the run and says that it differs (case 133).
func TestPayloadMismatchIsReported(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	tr := keyed("payload")
	first := n.now(tr)
	same := n.now(tr)
	tr.Payload = []byte(`{"other":true}`)
	other := n.now(tr)
	if !first.PayloadMatch() || !same.PayloadMatch() || other.PayloadMatch() || other.ID() != first.ID() {
		t.Errorf("payload match: first %v, same %v, other %v", first.PayloadMatch(), same.PayloadMatch(), other.PayloadMatch())
	}
}
