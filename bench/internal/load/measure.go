package load

import (
	"testing"
	"time"
)

// Measure has callers carry out b.N operations of c and reports what they met, as
// benchstat reads it. A round before, which opens connections, is not counted.
func Measure(b *testing.B, c *Contestant, callers int, meter *Stores) Sample {
	b.Helper()
	if _, err := Run(b.Context(), c, callers, Limit{Operations: 2 * callers}, meter); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	s, err := Run(b.Context(), c, callers, Limit{Operations: b.N}, meter)
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	s.report(b)
	return s
}

func (s *Sample) report(b *testing.B) {
	b.ReportMetric(s.Rate(), "triggers/s")
	b.ReportMetric(milliseconds(s.Quantile(0.50)), "p50-ms")
	b.ReportMetric(milliseconds(s.Quantile(0.99)), "p99-ms")
	b.ReportMetric(s.Each(microseconds(s.CPU.Total())), "cpu-us/trigger")
	for _, name := range []string{RedisCalls, Statements} {
		if v, ok := s.Counts[name]; ok {
			b.ReportMetric(s.Each(v), name+"/trigger")
		}
	}
	if n := s.Counts[Statements]; n > 0 && s.Counts[Rows] > 0 {
		b.ReportMetric(s.Counts[Rows]/n, "rows/statement")
	}
}

// The names of [Counts] that are reported for each trigger.
const (
	RedisCalls = "redis-calls" // round trips, however much each carried
	Statements = "statements"  // to Postgres
	Rows       = "rows"        // that the statements wrote
)

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
