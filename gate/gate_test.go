package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Case 38: 0 is refused, by the setting's name, and so is what makes no sense.
func TestSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(*Config){
		"Config.Window":                func(c *Config) { c.Window = 0 },
		"Config.Threshold":             func(c *Config) { c.Threshold = 0 },
		"Config.Threshold ":            func(c *Config) { c.Threshold, c.Window = 1001, time.Millisecond },
		"Config.Hold":                  func(c *Config) { c.Hold = -1 },
		"Config.Algorithm":             func(c *Config) { c.Algorithm = 2 },
		"Config.Enrolled":              func(c *Config) { c.Enrolled = nil },
		"Config.Budget":                func(c *Config) { c.Budget = 0 },
		"Config.Pause":                 func(c *Config) { c.Pause = -1 },
		"Config.Environments":          func(c *Config) { c.Environments = 0 },
		"Config.Now":                   func(c *Config) { c.Now = nil },
		"Config.Pressure.Window":       func(c *Config) { c.Pressure.Window = 0 },
		"Config.Pressure.Least":        func(c *Config) { c.Pressure.Least = 0 },
		"Config.Pressure.Share":        func(c *Config) { c.Pressure.Share = 1 },
		"Config.Pressure.Latency.Low":  func(c *Config) { c.Pressure.Latency.Low = 0 },
		"Config.Pressure.Latency.High": func(c *Config) { c.Pressure.Latency.High = 1 },
		"Config.Pressure.Pool.Low":     func(c *Config) { c.Pressure.Pool.Low = 0 },
		"Config.Pressure.Pool.High":    func(c *Config) { c.Pressure.Pool.High = 1 },
		"Config.Pressure.ErrorsLow":    func(c *Config) { c.Pressure.ErrorsLow = 0 },
		"Config.Pressure.ErrorsHigh":   func(c *Config) { c.Pressure.ErrorsHigh = 2 },
		"Config.Pressure.Dwell":        func(c *Config) { c.Pressure.Dwell = time.Hour },
	} {
		cfg := settings(newClock())
		spoil(&cfg)
		if _, err := New(cfg, none{}); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(field)+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := New(settings(newClock()), nil); err == nil {
		t.Error("without Redis")
	}
	cfg := Defaults()
	if cfg.Window != 200*time.Millisecond || cfg.Threshold != 100 || cfg.Hold != 500*time.Millisecond || cfg.Algorithm != FixedWindow {
		t.Errorf("defaults %+v", cfg.Limits)
	}
}

// The cascade on snapshots, and what is counted: cases 19 and 113.
func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	c := newClock()
	cfg := settings(c)
	cfg.Threshold = 1
	cfg.Enrolled = func(organisation string) bool { return organisation == "org" }
	parent := run.MintID(c.Now(), 1)
	for i, of := range []struct {
		change func(*run.Trigger)
		shadow bool
		want   Decision // of the second trigger
	}{
		{func(*run.Trigger) {}, false, Decision{Mollify, ReasonRate, true}},
		{func(*run.Trigger) {}, true, Decision{Mollify, ReasonRate, true}},
		{func(t *run.Trigger) { t.Debounce = &run.Debounce{} }, true, Decision{Pass, ReasonDebounce, false}},
		{func(t *run.Trigger) { t.OneTimeToken = true }, true, Decision{Pass, ReasonOneTimeToken, false}},
		{func(t *run.Trigger) { t.ParentRun, t.ResumeParent = parent, true }, true, Decision{Pass, ReasonTriggerAndWait, false}},
		{func(t *run.Trigger) { t.ParentRun = parent }, false, Decision{Mollify, ReasonRate, true}},
		{func(t *run.Trigger) { t.ResumeParent = true }, false, Decision{Mollify, ReasonRate, true}},
		{func(t *run.Trigger) { t.BatchItem = run.BatchItem{Batch: "b"} }, false, Decision{Mollify, ReasonRate, true}},
		{func(t *run.Trigger) { t.Organisation = "other" }, false, Decision{Pass, ReasonNotEnrolled, false}},
		{func(t *run.Trigger) { t.Organisation = "other" }, true, Decision{Shadow, ReasonRate, true}},
	} {
		g := gateOn(t, cfg, none{})
		g.SetShadow(of.shadow)
		s := snapshot("env")
		of.change(&s.Trigger)
		g.Decide(s, c.Now())
		if got := g.Route(s, c.Now()); got.Outcome != Pass {
			t.Errorf("%d: routed to %s after one", i, got.Outcome)
		}
		got := g.Decide(s, c.Now())
		if got != of.want {
			t.Errorf("%d: %s %s %t, want %s %s %t", i, got.Outcome, got.Reason, got.Counts, of.want.Outcome, of.want.Reason, of.want.Counts)
		}
		if again := g.Route(s, c.Now()); again != got {
			t.Errorf("%d: routed to %s", i, again.Outcome)
		}
		counted := 0
		if of.want.Counts {
			counted = 2
		}
		if n := g.State("env", c.Now()).Count; n != counted || g.Stats().Environments != min(counted, 1) {
			t.Errorf("%d: counted %d, want %d", i, n, counted)
		}
		var decided uint64
		for _, d := range g.Stats().Decided {
			decided += d.Count
			if d.Enrolled != cfg.Enrolled(s.Trigger.Organisation) {
				t.Errorf("%d: %+v", i, d)
			}
		}
		if decided != 2 {
			t.Errorf("%d: %d decisions, want 2", i, decided)
		}
	}
}

