package actors_test

import (
	"errors"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

var errGone = &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres", Err: errors.New("injected")}

// A node that can not ask Postgres takes a key into the buffer that a run in
// Postgres holds. The answer is provisional, and the drain has the last word:
// the run becomes another name of the holder, and both names resolve to it.
func TestDivertedRunBecomesAnAlias(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	holder := a.now(keyed("k"))
	s.forget(t, keyOf(keyed("k")))
	b.runs.set(func(r *faultyRuns) { r.blind, r.failSettle, r.failLook = true, errGone, errGone })
	diverted := b.now(keyed("k"))
	if diverted.ID() == holder.ID() || diverted.State() != run.Buffered || diverted.Identity() != run.Provisional || diverted.Cached() {
		t.Errorf("%s, %s, %s, cached %v", diverted.ID(), diverted.State(), diverted.Identity(), diverted.Cached())
	}
	if again := a.now(keyed("k")); again.ID() != diverted.ID() && again.ID() != holder.ID() {
		t.Errorf("meanwhile the key answers %s", again.ID())
	}
	rows := a.drainKey(keyed("k"))
	if len(rows) != 1 || rows[0].Outcome != runstore.Aliased || rows[0].Canonical != holder.ID() {
		t.Fatalf("drained %+v, want an alias of %s", rows, holder.ID())
	}
	found, err := a.pg.Runs(t.Context(), "env", []run.ID{holder.ID(), diverted.ID()})
	if err != nil || found[diverted.ID()].Canonical != holder.ID() || found[holder.ID()].Canonical != holder.ID() {
		t.Errorf("%+v, %v", found, err)
	}
	if again := a.now(keyed("k")); again.Canonical() != holder.ID() || !again.Cached() || again.Identity() != run.Confirmed {
		t.Errorf("then %s of %s, cached %v, %s", again.ID(), again.Canonical(), again.Cached(), again.Identity())
	}
	if n := s.realRuns(t); n != 1 {
		t.Errorf("%d runs", n)
	}
	assertIntervals(t, s)
}

// A look that fails while Postgres is merely in trouble is repeated, and then
// the trigger is refused: nothing is buffered without having asked.
func TestLookIsSkippedOnlyWhenPostgresIsGone(t *testing.T) {
	t.Parallel()
	s := gated(t)
	n := s.node(t)
	n.stay()
	n.runs.set(func(r *faultyRuns) { r.failLook = errGone })
	if a := n.trigger(t.Context(), keyed("k")); !errors.Is(a.err, run.ErrUnavailable) {
		t.Errorf("%+v", a)
	}
	if left := n.lease(keyed("k")); len(left) != 0 {
		t.Errorf("%d entries", len(left))
	}
	n.runs.set(func(r *faultyRuns) { r.blind = true })
	if r := n.now(keyed("k")); r.State() != run.Buffered || r.Identity() != run.Provisional {
		t.Errorf("%s, %s", r.State(), r.Identity())
	}
}

// Neither store takes the run: the trigger is refused after one attempt at
// each, and once they answer again the key makes one run.
func TestNeitherStoreTakesTheRun(t *testing.T) {
	t.Parallel()
	s := gated(t)
	n := s.node(t)
	n.runs.set(func(r *faultyRuns) { r.blind, r.failSettle = true, errGone })
	n.buffer.set(func(b *faultyBuffer) { b.fail = errLost })
	before := n.Stats()
	for _, key := range []string{"k", ""} {
		if a := n.trigger(t.Context(), keyed(key)); !errors.Is(a.err, run.ErrUnavailable) {
			t.Errorf("%q: %+v", key, a)
		}
	}
	after := n.Stats()
	if settles, accepts := after.Settles-before.Settles, after.Accepts-before.Accepts; settles > 2 || accepts > 2 {
		t.Errorf("%d settles and %d accepts for two triggers", settles, accepts)
	}
	n.runs.set(func(r *faultyRuns) { r.blind, r.failSettle = false, nil })
	n.buffer.set(func(b *faultyBuffer) { b.fail = nil })
	r := n.now(keyed("k"))
	if again := n.now(keyed("k")); again.ID() != r.ID() || !again.Cached() || r.Identity() != run.Confirmed {
		t.Errorf("%s (%s), then %s, cached %v", r.ID(), r.Identity(), again.ID(), again.Cached())
	}
	if n := s.realRuns(t); n != 1 {
		t.Errorf("%d runs", n)
	}
}
