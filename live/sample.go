package live

import (
	"math"
	"time"
)

// sample is one second of this node. Rates are per second; the buffer's levels are the
// deployment's.
type sample struct {
	At        int64   `json:"at"` // ms since 1970
	Triggers  float64 `json:"triggers"`
	Passed    float64 `json:"passed"`
	Mollified float64 `json:"mollified"`
	Shared    float64 `json:"shared"`
	Refused   float64 `json:"refused"` // together; what is invalid is the caller's own fault, and not in it
	refusals
	Calls     float64 `json:"calls"`   // to both stores, each of many triggers
	Drained   float64 `json:"drained"` // entries whose row was written or found
	LatencyMS float64 `json:"latencyMs"`
	SlowestMS float64 `json:"slowestMs"`
	PoolMS    float64 `json:"poolMs"`
	Entries   int64   `json:"entries"`
	OldestMS  int64   `json:"oldestMs"`
}

// refusals are the parts of what is refused.
type refusals struct {
	OverQuota   float64 `json:"overQuota"`   // the environment's share of the buffer is full
	BufferFull  float64 `json:"bufferFull"`  // or the whole
	Overloaded  float64 `json:"overloaded"`  // too much waits on this node
	Unavailable float64 `json:"unavailable"` // the stores, or the owner of the key, gave no answer in time
	Otherwise   float64 `json:"otherwise"`
}

// of is where a reason of [telemetry.Refused] counts; nil for nowhere.
func (r *refusals) of(reason string) *float64 {
	switch reason {
	case "invalid", "abandoned":
		return nil
	case "over_quota":
		return &r.OverQuota
	case "buffer_full":
		return &r.BufferFull
	case "overloaded":
		return &r.Overloaded
	case "unavailable", "claim_timeout":
		return &r.Unavailable
	}
	return &r.Otherwise
}

// sampleOf is what happened between two readings.
func sampleOf(before, now reading) sample {
	seconds := max(now.at.Sub(before.at).Seconds(), 1e-3)
	rate := func(after, before uint64) float64 { return round(float64(after-min(before, after)) / seconds) }
	a, b, earlier := before.stats, now.stats, before.refused
	s := sample{
		At:        now.at.UnixMilli(),
		Triggers:  rate(b.Triggers, a.Triggers),
		Passed:    rate(b.Settles, a.Settles),
		Mollified: rate(b.Mollified, a.Mollified),
		Calls: rate(b.RedisCalls+b.SettleCalls+b.CheckCalls+b.LookCalls+b.AcceptCalls,
			a.RedisCalls+a.SettleCalls+a.CheckCalls+a.LookCalls+a.AcceptCalls),
		Drained:   rate(uint64(now.drained.Materialised), uint64(before.drained.Materialised)),
		LatencyMS: millis(now.load.Latency), SlowestMS: millis(now.load.Slowest), PoolMS: millis(now.load.PoolWait),
		Entries: now.levels.Total.Entries, OldestMS: now.levels.Total.Oldest.Milliseconds(),
	}
	for i, r := range now.refused {
		before := uint64(0)
		if i < len(earlier) {
			before = earlier[i].Count
		}
		if to := s.of(r.Reason); to != nil {
			n := rate(r.Count, before)
			*to = round(*to + n)
			s.Refused = round(s.Refused + n)
		}
	}
	// Who is refused because too much waits here is not taken in at all.
	s.Shared = round(max(0, s.Triggers-s.Passed-s.Mollified-(s.Refused-s.Overloaded)))
	return s
}

func round(x float64) float64 { return math.Round(x*10) / 10 }

// millis are milliseconds to a hundredth.
func millis(d time.Duration) float64 { return math.Round(d.Seconds()*100_000) / 100 }