// The trigger that passes the threshold is the first mollified; the hold runs
// from the last overage, also while mollifying; then the gate is as before.
func TestTripAndHold(t *testing.T) {
	t.Parallel()
	eachAlgorithm(t, func(t *testing.T, a Algorithm) {
		c := newClock()
		cfg := settings(c)
		cfg.Algorithm = a
		g := gateOn(t, cfg, none{})
		s := snapshot("env")
		storm := func(n int) (mollified int) {
			for range n {
				if g.Decide(s, c.Now()).Mollify() {
					mollified++
				}
			}
			return mollified
		}
		if n := storm(100); n != 0 {
			t.Fatalf("%d of the first 100 mollified", n)
		}
		if n := storm(50); n != 50 {
			t.Fatalf("%d of 50 over the threshold mollified", n)
		}
		c.pass(199 * time.Millisecond)
		if n := storm(150); n != 150 { // overage: the hold begins again
			t.Fatalf("%d of 150 mollified while tripped", n)
		}
		c.pass(499 * time.Millisecond)
		if st := g.State("env", c.Now()); !st.Tripped || st.Hold != time.Millisecond {
			t.Fatalf("%+v a millisecond before the hold ends", st)
		}
		if n := storm(1); n != 1 { // below the rate: mollified, but no renewal
			t.Fatal("passed while held")
		}
		c.pass(time.Millisecond)
		if n := storm(1); n != 0 {
			t.Fatal("mollified after the hold")
		}
		if trips := g.Stats().Trips; trips != 1 {
			t.Errorf("%d trips", trips)
		}
		other := snapshot("quiet")
		storm(1000)
		if g.Decide(other, c.Now()).Mollify() {
			t.Error("another environment is mollified")
		}
	})
}

