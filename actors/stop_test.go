package actors_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Stop under load: every trigger is either answered with a run that is in
// Postgres, or refused with ErrClosed; nobody is left without an answer.
func TestStopUnderLoadLosesNoAnswer(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	const callers = 64
	var started atomic.Int64
	answers := make(chan answer, callers*1000)
	done := make(chan struct{})
	for i := range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for k := range 1000 {
				tr := keyed("")
				if k%2 == 0 {
					tr = keyed(string(rune('a'+i)) + "-" + time.Duration(k).String())
				}
				started.Add(1)
				a := n.trigger(context.Background(), tr)
				answers <- a
				if errors.Is(a.err, run.ErrClosed) {
					return
				}
			}
		}()
	}
	eventually(t, "load", func() bool { return started.Load() > 500 })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Fatalf("stop: %v", err)
	}
	for range callers {
		<-done
	}
	close(answers)
	var ids []run.ID
	refused := 0
	for a := range answers {
		switch {
		case a.err == nil:
			ids = append(ids, a.result.ID())
		case errors.Is(a.err, run.ErrClosed):
			refused++
		default:
			t.Fatalf("unexpected error: %v", a.err)
		}
	}
	if refused == 0 {
		t.Error("the stop refused nobody: it did not meet the load")
	}
	found, err := n.pg.Runs(t.Context(), "env", ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, ok := found[id]; !ok {
			t.Fatalf("acknowledged run %s is not in Postgres", id)
		}
	}
}

// A stop whose deadline passes answers whoever still waits, and returns.
func TestStopPastItsDeadline(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	held := n.runs.beforeSettle.shut()
	waiting := n.start(keyed("k"))
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(ctx) }()
	if a := <-waiting; !errors.Is(a.err, run.ErrClosed) {
		t.Errorf("the waiting caller got %v, want ErrClosed", a.err)
	}
	n.runs.beforeSettle.open()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("Stop returned %v", err)
	}
	if a := n.trigger(t.Context(), keyed("k")); !errors.Is(a.err, run.ErrClosed) {
		t.Errorf("after the stop: %v", a.err)
	}
}

// Panics in a writer answer every caller of the batch, and the shard goes on.
func TestPanicsStrandNobody(t *testing.T) {
	t.Parallel()
	n := newStores(t).node(t)
	for i := range 30 { // far more than a supervisor's default patience
		n.runs.set(func(f *faultyRuns) { f.panicNext = true })
		if a := <-n.start(keyed("")); !errors.Is(a.err, run.ErrUnavailable) {
			t.Fatalf("panic %d in a settle: %v", i, a.err)
		}
		n.claims.mu.Lock()
		n.claims.panicNext = true
		n.claims.mu.Unlock()
		// The claim writer's panic fails open: Postgres decides.
		if r := n.now(keyed(time.Duration(i).String())); r.Identity() != run.Provisional {
			t.Fatalf("panic %d in a claim: identity %s", i, r.Identity())
		}
	}
	if r := n.now(keyed("after")); r.Cached() {
		t.Error("the shard is not itself any more")
	}
	if p := n.Stats().Panics; p != 60 {
		t.Errorf("%d panics counted, want 60", p)
	}
}

// Over its bounds the node refuses at once and stores nothing. What storms takes no more
// than its share: who comes with little is let in, and answered, all the while.
func TestOverload(t *testing.T) {
	t.Parallel()
	s := newStores(t)
	s.maxCallers = 80
	n := s.node(t)
	of := func(environment string) run.Trigger {
		tr := keyed("")
		tr.Environment = environment
		return tr
	}
	stormy := "stormy"
	for n.SameShare(stormy, "calm") || n.SameShare(stormy, "other") {
		stormy += "y" // one in five hundred shares a slot with one of them
	}
	held := n.runs.beforeSettle.shut()
	var waiting []<-chan answer
	for range 70 {
		waiting = append(waiting, n.start(of(stormy)))
	}
	<-held
	eventually(t, "seventy wait", func() bool { return n.Stats().Waiting == 70 })
	refused := func(environment string) {
		t.Helper()
		a := n.trigger(t.Context(), of(environment))
		refused, ok := errors.AsType[*run.RefusedError](a.err)
		if !ok || !errors.Is(a.err, run.ErrOverloaded) || refused.RetryAfter <= 0 {
			t.Fatalf("%s: %v", environment, a.err)
		}
	}
	for range 1000 { // 71 is more than seven times the ten that are left
		refused(stormy)
	}
	if all := n.TriggerAll(t.Context(), []run.Snapshot{snapshotOf(of(stormy))(), snapshotOf(of(stormy))()}, true); !errors.Is(all[1].Err, run.ErrOverloaded) {
		t.Errorf("together: %v", all[1].Err)
	}
	for range 5 {
		waiting = append(waiting, n.start(of("calm")))
	}
	if err := n.Full("calm"); err != nil || n.Full(stormy) == nil {
		t.Errorf("full for the calm one: %v; for the stormy one: %v", err, n.Full(stormy))
	}
	eventually(t, "the calm ones are let in", func() bool { return n.Stats().Waiting == 75 })
	refused(stormy)
	for range 5 {
		waiting = append(waiting, n.start(of("other")))
	}
	eventually(t, "there is no place left", func() bool { return n.Stats().Waiting == 80 })
	refused("other")
	n.runs.beforeSettle.open()
	for _, w := range waiting {
		must(t, w)
	}
	n.now(of(stormy))
	if w := n.Stats().Waiting; w != 0 {
		t.Errorf("%d wait", w)
	}
}
