package actors_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

// A caller's context ends its wait, in every state of its flight; the flight
// goes on, and the others of the key get its run.
func TestContextEndsTheWaitNotTheFlight(t *testing.T) {
	t.Parallel()
	gone := errors.New("the caller has gone")
	for name, at := range map[string]func(*node) *hold{
		"claiming":            func(n *node) *hold { return n.claims.before[claim.Claim] },
		"claimed, reply late": func(n *node) *hold { return n.claims.after[claim.Claim] },
		"settling":            func(n *node) *hold { return &n.runs.beforeSettle },
		"settled, reply late": func(n *node) *hold { return &n.runs.afterSettle },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newStores(t).node(t)
			h := at(n)
			held := h.shut()
			ctx, cancel := context.WithCancelCause(t.Context())
			leader := n.startContext(ctx, keyed("k"))
			<-held
			other := n.start(keyed("k"))
			eventually(t, "both wait", func() bool { return n.Stats().Waiting == 2 })
			cancel(gone)
			if a := <-leader; !errors.Is(a.err, gone) {
				t.Fatalf("the leader's wait ended with %v", a.err)
			}
			h.open()
			r := must(t, other)
			if again := n.now(keyed("k")); again.ID() != r.ID() {
				t.Errorf("%s then %s", r.ID(), again.ID())
			}
		})
	}

	t.Run("checking", func(t *testing.T) {
		t.Parallel()
		n := newStores(t).node(t)
		first := n.now(keyed("k"))
		held := n.runs.beforeCheck.shut()
		ctx, cancel := context.WithCancelCause(t.Context())
		waiter := n.startContext(ctx, keyed("k"))
		<-held
		cancel(gone)
		if a := <-waiter; !errors.Is(a.err, gone) {
			t.Fatalf("wait ended with %v", a.err)
		}
		n.runs.beforeCheck.open()
		if again := n.now(keyed("k")); again.ID() != first.ID() || !again.Cached() {
			t.Errorf("%s then %s", first.ID(), again.ID())
		}
	})

	t.Run("waiting for another node", func(t *testing.T) {
		t.Parallel()
		s := newStores(t)
		a, b := s.node(t), s.node(t)
		held := a.runs.beforeSettle.shut()
		owner := a.start(keyed("k"))
		<-held
		ctx, cancel := context.WithCancelCause(t.Context())
		waiter := b.startContext(ctx, keyed("k"))
		eventually(t, "the waiter has claimed", func() bool { return b.claims.counted(claim.Claim) >= 1 })
		cancel(gone)
		if x := <-waiter; !errors.Is(x.err, gone) {
			t.Fatalf("wait ended with %v", x.err)
		}
		a.runs.beforeSettle.open()
		must(t, owner)
	})

	t.Run("before it began", func(t *testing.T) {
		t.Parallel()
		n := newStores(t).node(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if a := n.trigger(ctx, keyed("k")); !errors.Is(a.err, gone) {
			t.Fatalf("error %v", a.err)
		}
		if s := n.Stats(); s.Claims != 0 {
			t.Error("a trigger whose context had ended was claimed")
		}
	})
}

// The lone caller leaves while its run is being written: the run exists all the
// same, and the next trigger of the key gets it.
func TestLoneCallerLeaves(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	held := n.runs.beforeSettle.shut()
	ctx, cancel := context.WithCancel(t.Context())
	lone := n.startContext(ctx, keyed("k"))
	<-held
	cancel()
	if a := <-lone; !errors.Is(a.err, context.Canceled) {
		t.Fatalf("wait ended with %v", a.err)
	}
	n.runs.beforeSettle.open()
	if r := n.now(keyed("k")); !r.Cached() {
		t.Errorf("the run of the caller that left was not created")
	}
}

// The wait budget of a caller ends with a retryable refusal, not with a run.
func TestWaitBudget(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	s.waitBudget = 200 * time.Millisecond
	a, b := s.node(t), s.node(t)
	held := a.runs.beforeSettle.shut()
	owner := a.start(keyed("k"))
	<-held
	refused := <-b.start(keyed("k"))
	if !errors.Is(refused.err, run.ErrClaimTimeout) {
		t.Fatalf("error %v, want ErrClaimTimeout", refused.err)
	}
	a.runs.beforeSettle.open()
	r := must(t, owner)
	if again := b.now(keyed("k")); again.ID() != r.ID() {
		t.Errorf("%s then %s", r.ID(), again.ID())
	}
}
