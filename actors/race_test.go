package actors_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

// Interleavings of one key, replayed on the real stores: each test stops one
// pipeline at one point, lets something else happen, and lets it go.

// A reset that meets a claim before its settle: the run is created after the
// reset, and a trigger that comes later is answered with it.
func TestResetBetweenClaimAndSettle(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	first := a.start(keyed("k"))
	<-held
	if cleared := a.reset(keyed("k")); !cleared.IsZero() {
		t.Errorf("reset cleared %s, but nothing was settled yet", cleared)
	}
	a.runs.beforeSettle.open()
	r := must(t, first)
	later := b.now(keyed("k"))
	if later.ID() != r.ID() || !later.Cached() {
		t.Errorf("after the reset: %s, then %s (cached %v)", r.ID(), later.ID(), later.Cached())
	}
	assertIntervals(t, s)
}

// A reset between the settle and the publish: the publish must not bring the
// reset run back, and those who came after the settle was posted are not
// answered with it.
func TestResetBetweenSettleAndPublish(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	held := a.claims.before[claim.Publish].shut()
	first := must(t, a.start(keyed("k")))
	<-held
	if cleared := b.reset(keyed("k")); cleared != first.ID() {
		t.Errorf("reset cleared %s, want %s", cleared, first.ID())
	}
	late := a.start(keyed("k")) // arrives after the reset, while the flight publishes
	elsewhere := b.now(keyed("k"))
	a.claims.before[claim.Publish].open()
	r := must(t, late)
	if r.ID() == first.ID() || elsewhere.ID() == first.ID() {
		t.Errorf("the reset run %s was answered again: %s, %s", first.ID(), r.ID(), elsewhere.ID())
	}
	if r.ID() != elsewhere.ID() {
		t.Errorf("two runs after the reset: %s and %s", r.ID(), elsewhere.ID())
	}
	assertIntervals(t, s)
}

// A claim that came after the reset's cut, but found the run before the reset
// reached Postgres: it is flagged, and publishing the found run drops the claim
// instead of resurrecting the run.
func TestResetFlagsAClaimThatFoundTheOldRun(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	old := a.now(keyed("k"))
	key := keyOf(keyed("k"))
	p := partitionOf(key)
	cut, err := b.redis.Clock(t.Context(), p, key.Hash())
	if err != nil {
		t.Fatal(err)
	}
	// Make the claim necessary again: the record forgets the run.
	s.forget(t, key)
	held := a.claims.before[claim.Publish].shut()
	found := must(t, a.start(keyed("k")))
	<-held
	if found.ID() != old.ID() || !found.Cached() {
		t.Fatalf("found %s, want %s", found.ID(), old.ID())
	}
	cut, cleared, err := b.pg.Reset(t.Context(), key.Environment, key.Hash(), cut)
	if err != nil || cleared != old.ID() {
		t.Fatalf("reset: %s, %v", cleared, err)
	}
	if _, err := b.redis.Reset(t.Context(), p, key.Hash(), cut); err != nil {
		t.Fatal(err)
	}
	a.claims.before[claim.Publish].open()
	if r := b.now(keyed("k")); r.ID() == old.ID() || r.Cached() {
		t.Errorf("after the reset: %s, cached %v; the old run is %s", r.ID(), r.Cached(), old.ID())
	}
	assertIntervals(t, s)
}

// The resolved record is no answer by itself: the run may have failed since.
// Then the key is claimed again, replacing exactly that run, and of many
// concurrent triggers one creates the new run (case 16).
func TestStatusClearingWithConcurrentTriggers(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	nodes := []*node{s.node(t), s.node(t), s.node(t)}
	first := nodes[0].now(keyed("k"))
	for _, status := range []run.Status{run.Failed, run.Crashed, run.SystemFailure, run.TimedOut} {
		nodes[0].finish(first.ID(), status)
		var answers []<-chan answer
		for i := range 60 {
			answers = append(answers, nodes[i%3].start(keyed("k")))
		}
		id := checkOneRun(t, answers)
		if id == first.ID() {
			t.Fatalf("%s: the ended run %s was answered", status, id)
		}
		if again := nodes[1].now(keyed("k")); again.ID() != id || !again.Cached() {
			t.Errorf("%s: %s after %s", status, again.ID(), id)
		}
		first = nodes[0].now(keyed("k"))
	}
	assertIntervals(t, s)
}

