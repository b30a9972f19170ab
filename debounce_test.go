package mollifier_test

import (
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// Debouncing is Postgres's. In a storm it holds, since what is debounced passes. While
// Postgres is down each trigger of a debounce key is a run of its own with its delay, under
// its own key once; afterwards these runs stay what they are, and debouncing begins anew.
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
	if err := postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []run.Result{alone, keyed} {
		waitFor(t, "the run lands", func() bool {
			found, err := e.Run(t.Context(), "prod", r.ID())
			return err == nil && found.Canonical == r.ID() && found.Status == run.Delayed
		})
	}
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
