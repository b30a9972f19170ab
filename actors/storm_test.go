package actors_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Interleavings of accept, drain and reset, replayed on the real stores.

// gated is stores whose nodes' gates can trip.
func gated(t *testing.T) stores {
	t.Helper()
	s := newStores(t)
	s.gated, s.divert = true, true
	return s
}

// trip brings env over its threshold on this node.
func (n *node) trip() {
	n.t.Helper()
	s := run.NewSnapshot(run.ID{}, run.Key{}, run.Hash{}, keyed(""))
	for range 1000 {
		n.gate.Decide(&s, time.Now())
	}
	if !n.gate.Route(&s, time.Now()).Mollify() {
		n.t.Fatal("the gate has not tripped")
	}
}

// stay keeps the gate of this node tripped until the test ends.
func (n *node) stay() {
	n.t.Helper()
	n.trip()
	s := run.NewSnapshot(run.ID{}, run.Key{}, run.Hash{}, keyed(""))
	n.keepDoing(func(context.Context) {
		for range 200 {
			n.gate.Decide(&s, time.Now())
		}
	})
}

// refresh lets the node hear Redis's clock, as each accept does, from now until
// the test ends, so that it may skip the claim.
func (n *node) refresh() {
	n.t.Helper()
	tr := keyed("")
	tr.Environment = "clock"
	accept := func(ctx context.Context) error {
		snapshot := run.NewSnapshot(run.MintID(time.Now(), 0), run.Key{}, run.Hash{}, tr)
		return n.store.Accept(ctx, []buffer.Acceptance{{Snapshot: &snapshot}})[0].Err
	}
	if err := accept(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.keepDoing(func(ctx context.Context) { _ = accept(ctx) })
}

// keepDoing does something every few milliseconds until the test ends.
func (n *node) keepDoing(something func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				something(ctx)
			}
		}
	}()
	n.t.Cleanup(func() { stop(); <-done })
}

// reached waits until a call has come to the point where it is held.
func reached(t *testing.T, held <-chan struct{}) {
	t.Helper()
	select {
	case <-held:
	case <-time.After(20 * time.Second):
		t.Fatal("no call came to where it is held")
	}
}

// lease takes what is queued in a key's partition.
func (n *node) lease(tr run.Trigger) []buffer.Lease {
	n.t.Helper()
	got, err := n.store.Lease(n.t.Context(), partitionOf(keyOf(tr)), tr.Environment, 10, buffer.NewToken(), time.Minute)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range got {
		if l.Err != nil {
			n.t.Fatal(l.Err)
		}
	}
	return got
}

// materialise gives leased runs their rows, as a drainer does.
func (n *node) materialise(leases []buffer.Lease) []runstore.Materialised {
	n.t.Helper()
	items := make([]runstore.Materialisation, len(leases))
	for i := range leases {
		e := &leases[i].Entry
		items[i] = runstore.Materialisation{Snapshot: &e.Snapshot, Patches: e.Patches, Ver: e.Ver}
	}
	out := n.pg.Materialise(n.t.Context(), items)
	for _, m := range out {
		if m.Err != nil {
			n.t.Fatal(m.Err)
		}
	}
	return out
}

func (n *node) ack(leases []buffer.Lease, rows []runstore.Materialised) {
	n.t.Helper()
	acks := make([]buffer.Ack, len(leases))
	for i := range leases {
		acks[i] = buffer.Ack{Ref: leases[i].Ref, Ver: leases[i].Entry.Ver, Canonical: rows[i].Canonical}
	}
	for _, a := range n.store.Ack(n.t.Context(), acks) {
		if !a.Done() {
			n.t.Fatalf("ack: %+v", a)
		}
	}
}

// drainKey drains what the partition of a key holds.
func (n *node) drainKey(tr run.Trigger) []runstore.Materialised {
	n.t.Helper()
	leases := n.lease(tr)
	rows := n.materialise(leases)
	n.ack(leases, rows)
	return rows
}

// aliases counts them: without an outage there are none.
func (s stores) aliases(t *testing.T) int {
	return s.exec(t, `select count(*) from runs where kind = 1`)
}

func (s stores) realRuns(t *testing.T) int {
	return s.exec(t, `select count(*) from runs where kind = 0`)
}