// CANCELED and COMPLETED keep the key.
func TestStatusesThatKeepTheKey(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	for _, status := range []run.Status{run.Canceled, run.Completed} {
		tr := keyed(string(status))
		first := n.now(tr)
		n.finish(first.ID(), status)
		if again := n.now(tr); again.ID() != first.ID() || !again.Cached() {
			t.Errorf("%s cleared the key", status)
		}
	}
}

// A failure clears neither the transport key nor its promise.
func TestRequestKeyIsNotClearedByFailure(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	tr := run.Trigger{Organisation: "org", Environment: "env", Task: "task", RequestKey: "r"}
	first := n.now(tr)
	n.finish(first.ID(), run.Failed)
	if again := n.now(tr); again.ID() != first.ID() || again.Cached() {
		t.Errorf("retry after failure: %s cached %v, want %s", again.ID(), again.Cached(), first.ID())
	}
}

// Resets in a storm of triggers: every caller that starts after a reset has
// returned gets a run that no reset before it has cleared, and the intervals of
// the runs never overlap.
func TestResetsInAStorm(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	nodes := []*node{s.node(t), s.node(t), s.node(t)}
	cleared := map[run.ID]bool{}
	for round := range 8 {
		var before []<-chan answer
		for i := range 30 {
			before = append(before, nodes[i%3].start(keyed("k")))
		}
		if id := nodes[round%3].reset(keyed("k")); !id.IsZero() {
			cleared[id] = true
		}
		var after []<-chan answer
		for i := range 30 {
			after = append(after, nodes[i%3].start(keyed("k")))
		}
		for _, a := range before {
			must(t, a)
		}
		for _, a := range after {
			if r := must(t, a); cleared[r.ID()] {
				t.Fatalf("round %d: %s was answered after the reset that cleared it", round, r.ID())
			}
		}
	}
	assertIntervals(t, s)
}

// An expired key gives one new run, also when many ask at once; the short time
// to live does not shorten the claim (case 15).
func TestExpiryWithConcurrentTriggers(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	nodes := []*node{s.node(t), s.node(t), s.node(t)}
	tr := keyed("k")
	tr.KeyTTL = time.Hour
	first := nodes[0].now(tr)
	s.expire(t, tr.Key(), first.ID())
	var answers []<-chan answer
	for i := range 90 {
		answers = append(answers, nodes[i%3].start(tr))
	}
	if id := checkOneRun(t, answers); id == first.ID() {
		t.Error("an expired key answered its old run")
	}
	assertIntervals(t, s)
}

// The owner of a claim dies mid-flight: nobody publishes or releases. Its
// claim runs out, and a waiter on another node takes over.
func TestOwnerDiesMidFlight(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	s.claimTTL = 300 * time.Millisecond
	dead, alive := s.node(t), s.node(t)
	held := dead.runs.beforeSettle.shut()
	before := dead.claims.before[claim.Renew].shut() // the dead do not renew
	lost := dead.start(keyed("k"))
	<-held
	<-before
	r := alive.now(keyed("k"))
	if r.Cached() {
		t.Errorf("the taker-over was told that its run is old")
	}
	// The dead wakes up: it must find the successor's run and touch nothing.
	dead.openAll()
	if late := must(t, lost); late.ID() != r.ID() || !late.Cached() {
		t.Errorf("the late owner answered %s (cached %v), the successor %s", late.ID(), late.Cached(), r.ID())
	}
	if again := alive.now(keyed("k")); again.ID() != r.ID() {
		t.Errorf("the late owner replaced %s by %s", r.ID(), again.ID())
	}
	assertIntervals(t, s)
}

// A waiter on another node is woken by the publish, not by its poll.
func TestWaiterIsWokenByPublish(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	owner := a.start(keyed("k"))
	<-held
	waiter := b.start(keyed("k"))
	eventually(t, "the waiter has claimed", func() bool { return b.claims.counted(claim.Claim) >= 1 })
	a.runs.beforeSettle.open()
	if o, w := must(t, owner), must(t, waiter); o.ID() != w.ID() || o.Cached() || !w.Cached() {
		t.Errorf("owner %s (cached %v), waiter %s (cached %v)", o.ID(), o.Cached(), w.ID(), w.Cached())
	}
}

