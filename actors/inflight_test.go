package actors_test

import (
	"errors"
	"testing"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

func wanting(policy run.InFlight, key, payload string) run.Trigger {
	t := keyed(key)
	t.InFlight, t.Payload = policy, []byte(payload)
	return t
}

func refusedFor(t *testing.T, from <-chan answer) *run.InFlightError {
	t.Helper()
	a := <-from
	var refused *run.InFlightError
	if !errors.As(a.err, &refused) || !errors.Is(a.err, run.ErrInFlight) {
		t.Fatalf("answered %v, want ErrInFlight", a.err)
	}
	return refused
}

// Each policy while another trigger of the key is being settled, on its node and on
// another one; and afterwards, when the key has its run.
func TestInFlightPolicies(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	owner := a.start(wanting(run.InFlightConflict, "k", "1"))
	<-held
	if e := refusedFor(t, a.start(wanting(run.InFlightConflict, "k", "2"))); !e.OtherPayload {
		t.Error("its payload is another one, and that is known")
	}
	if e := refusedFor(t, a.start(wanting(run.InFlightConflict, "k", "1"))); e.OtherPayload {
		t.Error("its payload is the same")
	}
	if e := refusedFor(t, b.start(wanting(run.InFlightConflict, "k", "2"))); e.OtherPayload {
		t.Error("nothing is known of the payload of another node's trigger")
	}
	var waiting []<-chan answer
	for _, n := range []*node{a, b} {
		waiting = append(waiting, n.start(wanting(run.InFlightShare, "k", "1")), n.start(wanting(run.InFlightWait, "k", "1")))
	}
	eventually(t, "the other node waits", func() bool { return b.claims.counted(claim.Claim) >= 2 })
	a.runs.beforeSettle.open()
	r := must(t, owner)
	if r.Cached() || !r.Created() {
		t.Errorf("the owner's run: cached %v", r.Cached())
	}
	for i, w := range waiting {
		if got := must(t, w); got.ID() != r.ID() || !got.Cached() || got.Created() {
			t.Errorf("waiter %d: %s, cached %v; want %s", i, got.ID(), got.Cached(), r.ID())
		}
	}
	for _, n := range []*node{a, b} {
		if got := n.now(wanting(run.InFlightConflict, "k", "2")); got.ID() != r.ID() || got.PayloadMatch() {
			t.Errorf("the key has its run: %s, match %v", got.ID(), got.PayloadMatch())
		}
	}
	assertIntervals(t, s)
}

// A trigger that waits does not fail with the one that it waits for.
func TestInFlightWaitOutlivesAFailure(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	n := s.node(t)
	held := n.runs.beforeSettle.shut()
	owner := n.start(wanting("", "k", "1"))
	<-held
	waiting := n.start(wanting(run.InFlightWait, "k", "2"))
	eventually(t, "both are in", func() bool { return n.Stats().Triggers == 2 })
	n.runs.set(func(f *faultyRuns) { f.failSettle = errors.New("connection refused") })
	n.claims.before[claim.Claim].shut()
	n.runs.beforeSettle.open()
	if a := <-owner; a.err == nil {
		t.Fatal("the owner's settle did not fail")
	}
	n.runs.set(func(f *faultyRuns) { f.failSettle = nil })
	n.claims.before[claim.Claim].open()
	if r := must(t, waiting); r.Cached() || !r.Created() {
		t.Errorf("cached %v, created %v", r.Cached(), r.Created())
	}
}

// Of many that all ask for a conflict, on three nodes, one makes the run; the others
// are refused, or find it.
func TestInFlightConflictInABurst(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	nodes := []*node{s.node(t), s.node(t), s.node(t)}
	var answers []<-chan answer
	for i := range 300 {
		answers = append(answers, nodes[i%3].start(wanting(run.InFlightConflict, "burst", "x")))
	}
	var id run.ID
	made, refused := 0, 0
	for _, from := range answers {
		a := <-from
		switch {
		case errors.Is(a.err, run.ErrInFlight):
			refused++
			continue
		case a.err != nil:
			t.Fatal(a.err)
		case a.result.Created():
			made++
		}
		if id.IsZero() {
			id = a.result.ID()
		}
		if a.result.ID() != id {
			t.Errorf("two runs: %s and %s", id, a.result.ID())
		}
	}
	if made != 1 {
		t.Errorf("%d made a run, %d were refused", made, refused)
	}
}
