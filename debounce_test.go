package mollifier_test

import (
	"slices"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// The slot of a debounce key is in Postgres. In a storm it decides at once, since what is
// debounced passes. While Postgres is down each trigger of a debounce key is buffered
// under an id of its own, under its own key once; drained, these ids are names of the one
// run, and what the buffer was told of them is the run's.
func TestDebounceWhilePostgresIsDown(t *testing.T) {
	t.Parallel()
	postgres := stacktest.PrivatePostgres(t)
	url, prefix := stacktest.Redis(t)
	e := open(t, mollifier.Config{
		Redis: url, Prefix: prefix, Postgres: postgres.URL(), Migrate: true,
		RedisDeadline: 5 * time.Second, PostgresDeadline: 500 * time.Millisecond,
		Gate: mollifier.GateConfig{Window: time.Hour, Threshold: 1, Hold: time.Hour, RateOnly: true},
	})
	debounced := func(key string) run.Trigger {
		tr := order(key)
		tr.Debounce = &run.Debounce{Key: "d", Delay: time.Hour}
		return tr
	}
	trip(t, e)
	before := trigger(t, e, debounced(""))
	if r := trigger(t, e, debounced("")); r.ID() != before.ID() || r.State() != run.Materialised {
		t.Errorf("in a storm: %s %s, want %s pushed", r.ID(), r.State(), before.ID())
	}
	if err := postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	alone, keyed := trigger(t, e, debounced("")), trigger(t, e, debounced("k"))
	if again := trigger(t, e, debounced("k")); again.ID() != keyed.ID() || !again.Cached() {
		t.Errorf("the key was answered with %s, want %s", again.ID(), keyed.ID())
	}
	if alone.State() != run.Buffered || alone.ID() == before.ID() || alone.ID() == keyed.ID() {
		t.Errorf("%s %s beside %s", alone.ID(), alone.State(), keyed.ID())
	}
	if _, _, err := e.AddTags(t.Context(), "prod", alone.ID(), []string{"told"}); err != nil {
		t.Error(err)
	}
	if err := postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []run.Result{alone, keyed} {
		waitFor(t, "its id is a name of the run", func() bool {
			found, err := e.Run(t.Context(), "prod", r.ID())
			return err == nil && found.Canonical == before.ID() && found.Status == run.Delayed
		})
	}
	waitFor(t, "the run has the tag that its name was given", func() bool {
		found, err := e.Run(t.Context(), "prod", before.ID())
		return err == nil && slices.Contains(found.Trigger.Tags, "told")
	})
	var after run.Result
	waitFor(t, "debouncing goes on", func() bool {
		r, err := e.Trigger(t.Context(), debounced(""))
		after = r
		return err == nil && r.State() == run.Materialised
	})
	if after.ID() != before.ID() {
		t.Errorf("pushed %s, want %s, which has held the debounce key all along", after.ID(), before.ID())
	}
}