// A live pipeline that is slow renews its claim: nobody takes it over.
func TestSlowPipelineRenewsItsClaim(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	s.claimTTL = 600 * time.Millisecond
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	owner := a.start(keyed("k"))
	<-held
	waiter := b.start(keyed("k"))
	eventually(t, "renewed four times, more than a whole claim's life", func() bool {
		return a.claims.counted(claim.Renew) >= 4
	})
	a.runs.beforeSettle.open()
	if o, w := must(t, owner), must(t, waiter); o.Cached() || !w.Cached() || o.ID() != w.ID() {
		t.Errorf("owner %s (cached %v), waiter %s (cached %v)", o.ID(), o.Cached(), w.ID(), w.Cached())
	}
}

// The reply to a claim is lost: the trigger settles in Postgres alone, says so,
// and the claim that was taken all the same does not hold its key up.
func TestClaimReplyLost(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	a.claims.loseReplies(claim.Claim, context.DeadlineExceeded)
	r := a.now(keyed("k"))
	if r.Identity() != run.Provisional || r.Cached() {
		t.Errorf("identity %s, cached %v", r.Identity(), r.Cached())
	}
	a.claims.loseReplies(claim.Claim, nil)
	for _, n := range []*node{a, b} {
		if again := n.now(keyed("k")); again.ID() != r.ID() || !again.Cached() || again.Identity() != run.Confirmed {
			t.Errorf("again: %s cached %v %s", again.ID(), again.Cached(), again.Identity())
		}
	}
}

// The reply to a publish is lost: the next caller re-enters or finds the run.
func TestPublishReplyLost(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	a.claims.loseReplies(claim.Publish, context.DeadlineExceeded)
	r := a.now(keyed("k"))
	again, elsewhere := a.now(keyed("k")), b.now(keyed("k"))
	if again.ID() != r.ID() || elsewhere.ID() != r.ID() {
		t.Errorf("%s, then %s and %s", r.ID(), again.ID(), elsewhere.ID())
	}
}

// A settle whose outcome is unknown fails its callers with a retryable error;
// a retry on the same node re-enters its own claim at once and finds what the
// settle left (case 136).
func TestSettleOutcomeUnknownThenRetry(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a := s.node(t)
	a.runs.set(func(f *faultyRuns) { f.panicAfter = true })
	first := <-a.start(keyed("k"))
	if first.err == nil {
		t.Fatal("an unknown outcome was acknowledged")
	}
	r := a.now(keyed("k"))
	if !r.Cached() {
		t.Error("the settle had landed, but the retry made a new run")
	}
	if c := a.claims.counted(claim.Release); c != 0 {
		t.Errorf("a claim whose write may be under way was released %d times", c)
	}
	assertIntervals(t, s)
}

// The same, but nothing was settled. The retry's run is accepted when the retry came,
// not when the claim was made: it holds its key for its whole time to live.
func TestRetryUnderAKeptClaimIsAcceptedAnew(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a := s.node(t)
	a.runs.set(func(f *faultyRuns) { f.panicNext = true })
	if first := <-a.start(keyed("k")); first.err == nil {
		t.Fatal("an unknown outcome was acknowledged")
	}
	before := s.exec(t, `select now_us()`)
	if r := a.now(keyed("k")); r.Cached() || a.claims.counted(claim.Release) != 0 {
		t.Fatalf("cached %t, or the claim was released", r.Cached())
	}
	if at := s.exec(t, `select accepted_at from runs`); at < before {
		t.Errorf("accepted %d us before the retry came", before-at)
	}
}

// A settle that certainly failed releases the claim: another node goes on at once.
func TestSettleFailedReleasesTheClaim(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	a, b := s.node(t), s.node(t)
	a.runs.set(func(f *faultyRuns) {
		f.failSettle = &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres"}
	})
	first := <-a.start(keyed("k"))
	if !errors.Is(first.err, run.ErrUnavailable) {
		t.Fatalf("error %v", first.err)
	}
	eventually(t, "the claim is released", func() bool { return a.claims.counted(claim.Release) == 1 })
	if r := b.now(keyed("k")); r.Cached() {
		t.Error("nothing had been settled, but the next trigger was cached")
	}
}