// Settings change while the node runs.
func TestOverride(t *testing.T) {
	t.Parallel()
	c := newClock()
	cfg := settings(c)
	cfg.Enrolled = func(organisation string) bool { return organisation == "org" }
	g := gateOn(t, cfg, none{})
	s, stranger := snapshot("env"), snapshot("env")
	stranger.Trigger.Organisation = "other"
	want := func(s *run.Snapshot, outcome Outcome, reason Reason) {
		t.Helper()
		if d := g.Decide(s, c.Now()); d.Outcome != outcome || d.Reason != reason {
			t.Fatalf("%s %s, want %s %s", d.Outcome, d.Reason, outcome, reason)
		}
	}
	set := func(o Override) {
		t.Helper()
		if refused := g.Replace(map[string]Override{"env": o}); refused != nil {
			t.Fatal(refused)
		}
	}
	for field, o := range map[string]Override{
		"Window": {Window: -1}, "Threshold": {Threshold: -1}, "Hold": {Hold: 2 * time.Hour}, "Force": {Force: 3},
		"Threshold ": {Window: time.Millisecond, Threshold: 5000},
	} {
		if err := g.Check(o); err == nil || !strings.Contains(err.Error(), "Override."+strings.TrimSpace(field)+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	want(s, Pass, ReasonBelowRate)
	set(Override{Threshold: 2, Hold: 10 * time.Millisecond})
	want(s, Pass, ReasonBelowRate)
	want(s, Mollify, ReasonRate)
	set(Override{Force: ForcePass})
	want(s, Pass, ReasonForced)
	set(Override{Force: ForceMollify})
	want(s, Mollify, ReasonForced)
	want(stranger, Pass, ReasonNotEnrolled)
	g.SetShadow(true)
	want(stranger, Shadow, ReasonForced)
	s.Trigger.OneTimeToken = true
	want(s, Pass, ReasonOneTimeToken)
	s.Trigger.OneTimeToken = false
	g.Switch(false)
	want(s, Pass, ReasonOff)
	g.Count("env", 5, c.Now())
	g.Switch(true)
	if n := g.State("env", c.Now()).Count; n != 6 { // six came as far as the rate
		t.Errorf("%d counted", n)
	}
	g.Replace(nil)
	c.pass(time.Second)
	for range 100 {
		want(s, Pass, ReasonBelowRate)
	}
	want(s, Mollify, ReasonRate)

	// All are replaced at once; one that can not be does not keep the others out.
	refused := g.Replace(map[string]Override{"0": {Force: ForcePass}, "1": {Threshold: -1}, "2": {Force: ForceMollify}})
	if len(refused) != 1 || refused["1"] == nil {
		t.Errorf("refused %v", refused)
	}
	want(snapshot("0"), Pass, ReasonForced)
	want(snapshot("1"), Pass, ReasonBelowRate)
	want(snapshot("2"), Mollify, ReasonForced)
	g.Replace(map[string]Override{"1": {Force: ForcePass}})
	want(snapshot("0"), Pass, ReasonBelowRate)
	want(snapshot("1"), Pass, ReasonForced)
}

// What a trigger cost to be decided: nothing, after the first of its environment.
func TestNothingAllocated(t *testing.T) {
	c := newClock()
	g := gateOn(t, settings(c), none{})
	g.Replace(map[string]Override{"other": {Threshold: 7}})
	s, now := snapshot("env"), c.Now()
	g.Decide(s, now)
	if n := testing.AllocsPerRun(1000, func() {
		g.Route(s, now)
		g.Decide(s, now)
		g.Count("env", 3, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Case 72's cousin: memory does not grow with all environments that ever were.
func TestEnvironmentsAreForgotten(t *testing.T) {
	t.Parallel()
	c := newClock()
	cfg := settings(c)
	cfg.Environments = 64 * 20
	g := gateOn(t, cfg, none{})
	for i := range 100_000 {
		g.Count(fmt.Sprint("env", i), 1, c.Now())
		g.report(t.Context()) // to nobody
		c.pass(time.Millisecond)
	}
	// 200 are alive at a time, and each stripe keeps at least 16.
	if n := g.Stats().Environments; n > cfg.Environments {
		t.Errorf("%d environments are remembered", n)
	}
	if n := g.Stats().Untracked; n != 0 {
		t.Errorf("%d not counted", n)
	}
	// All at once: those without room are not counted, and pass.
	for i := range 10_000 {
		if d := g.Decide(snapshot(fmt.Sprint("more", i)), c.Now()); d.Outcome != Pass || d.Reason != ReasonBelowRate {
			t.Fatalf("%+v", d)
		}
	}
	st := g.Stats()
	if st.Environments > cfg.Environments || st.Untracked < 10_000-uint64(cfg.Environments) {
		t.Errorf("%+v", st)
	}
	// A tripped one is not forgotten.
	g = gateOn(t, cfg, none{})
	storm := snapshot("storm")
	for range 101 {
		g.Decide(storm, c.Now())
	}
	g.report(t.Context())
	for i := range 10_000 {
		g.Count(fmt.Sprint("env", i), 1, c.Now())
		g.report(t.Context())
	}
	if !g.Route(storm, c.Now()).Mollify() {
		t.Error("a tripped environment was forgotten")
	}
}

// What went into the buffer on the strength of Route is counted as that.
func TestMollified(t *testing.T) {
	t.Parallel()
	c := newClock()
	g := gateOn(t, settings(c), none{})
	s := snapshot("env")
	for range 101 {
		g.Decide(s, c.Now())
	}
	if !g.Route(s, c.Now()).Mollify() {
		t.Fatal("not tripped")
	}
	c.pass(time.Second) // the hold ends while it is written
	g.Mollified(s, c.Now())
	if n := g.State("env", c.Now()).Count; n != 1 {
		t.Errorf("counted %d", n)
	}
	for _, d := range g.Stats().Decided {
		if d.Outcome == Mollify && (d.Reason != ReasonRate || d.Count != 2) {
			t.Errorf("%+v", d)
		}
	}
}
