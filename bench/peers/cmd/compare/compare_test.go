//go:build unix

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// Every contestant of every comparison takes triggers, every aim has a rival, and
// every figure is printed.
func TestEveryComparisonRuns(t *testing.T) {
	t.Parallel()
	var all report
	for _, c := range comparisons() {
		if c.once {
			continue // its storm alone takes too long here; BenchmarkDrain runs a small one
		}
		url, _ := stacktest.Redis(t)
		stores := &load.Stores{Redis: url, Postgres: stacktest.Postgres(t)}
		entrants, err := c.open(t.Context(), stores, load.Body(512))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		samples := make([][]load.Sample, len(entrants))
		for i, e := range entrants {
			s, err := load.Run(t.Context(), e.Contestant, min(e.callers, 8), load.Limit{Operations: 8}, stores)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			samples[i] = append(samples[i], s)
		}
		if t.Failed() {
			return
		}
		r := c.result(entrants, samples)
		aims := 0
		for _, a := range c.aims {
			for _, v := range []float64{a.rate, a.p99, a.p50} {
				if v > 0 {
					aims++
				}
			}
		}
		if len(r.Verdicts) != aims {
			t.Errorf("%s: %d verdicts, want %d", c.name, len(r.Verdicts), aims)
		}
		all.Comparisons = append(all.Comparisons, r)
		for _, e := range entrants {
			if e.Close != nil {
				e.Close()
			}
		}
	}
	var out bytes.Buffer
	all.print(&out)
	if n := strings.Count(out.String(), "reached"); n < 15 {
		t.Errorf("%d verdicts are printed:\n%s", n, out.String())
	}
}

// A verdict is of rounds in pairs, and against the best variant of a kind.
func TestMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := middle(c.values); got != c.want {
			t.Errorf("middle(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}