var errLost = &run.RefusedError{Reason: run.ErrUnavailable, Part: "redis", Err: errors.New("the reply is lost")}

// The reply to an accept is lost: the same id is settled, and when the entry is
// drained, it finds its own row.
func TestAcceptReplyLostThenSettled(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"k", ""} {
		s := gated(t)
		n := s.node(t)
		n.stay()
		n.buffer.set(func(b *faultyBuffer) { b.lose = errLost })
		r := n.now(keyed(key))
		identity := run.Provisional
		if key == "" {
			identity = run.Confirmed // there is nothing that it could turn out to be
		}
		if r.State() != run.Materialised || r.Identity() != identity || r.Cached() {
			t.Errorf("%q: %s, %s, cached %v", key, r.State(), r.Identity(), r.Cached())
		}
		p, _ := r.ID().Partition()
		leases, err := n.store.Lease(t.Context(), p, "env", 10, buffer.NewToken(), time.Minute)
		if err != nil || len(leases) != 1 || leases[0].ID != r.ID() {
			t.Fatalf("%q: the buffer holds %+v, %v; want %s", key, leases, err, r.ID())
		}
		rows := n.materialise(leases)
		if rows[0].Outcome != runstore.Replayed || rows[0].Canonical != r.ID() {
			t.Errorf("%q: drained as %v of %s", key, rows[0].Outcome, rows[0].Canonical)
		}
		n.ack(leases, rows)
		if real, alias := s.realRuns(t), s.aliases(t); real != 1 || alias != 0 {
			t.Errorf("%q: %d runs, %d aliases", key, real, alias)
		}
		if key != "" {
			n.buffer.set(func(b *faultyBuffer) { b.lose = nil })
			if again := n.now(keyed(key)); again.ID() != r.ID() || !again.Cached() {
				t.Errorf("then %s, cached %v; want %s", again.ID(), again.Cached(), r.ID())
			}
		}
	}
}

// The outcome of a settle is never known: the same id is diverted, and drained
// as a replay of the row that had landed.
func TestSettleReplyLostThenDiverted(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	s.divert = true
	n := s.node(t)
	n.runs.set(func(r *faultyRuns) { r.panicAfter = true })
	r := n.now(keyed(""))
	if r.State() != run.Buffered || r.Cached() {
		t.Errorf("%s, cached %v", r.State(), r.Cached())
	}
	p, _ := r.ID().Partition()
	leases, err := n.store.Lease(t.Context(), p, "env", 10, buffer.NewToken(), time.Minute)
	if err != nil || len(leases) != 1 || leases[0].ID != r.ID() {
		t.Fatalf("the buffer holds %+v, %v; want %s", leases, err, r.ID())
	}
	rows := n.materialise(leases)
	if rows[0].Outcome != runstore.Replayed || rows[0].Canonical != r.ID() {
		t.Errorf("drained as %v of %s", rows[0].Outcome, rows[0].Canonical)
	}
	n.ack(leases, rows)
	if real := s.realRuns(t); real != 1 {
		t.Errorf("%d runs", real)
	}

	// With a key, the look before the accept finds the row, and the answer is
	// that it is new: nobody else was told of it.
	n.runs.set(func(r *faultyRuns) { r.panicAfter = true })
	k := n.now(keyed("k"))
	if k.Cached() {
		t.Error("the run that this trigger made is called cached")
	}
	n.drainKey(keyed("k"))
	if again := n.now(keyed("k")); again.ID() != k.ID() || !again.Cached() {
		t.Errorf("then %s, cached %v; want %s", again.ID(), again.Cached(), k.ID())
	}
	if real, alias := s.realRuns(t), s.aliases(t); real != 2 || alias != 0 {
		t.Errorf("%d runs, %d aliases", real, alias)
	}
}

