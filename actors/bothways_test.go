package actors_test

import (
	"testing"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

// What a key answers while nobody knows for sure where its run is.

// parts takes the three steps of a reset apart: the clock, the slot, the record.
func (n *node) parts(tr run.Trigger) (slot, record func()) {
	n.t.Helper()
	key := keyOf(tr)
	cut, err := n.redis.Clock(n.t.Context(), partitionOf(key), key.Hash())
	if err != nil {
		n.t.Fatal(err)
	}
	return func() {
			n.t.Helper()
			if cut, _, err = n.pg.Reset(n.t.Context(), key.Environment, key.Hash(), cut); err != nil {
				n.t.Fatal(err)
			}
		}, func() {
			n.t.Helper()
			if _, err := n.redis.Reset(n.t.Context(), partitionOf(key), key.Hash(), cut); err != nil {
				n.t.Fatal(err)
			}
		}
}

// A reset drops a claim whose settle is under way; another node takes the key
// into the buffer on the fast path; then the settle arrives. It is stale: were
// its acceptance raised above the cut instead, there would be two runs of one
// interval, and one of them an alias although nothing has failed.
func TestSettleAfterResetAndFastPath(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	late := a.start(keyed("k"))
	reached(t, held)
	b.stay()
	b.refresh()
	b.reset(keyed("k"))
	buffered := b.now(keyed("k"))
	if buffered.State() != run.Buffered || buffered.Cached() {
		t.Fatalf("%s, cached %v", buffered.State(), buffered.Cached())
	}
	a.runs.beforeSettle.open()
	if r := must(t, late); r.ID() != buffered.ID() || !r.Cached() {
		t.Errorf("the late owner got %s (cached %v), want %s", r.ID(), r.Cached(), buffered.ID())
	}
	b.drainKey(keyed("k"))
	if real, alias := s.realRuns(t), s.aliases(t); real != 1 || alias != 0 {
		t.Errorf("%d runs, %d aliases", real, alias)
	}
	assertIntervals(t, s)
}

// The settle arrives between the last two steps of the reset: the claim still
// stands, and is taken anew from the cut on. What it creates belongs to the time
// after the reset, and the rest of the reset leaves it alone.
func TestSettleBetweenTheStepsOfAReset(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	held, publish := a.runs.beforeSettle.shut(), a.claims.before[claim.Publish].shut()
	owner := a.start(keyed("k"))
	reached(t, held)
	slot, record := b.parts(keyed("k"))
	slot()
	a.runs.beforeSettle.open()
	reached(t, publish)
	record()
	a.claims.before[claim.Publish].open()
	r := must(t, owner)
	if again := b.now(keyed("k")); again.ID() != r.ID() || !again.Cached() {
		t.Errorf("%s, then %s, cached %v", r.ID(), again.ID(), again.Cached())
	}
	if claims := a.claims.counted(claim.Claim); claims != 2 {
		t.Errorf("%d claims, want one and one anew", claims)
	}
	if real, alias := s.realRuns(t), s.aliases(t); real != 1 || alias != 0 {
		t.Errorf("%d runs, %d aliases", real, alias)
	}
	assertIntervals(t, s)
}

// The reply to an accept is lost, and the run is settled. It fails in Postgres
// while its entry still waits in the buffer: the key is free all the same.
func TestAcceptReplyLostThenFailed(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	a.stay()
	a.buffer.set(func(f *faultyBuffer) { f.lose = errLost })
	r := a.now(keyed("k"))
	if r.State() != run.Materialised {
		t.Fatalf("%s", r.State())
	}
	a.buffer.set(func(f *faultyBuffer) { f.lose = nil })
	eventually(t, "the buffer knows that the run is in Postgres, too", func() bool {
		got := a.store.Get(t.Context(), []buffer.Ref{{Environment: "env", ID: r.ID()}})[0]
		return got.Found && got.Entry.Status == buffer.Returned
	})
	if again := b.now(keyed("k")); again.ID() != r.ID() || !again.Cached() || again.Identity() != run.Confirmed {
		t.Errorf("meanwhile %s, cached %v, %s", again.ID(), again.Cached(), again.Identity())
	}
	a.finish(r.ID(), run.Failed)
	second := b.now(keyed("k"))
	if second.ID() == r.ID() || second.Cached() {
		t.Errorf("the failed run %s was answered", r.ID())
	}
	a.drainKey(keyed("k"))
	if again := a.now(keyed("k")); again.ID() != second.ID() {
		t.Errorf("after the drain %s, want %s", again.ID(), second.ID())
	}
	if real, alias := s.realRuns(t), s.aliases(t); real != 2 || alias != 0 {
		t.Errorf("%d runs, %d aliases", real, alias)
	}
	assertIntervals(t, s)
}

// The reply to a settle is lost, and Postgres is gone: the run is diverted under
// the same id. It had landed, and fails there before its entry is drained.
func TestSettleReplyLostThenDivertedThenFailed(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	a.runs.set(func(r *faultyRuns) { r.panicAfter, r.blind = true, true })
	r := a.now(keyed("k"))
	if r.State() != run.Buffered || r.Identity() != run.Provisional {
		t.Fatalf("%s, %s", r.State(), r.Identity())
	}
	if again := b.now(keyed("k")); again.ID() != r.ID() || !again.Cached() || again.Identity() != run.Confirmed {
		t.Errorf("another node: %s, cached %v, %s", again.ID(), again.Cached(), again.Identity())
	}
	b.finish(r.ID(), run.Failed)
	second := b.now(keyed("k"))
	if second.ID() == r.ID() || second.Cached() {
		t.Errorf("the failed run %s was answered", r.ID())
	}
	b.drainKey(keyed("k"))
	if real, alias := s.realRuns(t), s.aliases(t); real != 2 || alias != 0 {
		t.Errorf("%d runs, %d aliases", real, alias)
	}
	assertIntervals(t, s)
}

// A key was bound while Postgres could not be asked. Until somebody has asked,
// or the drain has, the binding is provisional for everyone.
func TestBindingMadeBlindIsProvisional(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	blind := func(n *node, yes bool) { n.runs.set(func(r *faultyRuns) { r.blind = yes }) }
	blind(a, true)
	blind(b, true)
	a.runs.set(func(r *faultyRuns) { r.failSettle = errGone })
	first := a.now(keyed("k"))
	if first.Identity() != run.Provisional || first.State() != run.Buffered {
		t.Fatalf("%s, %s", first.Identity(), first.State())
	}
	for _, n := range []*node{a, b} {
		if again := n.now(keyed("k")); again.ID() != first.ID() || again.Identity() != run.Provisional || !again.Cached() {
			t.Errorf("while blind: %s, %s, cached %v", again.ID(), again.Identity(), again.Cached())
		}
	}
	blind(b, false)
	if again := b.now(keyed("k")); again.ID() != first.ID() || again.Identity() != run.Confirmed || !again.Cached() {
		t.Errorf("after a look: %s, %s, cached %v", again.ID(), again.Identity(), again.Cached())
	}
}

// The same, but a run in Postgres holds the key: whoever can ask is answered
// with that one, which the drain is going to make the other an alias of.
func TestBindingMadeBlindYieldsToTheHolder(t *testing.T) {
	t.Parallel()
	for _, failed := range []bool{false, true} {
		s := gated(t)
		a, b := s.node(t), s.node(t)
		holder := b.now(keyed("k"))
		s.forget(t, keyOf(keyed("k")))
		a.runs.set(func(r *faultyRuns) { r.blind, r.failSettle = true, errGone })
		blind := a.now(keyed("k"))
		if blind.ID() == holder.ID() || blind.Identity() != run.Provisional {
			t.Fatalf("%s, %s", blind.ID(), blind.Identity())
		}
		want := holder.ID()
		if failed {
			b.finish(holder.ID(), run.Failed)
		}
		next := b.now(keyed("k"))
		if failed == next.Cached() || next.ID() == blind.ID() || next.Identity() != run.Confirmed || !failed && next.ID() != want {
			t.Errorf("failed %v: %s, cached %v, %s", failed, next.ID(), next.Cached(), next.Identity())
		}
		b.drainKey(keyed("k"))
		if again := b.now(keyed("k")); again.Canonical() != next.ID() {
			t.Errorf("failed %v: after the drain %s, want %s", failed, again.Canonical(), next.ID())
		}
		assertIntervals(t, s)
	}
}
