//go:build unix

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// result is what one comparison came to.
type result struct {
	Name        string    `json:"name"`
	Fsync       string    `json:"appendfsync"`
	Contestants []figures `json:"contestants"` // ours first
	Verdicts    []verdict `json:"verdicts"`
}

// figures are the medians of a contestant's rounds.
type figures struct {
	Name       string    `json:"name"`
	Callers    int       `json:"callers"`
	Rate       float64   `json:"triggersPerSecond"`
	Rates      []float64 `json:"rates"`
	P50        float64   `json:"p50Milliseconds"`
	P99        float64   `json:"p99Milliseconds"`
	Allocs     float64   `json:"allocsPerTrigger"`
	RedisCalls float64   `json:"redisCallsPerTrigger"`
	Statements float64   `json:"statementsPerTrigger"`
	Own        float64   `json:"ownCPUMicrosecondsPerTrigger"`
	Redis      float64   `json:"redisCPUMicrosecondsPerTrigger"`
	Postgres   float64   `json:"postgresCPUMicrosecondsPerTrigger"`
}

// verdict is ours against the best variant of a kind.
type verdict struct {
	Against string  `json:"against"`
	What    string  `json:"what"` // rate, p99 or p50
	Ratio   float64 `json:"ratio"`
	Aim     float64 `json:"aim"`
	Reached bool    `json:"reached"`
}

func (c *comparison) result(entrants []entrant, samples [][]load.Sample) result {
	r := result{Name: c.name, Fsync: c.fsync}
	for i, e := range entrants {
		r.Contestants = append(r.Contestants, figuresOf(e, samples[i]))
	}
	rate := func(s *load.Sample) float64 { return s.Rate() }
	for _, a := range c.aims {
		best := -1
		for i, e := range entrants {
			if e.kind == a.kind && (best < 0 || r.Contestants[i].Rate > r.Contestants[best].Rate) {
				best = i
			}
		}
		if best < 0 {
			continue
		}
		add := func(what string, aim float64, most bool, of func(*load.Sample) float64) {
			if aim == 0 {
				return
			}
			ratio := medianRatio(samples[0], samples[best], of)
			r.Verdicts = append(r.Verdicts, verdict{
				Against: entrants[best].Name, What: what, Ratio: ratio, Aim: aim, Reached: most == (ratio <= aim),
			})
		}
		add("rate", a.rate, false, rate)
		add("p99", a.p99, true, func(s *load.Sample) float64 { return float64(s.Quantile(0.99)) })
		add("p50", a.p50, true, func(s *load.Sample) float64 { return float64(s.Quantile(0.50)) })
	}
	return r
}

func figuresOf(e entrant, samples []load.Sample) figures {
	of := func(f func(s *load.Sample) float64) float64 { return median(samples, f) }
	each := func(f func(s *load.Sample) float64) float64 {
		return of(func(s *load.Sample) float64 { return s.Each(f(s)) })
	}
	f := figures{
		Name: e.Name, Callers: e.callers,
		Rate:       of(func(s *load.Sample) float64 { return s.Rate() }),
		P50:        of(func(s *load.Sample) float64 { return ms(s.Quantile(0.50)) }),
		P99:        of(func(s *load.Sample) float64 { return ms(s.Quantile(0.99)) }),
		Allocs:     each(func(s *load.Sample) float64 { return float64(s.Mallocs) }),
		RedisCalls: each(func(s *load.Sample) float64 { return s.Counts[load.RedisCalls] }),
		Statements: each(func(s *load.Sample) float64 { return s.Counts[load.Statements] }),
		Own:        each(func(s *load.Sample) float64 { return us(s.CPU.Own) }),
		Redis:      each(func(s *load.Sample) float64 { return us(s.CPU.Redis) }),
		Postgres:   each(func(s *load.Sample) float64 { return us(s.CPU.Postgres) }),
	}
	for i := range samples {
		f.Rates = append(f.Rates, samples[i].Rate())
	}
	return f
}

func median(samples []load.Sample, f func(s *load.Sample) float64) float64 {
	values := make([]float64, len(samples))
	for i := range samples {
		values[i] = f(&samples[i])
	}
	return middle(values)
}

// medianRatio compares round by round.
func medianRatio(ours, theirs []load.Sample, f func(s *load.Sample) float64) float64 {
	values := make([]float64, len(ours))
	for i := range ours {
		values[i] = f(&ours[i]) / f(&theirs[i])
	}
	return middle(values)
}

func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (appendfsync %s)\n\n", r.Name, r.Fsync)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ttriggers/s\tmin..max\tp50 ms\tp99 ms\tallocs\tCPU us: own\tRedis\tPostgres\t")
	for _, f := range r.Contestants {
		fmt.Fprintf(t, "%s, %d callers\t%.0f\t%.0f..%.0f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", f.Name, f.Callers,
			f.Rate, slices.Min(f.Rates), slices.Max(f.Rates), f.P50, f.P99, f.Allocs, f.Own, f.Redis, f.Postgres)
	}
	_ = t.Flush()
}

// print writes all ratios as one table.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\nRatios: ours to theirs, the median of %d rounds in turn, on %d CPUs shared with both stores\n\n", r.Rounds, r.CPUs)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "path\tagainst\twhat\tratio\taim\t")
	for _, c := range r.Comparisons {
		for _, v := range c.Verdicts {
			sign, mark := "at least", "reached"
			if v.What != "rate" {
				sign = "at most"
			}
			if !v.Reached {
				mark = "not reached"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%s %g\t%s\n", c.Name, v.Against, v.What, v.Ratio, sign, v.Aim, mark)
		}
	}
	_ = t.Flush()
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