// A reset between the look into Postgres and the accept: the run that the look
// found is no answer any more.
func TestResetBetweenLookAndAccept(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	old := b.now(keyed("k"))
	s.forget(t, keyOf(keyed("k")))
	a.stay()
	a.refresh()
	held := a.buffer.before.shut()
	late := a.start(keyed("k"))
	reached(t, held)
	if cleared := b.reset(keyed("k")); cleared != old.ID() {
		t.Errorf("reset cleared %s, want %s", cleared, old.ID())
	}
	next := a.start(keyed("k")) // came after the reset
	a.buffer.before.open()
	first, second := must(t, late), must(t, next)
	if second.ID() == old.ID() {
		t.Errorf("a trigger after the reset was answered with the run of before")
	}
	if first.ID() != old.ID() && first.ID() != second.ID() {
		t.Errorf("%s and %s after the reset", first.ID(), second.ID())
	}
	a.drainKey(keyed("k"))
	if again := b.now(keyed("k")); again.ID() != second.ID() {
		t.Errorf("after the drain %s, want %s", again.ID(), second.ID())
	}
	if n := s.aliases(t); n != 0 {
		t.Errorf("%d aliases", n)
	}
	assertIntervals(t, s)
}

// A reset of a run that is queued, or leased: the next trigger makes a new run,
// and both keep their own rows.
func TestResetWhileBuffered(t *testing.T) {
	t.Parallel()
	for _, leased := range []bool{false, true} {
		s := gated(t)
		a, b := s.node(t), s.node(t)
		a.stay()
		b.stay()
		first := a.now(keyed("k"))
		if first.State() != run.Buffered {
			t.Fatalf("%s", first.State())
		}
		var leases []buffer.Lease
		if leased {
			leases = a.lease(keyed("k"))
		}
		b.reset(keyed("k"))
		second := b.now(keyed("k"))
		if second.ID() == first.ID() || second.Cached() {
			t.Errorf("leased %v: the reset key answered %s, cached %v", leased, second.ID(), second.Cached())
		}
		if leased { // with what the drainer read before the reset (case 122)
			a.ack(leases, a.materialise(leases))
		}
		b.drainKey(keyed("k"))
		if again := a.now(keyed("k")); again.ID() != second.ID() || !again.Cached() {
			t.Errorf("leased %v: then %s, want %s", leased, again.ID(), second.ID())
		}
		if real, alias := s.realRuns(t), s.aliases(t); real != 2 || alias != 0 {
			t.Errorf("leased %v: %d runs, %d aliases", leased, real, alias)
		}
		assertIntervals(t, s)
	}
}

// An owner is late: its look missed, its claim was dropped by a reset, and
// meanwhile another node accepted the key and drained it. Its accept is stale,
// and it is answered with the other's run.
func TestLateAcceptIsStale(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	a.stay()
	held := a.buffer.before.shut()
	late := a.start(keyed("k"))
	reached(t, held)
	b.reset(keyed("k"))
	b.stay()
	other := b.now(keyed("k"))
	b.drainKey(keyed("k"))
	s.forget(t, keyOf(keyed("k"))) // the minute of the record passes
	// So does the fence's second.
	key := keyOf(keyed("k"))
	from, err := b.redis.Clock(t.Context(), partitionOf(key), key.Hash())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the fence has passed", func() bool {
		now, err := b.redis.Clock(t.Context(), partitionOf(key), key.Hash())
		return err == nil && now > from.Add(1100*time.Millisecond)
	})
	a.buffer.before.open()
	r := must(t, late)
	if r.ID() != other.ID() {
		t.Errorf("the late owner got %s, want %s", r.ID(), other.ID())
	}
	if left := a.lease(keyed("k")); len(left) != 0 {
		t.Errorf("%d entries of the late owner", len(left))
	}
	if n := s.realRuns(t); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// Redis was replaced between the look and the accept: the instant that fences
// the fast path came from another server, so the accept claims first.
func TestFastPathOfAnotherEpochIsStale(t *testing.T) {
	t.Parallel()
	s := gated(t)
	n := s.node(t)
	snapshot := run.NewSnapshot(run.MintID(time.Now(), partitionOf(keyOf(keyed("k")))), keyOf(keyed("k")), keyOf(keyed("k")).Hash(), keyed("k"))
	n.refresh()
	at, _, epoch := n.db.LastTime()
	for name, acceptance := range map[string]buffer.Acceptance{
		"another server": {Snapshot: &snapshot, Since: at, Epoch: "0123456789012345678901234567890123456789"},
		"too old":        {Snapshot: &snapshot, Since: at.Add(-2 * time.Second), Epoch: epoch},
		"the future":     {Snapshot: &snapshot, Since: at.Add(time.Hour), Epoch: epoch},
		"nothing":        {Snapshot: &snapshot},
	} {
		if got := n.store.Accept(t.Context(), []buffer.Acceptance{acceptance})[0]; got.State != buffer.Stale {
			t.Errorf("%s: state %d, %v", name, got.State, got.Err)
		}
	}
}

