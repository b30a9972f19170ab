package mollifier_test

import (
	"context"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
	watching "github.com/e0ff5a15/mollifier/watch"
)

// following is a client that polls whatever node it is given.
type following struct {
	t       *testing.T
	subject watching.Subject
	known   watching.Known
}

// now takes in what there is.
func (f *following) now(e *mollifier.Engine) []run.Run {
	f.t.Helper()
	n, err := e.Watcher().Now(f.t.Context(), f.subject, f.known)
	if err != nil {
		f.t.Fatal(err)
	}
	f.known = n.Known
	return n.Runs
}

// next polls until there is something new.
func (f *following) next(e *mollifier.Engine) []run.Run {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	n, err := e.Watcher().Next(ctx, f.subject, f.known)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.known = n.Known; len(n.Runs) == 0 {
		f.t.Fatal("nothing came")
	}
	return n.Runs
}

// A client that is answered by one node after the other follows a run from the
// buffer to its end, and is told of each state once. Cases 79 and 82.
func TestFollowOverNodesAndStores(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.NoDrain = true
	a, b := open(t, cfg), open(t, cfg)
	trip(t, a)
	tr := order("")
	tr.Tags = []string{"one", "two"}
	result := trigger(t, a, tr)
	if result.State() != run.Buffered {
		t.Fatalf("%s", result.State())
	}
	one := &following{t: t, subject: watching.Subject{Environment: "prod", Run: result.ID()}}
	tags := &following{t: t, subject: watching.Subject{Environment: "prod", Tags: []string{"two", "one"}, Since: time.Now().Add(-time.Hour)}}
	told := func(step string, status run.Status, runs []run.Run) {
		t.Helper()
		if len(runs) != 1 || runs[0].ID != result.ID() || runs[0].Status != status || string(runs[0].Trigger.Payload) != string(tr.Payload) {
			t.Fatalf("%s: %+v", step, runs)
		}
	}
	told("one, in the buffer", run.Queued, one.now(a))
	told("by tags, in the buffer", run.Queued, tags.now(b))

	if _, _, err := b.AddTags(t.Context(), "prod", result.ID(), []string{"three"}); err != nil {
		t.Fatal(err)
	}
	told("one, tagged in the buffer", run.Queued, one.next(b))
	told("by tags, tagged in the buffer", run.Queued, tags.next(a))

	drains := cfg
	drains.NoDrain = false
	c := open(t, drains)
	drained(t, cfg)
	one.now(b) // a patch that reached the row is a change of the row
	tags.now(b)
	waitFor(t, "the run is taken", func() bool {
		taken, err := c.Take(t.Context(), run.TakeRequest{Most: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range taken {
			if r.ID == result.ID() {
				return true
			}
		}
		return false
	})
	told("one, taken", run.Executing, one.next(a))
	told("by tags, taken", run.Executing, tags.next(c))
	if _, err := a.Finish(t.Context(), "prod", result.ID(), run.Finish{Status: run.Completed, Output: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	told("one, done", run.Completed, one.next(c))
	told("by tags, done", run.Completed, tags.next(b))

	foreign := &following{t: t, subject: watching.Subject{Environment: "staging", Tags: []string{"one"}}}
	if runs := foreign.now(a); len(runs) != 0 {
		t.Errorf("another environment: %+v", runs)
	}
}
