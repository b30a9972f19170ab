package gate

import (
	"errors"
	"testing"
	"time"
)

var errDown = errors.New("down")

const ms = time.Millisecond

// Each signal trips all environments under its name, stays while it is between
// its watermarks, and lets go below the low one.
func TestPressure(t *testing.T) {
	t.Parallel()
	for want, of := range map[Reason]struct{ bad, between func(*Gate) }{
		ReasonPressureLatency: {
			func(g *Gate) { g.Observe(300*ms, 0, nil) }, func(g *Gate) { g.Observe(150*ms, 0, nil) },
		},
		ReasonPressurePool: {
			func(g *Gate) { g.Observe(ms, 150*ms, nil) }, func(g *Gate) { g.Observe(ms, 50*ms, nil) },
		},
		ReasonPressureErrors: {
			func(g *Gate) { g.Observe(ms, 0, errDown) }, nil,
		},
	} {
		t.Run(want.String(), func(t *testing.T) {
			t.Parallel()
			c := newClock()
			g := gateOn(t, settings(c), none{})
			s := snapshot("env")
			expect := func(tripped bool) {
				t.Helper()
				d := g.Decide(s, c.Now())
				if d.Mollify() != tripped || tripped && d.Reason != want {
					t.Fatalf("%s %s, want tripped %t by %s", d.Outcome, d.Reason, tripped, want)
				}
				if name := g.Pressure(); (name != "") != tripped || tripped && name != want.String() {
					t.Fatalf("pressure %q", name)
				}
			}
			// One every 100 ms: twenty in the window.
			each := func(n int, f func(*Gate)) {
				for range n {
					f(g)
					c.pass(100 * ms)
				}
			}
			good := func(g *Gate) { g.Observe(ms, 0, nil) }
			each(20, good)
			each(3, of.bad) // an outlier or three are nothing
			expect(false)
			each(20, good)
			each(16, of.bad)
			expect(true)
			if of.between != nil {
				each(100, of.between) // worse than low, better than high
				expect(true)
			}
			each(25, good)
			expect(false)
			if of.between != nil {
				each(100, of.between) // worse than low does not trip
				expect(false)
			}
		})
	}
}

// A few observations are no evidence, and without any it lapses.
func TestPressureNeedsEvidence(t *testing.T) {
	t.Parallel()
	c := newClock()
	g := gateOn(t, settings(c), none{})
	for range 7 {
		g.Observe(time.Second, time.Second, errDown)
	}
	if p := g.Pressure(); p != "" {
		t.Fatalf("%s after seven", p)
	}
	g.Observe(time.Second, time.Second, errDown)
	if p := g.Pressure(); p != "pressure_errors" { // the worst of the three
		t.Fatalf("%q after eight", p)
	}
	c.pass(2*time.Second - ms)
	if g.Pressure() == "" {
		t.Fatal("let go within the window")
	}
	c.pass(ms)
	if p := g.Pressure(); p != "" {
		t.Fatalf("%s, though nothing was seen for a window", p)
	}
	// Old observations do not come back with a new one.
	g.Observe(ms, 0, nil)
	if p := g.Pressure(); p != "" {
		t.Fatalf("%s by what is forgotten", p)
	}
}

// It stays for the dwell, and goes then without another observation.
func TestPressureDwells(t *testing.T) {
	t.Parallel()
	c := newClock()
	g := gateOn(t, settings(c), none{})
	for range 8 {
		g.Observe(time.Second, 0, nil)
	}
	for range 1000 {
		g.Observe(ms, 0, nil)
	}
	c.pass(time.Second - ms)
	if g.Pressure() != "pressure_latency" {
		t.Fatal("let go before the dwell")
	}
	c.pass(ms)
	if p := g.Pressure(); p != "" {
		t.Fatalf("%s after the dwell", p)
	}
	for range 1000 { // and trips again, with a dwell of its own
		g.Observe(time.Second, 0, nil)
	}
	for range 10_000 {
		g.Observe(ms, 0, nil)
	}
	c.pass(time.Second - ms)
	if g.Pressure() == "" {
		t.Fatal("let go before the second dwell")
	}
}

// The rate names itself before the pressure does, a forced pass wins over both.
func TestPressureComesAfterTheRate(t *testing.T) {
	t.Parallel()
	c := newClock()
	g := gateOn(t, settings(c), none{})
	s := snapshot("env")
	for range 8 {
		g.Observe(time.Second, 0, nil)
	}
	for i := range 150 {
		want := ReasonPressureLatency
		if i >= 100 {
			want = ReasonRate
		}
		if d := g.Decide(s, c.Now()); d.Outcome != Mollify || d.Reason != want {
			t.Fatalf("%d: %s %s, want %s", i, d.Outcome, d.Reason, want)
		}
	}
	g.Replace(map[string]Override{"env": {Force: ForcePass}})
	if d := g.Decide(s, c.Now()); d.Outcome != Pass || d.Reason != ReasonForced {
		t.Fatalf("%s %s", d.Outcome, d.Reason)
	}
}