// A buffered run has reached Postgres and failed there before its ack: its key
// is free, and the next trigger makes a new run (cases 16 and 18).
func TestBoundRunFailedInPostgres(t *testing.T) {
	t.Parallel()
	for _, tripped := range []bool{true, false} {
		s := gated(t)
		a, b := s.node(t), s.node(t)
		a.stay()
		first := a.now(keyed("k"))
		leases := a.lease(keyed("k"))
		rows := a.materialise(leases)
		if mid := b.now(keyed("k")); mid.ID() != first.ID() || !mid.Cached() {
			t.Errorf("before its ack the key answered %s, want %s", mid.ID(), first.ID())
		}
		a.finish(first.ID(), run.Failed)
		if tripped {
			b.stay()
			b.refresh()
		}
		second := b.now(keyed("k"))
		if second.ID() == first.ID() || second.Cached() {
			t.Errorf("tripped %v: the failed run %s was answered", tripped, first.ID())
		}
		a.ack(leases, rows)
		if again := a.now(keyed("k")); again.ID() != second.ID() {
			t.Errorf("tripped %v: after the late ack %s, want %s", tripped, again.ID(), second.ID())
		}
		b.drainKey(keyed("k"))
		if n := s.aliases(t); n != 0 {
			t.Errorf("tripped %v: %d aliases", tripped, n)
		}
		assertIntervals(t, s)
	}
}

// What the gate counts brings Redis's clock along: after a trip a keyed trigger
// costs a look and an accept, and no claim.
func TestTrippedKeysMakeNoClaim(t *testing.T) {
	t.Parallel()
	s := gated(t)
	n := s.node(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reports sync.WaitGroup
	reports.Go(func() { _ = n.gate.Report(ctx) })
	defer reports.Wait()
	defer stop()
	n.stay()
	eventually(t, "a key is taken without a claim", func() bool {
		before, claims := n.Stats(), n.claims.counted(claim.Claim)
		r := n.now(keyed(run.MintID(time.Now(), 0).String()))
		after := n.Stats()
		return r.State() == run.Buffered && n.claims.counted(claim.Claim) == claims &&
			after.Looks == before.Looks+1 && after.Accepts == before.Accepts+1 && after.Publishes == 0
	})
}

// Two nodes take the fast path with one key, both having missed it in Postgres:
// one writes, the other is bound to it, and no claim was made.
func TestFastPathsOfOneKey(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	for _, n := range []*node{a, b} {
		n.stay()
		n.refresh()
	}
	heldA, heldB := a.buffer.before.shut(), b.buffer.before.shut()
	first, second := a.start(keyed("k")), b.start(keyed("k"))
	reached(t, heldA)
	reached(t, heldB)
	if n := a.claims.counted(claim.Claim) + b.claims.counted(claim.Claim); n != 0 {
		t.Errorf("%d claims on the fast path", n)
	}
	a.buffer.before.open()
	b.buffer.before.open()
	checkOneRun(t, []<-chan answer{first, second})
	rows := a.drainKey(keyed("k"))
	if len(rows) != 1 || rows[0].Outcome != runstore.Created {
		t.Errorf("drained %+v", rows)
	}
	if n := s.aliases(t); n != 0 {
		t.Errorf("%d aliases", n)
	}
}

// One trigger was decided on before the trip and settles, the other comes after
// it: the claim makes it wait, and there is one run (case 11).
func TestGateTripsBetweenTwoTriggersOfOneKey(t *testing.T) {
	t.Parallel()
	s := gated(t)
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	before := a.start(keyed("k"))
	reached(t, held)
	b.stay()
	b.refresh()
	after := b.start(keyed("k"))
	eventually(t, "the other node has asked the buffer", func() bool { return b.Stats().Accepts > 0 })
	a.runs.beforeSettle.open()
	checkOneRun(t, []<-chan answer{before, after})
	if real, alias := s.realRuns(t), s.aliases(t); real != 1 || alias != 0 {
		t.Errorf("%d runs, %d aliases", real, alias)
	}
	if left := a.lease(keyed("k")); len(left) != 0 {
		t.Errorf("%d entries", len(left))
	}
}
