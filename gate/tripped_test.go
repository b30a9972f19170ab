package gate

import (
	"fmt"
	"testing"
	"time"
)

// Who watches sees the environments that are tripped, the busiest first, until
// their hold is over; and how many more there are.
func TestTripped(t *testing.T) {
	t.Parallel()
	c := newClock()
	cfg := settings(c)
	cfg.Threshold, cfg.Window, cfg.Hold = 10, 200*ms, time.Second
	g := gateOn(t, cfg, none{})
	if list, total := g.Tripped(5, c.Now()); len(list) != 0 || total != 0 {
		t.Fatalf("%v, %d", list, total)
	}
	for i, triggers := range []int{10, 11, 40, 20} {
		for range triggers {
			g.Decide(snapshot(fmt.Sprint("env_", i)), c.Now())
		}
	}
	list, total := g.Tripped(2, c.Now())
	if total != 3 || len(list) != 2 {
		t.Fatalf("%d of %d are tripped: %v", len(list), total, list)
	}
	first := Tripped{Environment: "env_2", State: State{Tripped: true, Hold: time.Second, Count: 40, Left: 200 * ms}, Window: 200 * ms, Threshold: 10}
	if list[0] != first || list[1].Environment != "env_3" {
		t.Errorf("%+v", list)
	}
	c.pass(600 * ms)
	if list, _ := g.Tripped(1, c.Now()); len(list) != 1 || list[0].Hold != 400*ms || list[0].Count != 0 {
		t.Errorf("after the window: %+v", list)
	}
	c.pass(400 * ms)
	if list, total := g.Tripped(5, c.Now()); len(list) != 0 || total != 0 {
		t.Errorf("after the hold: %v, %d", list, total)
	}
}

// The load is of the window alone, and zero once nothing is observed.
func TestLoad(t *testing.T) {
	t.Parallel()
	c := newClock()
	g := gateOn(t, settings(c), none{})
	g.Observe(10*ms, 2*ms, nil)
	g.Observe(30*ms, 0, errDown)
	want := Load{Calls: 2, Failed: 1, Latency: 20 * ms, Slowest: 30 * ms, PoolWait: ms, Watermark: 250 * ms}
	if l := g.Load(); l != want {
		t.Errorf("%+v, want %+v", l, want)
	}
	c.pass(3 * time.Second)
	if l := g.Load(); l != (Load{Watermark: 250 * ms}) {
		t.Errorf("after the window: %+v", l)
	}
}
