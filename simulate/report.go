package simulate

import (
	"math/bits"
	"time"
)

// Report is what a storm does to a deployment. Every trigger is exactly one of
// Passed, Mollified, Shared and Refused.
type Report struct {
	Triggers, Passed, Mollified, Shared int
	Refused                             Refused

	Duration time.Duration // from the first moment to the last trigger
	// Wait is the longest that a trigger that passed waited for Postgres to be free.
	Wait time.Duration

	PeakEntries int
	// PeakBytes are those that the bounds count, PeakRedis those that Redis needs.
	PeakBytes, PeakRedis int64
	// OldestAge is how long the oldest run had waited at most, seen at the moments of Depth.
	OldestAge time.Duration
	// Empty is when the last buffered run was in Postgres; 0 if nothing was buffered.
	Empty time.Duration
	// Dwell is how long a run was in the buffer, to within 2%.
	DwellP50, DwellP99 time.Duration

	// Depth is how many entries the buffer had at most, in spans of DepthEvery.
	Depth      []int
	DepthEvery time.Duration

	depth series
	dwell histogram
}

// Refused says by which bound triggers were refused.
type Refused struct {
	Total                    int
	Entries, Bytes           int // an environment's share: 429
	TotalEntries, TotalBytes int // the whole: 503
	Age                      int // the oldest run waits too long: 503
}

func newReport() *Report { return &Report{depth: series{every: firstLook}} }

func (r *Report) peak(b *buffer, bytesPerRun int64) {
	r.PeakEntries, r.PeakBytes = max(r.PeakEntries, b.entries), max(r.PeakBytes, b.bytes)
	r.PeakRedis = max(r.PeakRedis, b.bytes+int64(b.entries)*(bytesPerRun-overhead))
	r.depth.now = max(r.depth.now, b.entries)
}

func (r *Report) finish() {
	r.Depth, r.DepthEvery = r.depth.all, r.depth.every
	r.DwellP50, r.DwellP99 = r.dwell.quantile(0.5), r.dwell.quantile(0.99)
}

// series is maxima over spans of equal length. When there are too many, two become
// one, so that it has a bounded size whatever the time.
type series struct {
	all   []int
	every time.Duration
	now   int // of the span that is not over
}

const (
	firstLook = 10 * time.Millisecond
	maxLooks  = 512
)

// add ends a span with what there is now, and returns the length of the next.
func (s *series) add(n int) time.Duration {
	s.all = append(s.all, max(s.now, n))
	s.now = n
	if len(s.all) == maxLooks {
		for i := range maxLooks / 2 {
			s.all[i] = max(s.all[2*i], s.all[2*i+1])
		}
		s.all, s.every = s.all[:maxLooks/2], 2*s.every
	}
	return s.every
}

// histogram counts times, in microseconds: 64 buckets from each power of two to the next.
type histogram struct {
	buckets [64 * 64]int
	n       int
}

func (h *histogram) add(d time.Duration) {
	us := uint64(max(d/time.Microsecond, 0))
	shift := max(bits.Len64(us)-7, 0)
	h.buckets[shift*64+int(us>>shift)]++
	h.n++
}

// quantile is the middle of the bucket in which the quantile lies.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	before, rank := 0, int(q*float64(h.n-1))
	for i, n := range h.buckets {
		if before += n; before > rank {
			if i < 128 {
				return time.Duration(i) * time.Microsecond
			}
			shift := i/64 - 1
			low := uint64(i-shift*64) << shift
			return time.Duration(low+1<<shift/2) * time.Microsecond
		}
	}
	panic("simulate: a histogram that does not add up")
}
