package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Limit ends a loop: after so many operations, or after so long. Zero is no limit.
type Limit struct {
	Operations int
	For        time.Duration
}

// Sample is what the callers of one loop met.
type Sample struct {
	Operations int
	Triggers   int
	Elapsed    time.Duration
	Mallocs    uint64 // of this whole process
	Bytes      uint64
	CPU        Usage
	Counts     Counts

	latency *hdrhistogram.Histogram
}

// Rate is triggers a second.
func (s *Sample) Rate() float64 { return float64(s.Triggers) / s.Elapsed.Seconds() }

// Quantile is how long an operation took, to about one in a hundred.
func (s *Sample) Quantile(q float64) time.Duration {
	return time.Duration(s.latency.ValueAtQuantile(100 * q))
}

// Each divides by the triggers.
func (s *Sample) Each(v float64) float64 { return v / float64(max(s.Triggers, 1)) }

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Nanoseconds(), 2)
}

// Run has callers carry out operations, each its next when the last is done, and
// returns what they met. The first error ends the loop. meter says whose CPU is
// counted; nil counts this process alone.
func Run(ctx context.Context, c *Contestant, callers int, limit Limit, meter *Stores) (Sample, error) {
	var (
		left    atomic.Int64
		fault   atomic.Pointer[error]
		over    atomic.Bool
		wait    sync.WaitGroup
		mem     [2]runtime.MemStats
		latency = make([]*hdrhistogram.Histogram, callers)
	)
	left.Store(int64(limit.Operations))
	for i := range latency {
		latency[i] = newHistogram()
	}
	counts, cpu := c.counts(), meter.usage()
	runtime.ReadMemStats(&mem[0])
	began := time.Now()
	if limit.For > 0 {
		defer time.AfterFunc(limit.For, func() { over.Store(true) }).Stop()
	}
	for _, h := range latency {
		wait.Go(func() {
			for !over.Load() && fault.Load() == nil && (limit.Operations == 0 || left.Add(-1) >= 0) {
				start := time.Now()
				if err := c.Do(ctx, int(c.next.Add(1))); err != nil {
					fault.CompareAndSwap(nil, &err)
					return
				}
				_ = h.RecordValue(min(time.Since(start), time.Minute).Nanoseconds())
			}
		})
	}
	wait.Wait()
	elapsed := time.Since(began)
	runtime.ReadMemStats(&mem[1])
	s := Sample{Elapsed: elapsed, CPU: meter.usage().less(cpu), latency: newHistogram()}
	s.Mallocs, s.Bytes = mem[1].Mallocs-mem[0].Mallocs, mem[1].TotalAlloc-mem[0].TotalAlloc
	s.Counts = c.counts().Less(counts)
	for _, h := range latency {
		s.latency.Merge(h)
	}
	s.Operations = int(s.latency.TotalCount())
	s.Triggers = s.Operations * c.each()
	if err := fault.Load(); err != nil {
		return s, fmt.Errorf("%s: %w", c.Name, *err)
	}
	if c.Settled != nil {
		if err := c.Settled(ctx); err != nil {
			return s, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	if s.Operations == 0 {
		return s, errors.New(c.Name + ": no operation was carried out")
	}
	return s, nil
}
