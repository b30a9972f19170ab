package actors_test

import (
	"context"
	"errors"
	"sync"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/runstore"
)

// hold stops calls at a point of their way until it is opened, and tells when
// the first one got there. The zero hold is open.
type hold struct {
	mu      sync.Mutex
	gate    chan struct{}
	reached chan struct{}
}

// shut makes calls wait; the returned channel is closed when one does.
func (h *hold) shut() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate, h.reached = make(chan struct{}), make(chan struct{})
	return h.reached
}

// open lets the waiting calls go, and all later ones.
func (h *hold) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gate != nil {
		close(h.gate)
		h.gate = nil
	}
}

func (h *hold) pass() {
	h.mu.Lock()
	gate, reached := h.gate, h.reached
	if gate != nil {
		select {
		case <-reached:
		default:
			close(reached)
		}
	}
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

// faultyClaims is the real claim store with points at which a test can stop a
// call, lose its reply, or panic.
type faultyClaims struct {
	real actors.Claims

	before, after map[claim.Verb]*hold // of batches that hold such an op
	mu            sync.Mutex
	lose          map[claim.Verb]error // the call is made, its reply is lost
	calls         int
	count         map[claim.Verb]int
	panicNext     bool
}

func newFaultyClaims(real actors.Claims) *faultyClaims {
	f := &faultyClaims{
		real: real, before: map[claim.Verb]*hold{}, after: map[claim.Verb]*hold{},
		lose: map[claim.Verb]error{}, count: map[claim.Verb]int{},
	}
	for _, v := range []claim.Verb{claim.Claim, claim.Publish, claim.Release, claim.Renew} {
		f.before[v], f.after[v] = &hold{}, &hold{}
	}
	return f
}

func (f *faultyClaims) Do(ctx context.Context, ops []claim.Op) []claim.Reply {
	verbs := map[claim.Verb]bool{}
	f.mu.Lock()
	f.calls++
	boom := f.panicNext
	f.panicNext = false
	for _, op := range ops {
		verbs[op.Verb] = true
		f.count[op.Verb]++
	}
	f.mu.Unlock()
	if boom {
		panic("injected")
	}
	for v := range verbs {
		f.before[v].pass()
	}
	// A held call has outlived its own deadline by design.
	replies := f.real.Do(context.WithoutCancel(ctx), ops)
	f.mu.Lock()
	for i := range replies {
		if err := f.lose[ops[i].Verb]; err != nil {
			replies[i] = claim.Reply{Err: err}
		}
	}
	f.mu.Unlock()
	for v := range verbs {
		f.after[v].pass()
	}
	return replies
}

func (f *faultyClaims) loseReplies(v claim.Verb, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose[v] = err
}

func (f *faultyClaims) counted(v claim.Verb) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[v]
}

// faultyRuns is the real Postgres store with such points.
type faultyRuns struct {
	real actors.Runs

	beforeSettle, afterSettle, beforeCheck, beforeLook hold

	mu         sync.Mutex
	failSettle error // the call is not made
	failLook   error // likewise
	blind      bool
	panicNext  bool // before the call is made
	panicAfter bool // the call is made, its outcome is never known
	calls      int
}

func (f *faultyRuns) Settle(ctx context.Context, items []runstore.Settlement) []runstore.Settled {
	f.beforeSettle.pass()
	f.mu.Lock()
	f.calls++
	fail, boom, after := f.failSettle, f.panicNext, f.panicAfter
	f.panicNext, f.panicAfter = false, false
	f.mu.Unlock()
	if boom {
		panic("injected")
	}
	out := make([]runstore.Settled, len(items))
	if fail == nil {
		out = f.real.Settle(context.WithoutCancel(ctx), items)
	}
	for i := range out {
		if fail != nil {
			out[i] = runstore.Settled{Err: fail}
		}
	}
	if after {
		panic("injected")
	}
	f.afterSettle.pass()
	return out
}

func (f *faultyRuns) Check(ctx context.Context, items []runstore.Check) []runstore.Checked {
	f.beforeCheck.pass()
	f.mu.Lock()
	f.calls++
	f.mu.Unlock()
	return f.real.Check(context.WithoutCancel(ctx), items)
}

func (f *faultyRuns) Keys(ctx context.Context, keys []runstore.KeyRef) ([]runstore.KeyState, error) {
	f.beforeLook.pass()
	f.mu.Lock()
	f.calls++
	fail := f.failLook
	f.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	return f.real.Keys(context.WithoutCancel(ctx), keys)
}

func (f *faultyRuns) Available() bool {
	f.mu.Lock()
	blind := f.blind
	f.mu.Unlock()
	return !blind && f.real.Available()
}

// faultyBuffer is the real buffer with such points.
type faultyBuffer struct {
	real actors.Buffer

	before, after hold
	mu            sync.Mutex
	lose          error // the call is made, its reply is lost
	fail          error // the call is not made
}

func (f *faultyBuffer) Accept(ctx context.Context, runs []buffer.Acceptance) []buffer.Accepted {
	f.before.pass()
	f.mu.Lock()
	lose, fail := f.lose, f.fail
	f.mu.Unlock()
	out := make([]buffer.Accepted, len(runs))
	if fail == nil {
		out = f.real.Accept(context.WithoutCancel(ctx), runs)
	}
	for i := range out {
		if lose != nil || fail != nil {
			out[i] = buffer.Accepted{Err: errors.Join(lose, fail)}
		}
	}
	f.after.pass()
	return out
}

func (f *faultyBuffer) Landed(ctx context.Context, refs []buffer.Ref) []error {
	return f.real.Landed(ctx, refs)
}

func (f *faultyBuffer) set(change func(*faultyBuffer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faultyRuns) set(change func(*faultyRuns)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}
