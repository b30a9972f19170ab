package actors_test

import (
	"context"
	"errors"
	"testing"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

// Callers that share the call of one who leaves come by themselves, and get one run.
func TestSharingWithACallerThatLeaves(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	held := n.claims.before[claim.Claim].shut()
	first := n.start(keyed("k")) // its claim is under way: nobody shares it any more
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	second := n.startContext(ctx, keyed("k"))
	eventually(t, "the second waits", func() bool { return n.Stats().Waiting == 2 })
	var sharing []<-chan answer
	for range 20 {
		sharing = append(sharing, n.start(keyed("k")))
	}
	eventually(t, "all wait", func() bool { return n.Stats().Waiting == 22 })
	cancel()
	if a := <-second; !errors.Is(a.err, context.Canceled) {
		t.Fatalf("wait ended with %v", a.err)
	}
	n.claims.before[claim.Claim].open()
	checkOneRun(t, append(sharing, first))
}

// Whoever shares a call leaves alone.
func TestLeavingASharedCall(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	held := n.claims.before[claim.Claim].shut()
	all := []<-chan answer{n.start(keyed("k"))}
	<-held
	all = append(all, n.start(keyed("k")))
	eventually(t, "two wait", func() bool { return n.Stats().Waiting == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	third := n.startContext(ctx, keyed("k"))
	eventually(t, "three wait", func() bool { return n.Stats().Waiting == 3 })
	cancel()
	if a := <-third; !errors.Is(a.err, context.Canceled) {
		t.Fatalf("wait ended with %v", a.err)
	}
	n.claims.before[claim.Claim].open()
	checkOneRun(t, all)
}

// Each caller is told of its own payload and its own request, whoever it shares a call with.
func TestSharingWithAnotherPayloadOrRequest(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	held := n.claims.before[claim.Claim].shut()
	tr := keyed("k")
	tr.RequestKey = "call"
	first := n.start(tr)
	<-held
	second := n.start(tr)
	eventually(t, "two wait", func() bool { return n.Stats().Waiting == 2 })
	copied, differs, typed, call := tr, tr, tr, tr
	copied.Payload = append([]byte(nil), tr.Payload...)
	differs.Payload = []byte(`{"other":true}`)
	typed.PayloadType = "application/octet-stream"
	call.RequestKey = "another call"
	answers := []<-chan answer{first, second, n.start(copied), n.start(differs), n.start(typed), n.start(call)}
	differs.RequestKey, typed.RequestKey = "a third", "a fourth"
	answers = append(answers, n.start(differs), n.start(typed))
	eventually(t, "all wait", func() bool { return n.Stats().Waiting == 8 })
	n.claims.before[claim.Claim].open()
	var id run.ID
	for i, want := range []struct{ cached, match bool }{
		{false, true}, {false, true}, {false, true}, {false, true}, {false, true}, {true, true}, {true, false}, {true, false},
	} {
		r := must(t, answers[i])
		if i == 0 {
			id = r.ID()
		}
		if r.ID() != id || r.Cached() != want.cached || r.PayloadMatch() != want.match {
			t.Errorf("caller %d: %s, cached %v, payload match %v; want %s, %v, %v", i, r.ID(), r.Cached(), r.PayloadMatch(), id, want.cached, want.match)
		}
	}
}

// A trigger that Postgres refuses is refused to its own caller alone: whoever shares
// its call is asked for anew, and finds the run of another if that was faster.
func TestSharingWithARefusedTrigger(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	held := n.claims.before[claim.Claim].shut()
	refused := keyed("k")
	refused.Queue = "\x00" // no Postgres takes it; Validate, which is not asked here, refuses it
	first := n.start(refused)
	<-held
	second := n.start(refused)
	eventually(t, "two wait", func() bool { return n.Stats().Waiting == 2 })
	var sharing []<-chan answer
	for range 20 {
		sharing = append(sharing, n.start(keyed("k")))
	}
	eventually(t, "all wait", func() bool { return n.Stats().Waiting == 22 })
	n.claims.before[claim.Claim].open()
	if x := <-first; x.err == nil {
		t.Error("the refused trigger was answered")
	}
	if x := <-second; x.err == nil { // it came behind one that was taken
		answered := make(chan answer, 1)
		answered <- x
		sharing = append(sharing, answered)
	}
	checkOneRun(t, sharing)
}
