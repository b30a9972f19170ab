package mollifier_test

import (
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// A parent that waits for its child waits by the child's id. In a storm the child passes
// the gate. While Postgres is down it is buffered, and must bring to its worker whom to
// resume; and where its id becomes another name of a run, the parent sees the end of that.
func TestAParentWaitsForABufferedChild(t *testing.T) {
	t.Parallel()
	postgres := stacktest.PrivatePostgres(t)
	url, prefix := stacktest.Redis(t)
	e := open(t, mollifier.Config{
		Redis: url, Prefix: prefix, Postgres: postgres.URL(), Migrate: true,
		RedisDeadline: 5 * time.Second, PostgresDeadline: 500 * time.Millisecond,
		Gate: mollifier.GateConfig{Window: time.Hour, Threshold: 1, Hold: time.Hour},
	})
	parent := trigger(t, e, order("parent"))
	child := func(key string, d *run.Debounce) run.Result {
		tr := order(key)
		tr.Task, tr.ParentRun, tr.ResumeParent, tr.Debounce = "child", parent.ID(), true, d
		return trigger(t, e, tr)
	}
	trip(t, e)
	debounce := &run.Debounce{Key: "d", Delay: time.Hour}
	held := child("", debounce)
	for _, r := range []run.Result{held, child("passes", nil)} {
		if r.State() != run.Materialised {
			t.Errorf("in a storm a child that is waited for is %s", r.State())
		}
	}
	if err := postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	keyed, plain, joined := child("k", nil), child("", nil), child("", debounce)
	if again := child("k", nil); again.ID() != keyed.ID() || !again.Cached() {
		t.Errorf("the child's key gave %s, want %s", again.ID(), keyed.ID())
	}
	for _, r := range []run.Result{keyed, plain, joined} {
		if r.State() != run.Buffered {
			t.Errorf("%s is %s while Postgres is down", r.ID(), r.State())
		}
	}
	if err := postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[run.ID]bool{keyed.ID(): true, plain.ID(): true}
	waitFor(t, "both children reach a worker", func() bool {
		taken, err := e.Take(t.Context(), run.TakeRequest{Most: 10})
		if err != nil {
			return false
		}
		for _, r := range taken {
			if !want[r.ID] {
				continue
			}
			delete(want, r.ID)
			if r.Trigger.ParentRun != parent.ID() || !r.Trigger.ResumeParent {
				t.Errorf("%s is handed over with parent %q, to be resumed %v", r.ID, r.Trigger.ParentRun, r.Trigger.ResumeParent)
			}
			if _, err := e.Finish(t.Context(), "prod", r.ID, run.Finish{Status: run.Completed, Output: []byte(`{"n":1}`), OutputType: "application/json"}); err != nil {
				t.Error(err)
			}
		}
		return len(want) == 0
	})
	for _, r := range []run.Result{keyed, plain} {
		if found, err := e.Run(t.Context(), "prod", r.ID()); err != nil || found.Status != run.Completed || string(found.Output) != `{"n":1}` {
			t.Errorf("its parent finds %s %s with %q, %v", r.ID(), found.Status, found.Output, err)
		}
	}
	waitFor(t, "the id is a name of the run that holds the debounce key", func() bool {
		found, err := e.Run(t.Context(), "prod", joined.ID())
		return err == nil && found.Canonical == held.ID()
	})
	if _, err := e.Cancel(t.Context(), "prod", held.ID(), "enough"); err != nil {
		t.Fatal(err)
	}
	if found, err := e.Run(t.Context(), "prod", joined.ID()); err != nil || found.Status != run.Canceled {
		t.Errorf("who waits for %s finds it %s, %v", joined.ID(), found.Status, err)
	}
}
