package limits_test

import (
	"testing"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/bench/limits"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

// each limit with the callers that suit it.
func each(tb testing.TB, s *load.Stores) map[string]struct {
	callers int
	open    func() (*load.Contestant, error)
} {
	ctx, payload := tb.Context(), load.Body(512)
	return map[string]struct {
		callers int
		open    func() (*load.Contestant, error)
	}{
		"set/pipeline=1":        {64, func() (*load.Contestant, error) { return limits.Set(s, 1, 64, payload) }},
		"set/pipeline=64":       {64, func() (*load.Contestant, error) { return limits.Set(s, 64, 64, payload) }},
		"accept/keyed/batch=64": {8, func() (*load.Contestant, error) { return limits.Accept(ctx, s, 64, payload, true) }},
		"accept/keyed/batch=200": {2, func() (*load.Contestant, error) {
			return limits.Accept(ctx, s, 200, payload, true)
		}},
		"accept/keyless/batch=200": {2, func() (*load.Contestant, error) {
			return limits.Accept(ctx, s, 200, payload, false)
		}},
		"insert/batch=500":  {2, func() (*load.Contestant, error) { return limits.Insert(ctx, s, 500, 2, payload, true) }},
		"grouped/conns=2":   {256, func() (*load.Contestant, error) { return limits.Grouped(ctx, s, 500, 2, payload) }},
		"copy/batch=1000":   {2, func() (*load.Contestant, error) { return limits.Copy(ctx, s, 1000, 2, payload) }},
		"row":               {32, func() (*load.Contestant, error) { return limits.Row(ctx, s, 32, payload) }},
		"trips/set-and-row": {1, func() (*load.Contestant, error) { return limits.Trip(ctx, s, payload) }},
		"trips/read-and-set": {1, func() (*load.Contestant, error) {
			return limits.LookTrip(ctx, s, payload)
		}},
	}
}

func BenchmarkLimits(b *testing.B) {
	s := load.ForTest(b, load.FsyncAlways)
	for name, l := range each(b, s) {
		b.Run(name, func(b *testing.B) {
			c, err := l.open()
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			load.Measure(b, c, l.callers, s)
		})
	}
}

// What each limit does, it does: an operation of each is carried out.
func TestEveryLimitRuns(t *testing.T) {
	t.Parallel()
	url, _ := stacktest.Redis(t)
	s := &load.Stores{Redis: url, Postgres: stacktest.Postgres(t)}
	for name, l := range each(t, s) {
		c, err := l.open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := load.Run(t.Context(), c, 2, load.Limit{Operations: 2}, s)
		if err != nil || got.Operations != 2 || got.Triggers != 2*max(c.Each, 1) || got.Quantile(1) <= 0 {
			t.Errorf("%s: %d operations, %d triggers, %v", name, got.Operations, got.Triggers, err)
		}
		c.Close()
	}
}
