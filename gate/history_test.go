package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A gate remembers when environments were tripped and why, and when that was over;
// what Postgres did to all of them, too; and says what it has forgotten.
func TestTripsAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := Defaults()
		cfg.Enrolled = func(string) bool { return true }
		g, err := New(cfg, none{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { g.Log(ctx) })
		defer done.Wait()
		defer stop()
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		began := time.Now()
		g.Count("env", 101, time.Now())
		list, since := g.Trips("env")
		if len(list) != 1 || list[0].Counted != 101 || list[0].Reason != ReasonRate || list[0].Limits != cfg.Limits ||
			!list[0].Began.Equal(began) || !list[0].Ended.IsZero() || !since.IsZero() {
			t.Errorf("%+v since %s", list, since)
		}
		pass(3 * time.Second)
		if list, _ = g.Trips("env"); !list[0].Ended.Equal(began.Add(cfg.Hold)) {
			t.Errorf("%+v", list)
		}
		for range 100 {
			g.Observe(0, 0, errors.New("down"))
		}
		pass(2 * time.Second)
		for range 100 {
			g.Observe(0, 0, errors.New("down"))
		}
		pass(time.Minute)
		list, _ = g.Trips("other")
		if len(list) == 0 || list[0].Environment != "" || list[0].Reason != ReasonPressureErrors || list[0].Ended.IsZero() {
			t.Errorf("%+v", list)
		}
		for i := range remembered + 5 {
			g.Count(fmt.Sprint("env", i), 101, time.Now())
		}
		if list, since = g.Trips("env"); since.IsZero() {
			t.Errorf("%+v since %s", list, since)
		}
		for _, trip := range list {
			if trip.Environment == "env" {
				t.Error("the first one is still there")
			}
		}
	})
}
