package gate

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Watermarks are where a signal trips and where it lets go: between the two it
// stays as it is.
type Watermarks struct{ High, Low time.Duration }

// PressureConfig says when what Postgres does trips the gate. Every field is
// required.
type PressureConfig struct {
	// Window is how far back observations count: 10 ms to 1 min.
	Window time.Duration
	// Least is how many observations the window must hold for a signal to trip
	// or to stay tripped: at least 1.
	Least int
	// Share of the observations must lie above a watermark for the signal to
	// count as above it: over 0, under 1.
	Share float64
	// Latency of what the store writes.
	Latency Watermarks
	// Pool is how long a connection was waited for.
	Pool Watermarks
	// ErrorsHigh and ErrorsLow are the watermarks of the share of observations
	// that failed: over 0, at most 1.
	ErrorsHigh, ErrorsLow float64
	// Dwell is how long a signal stays tripped at least: 0 to 1 min.
	Dwell time.Duration
}

// DefaultPressure trips where a store is in trouble, and not where it is busy:
// a quarter of its writes over 250 ms, or of its connections waited for over
// 100 ms, or half of all failed, in the last two seconds.
func DefaultPressure() PressureConfig {
	return PressureConfig{
		Window: 2 * time.Second, Least: 8, Share: 0.25,
		Latency:    Watermarks{High: 250 * time.Millisecond, Low: 100 * time.Millisecond},
		Pool:       Watermarks{High: 100 * time.Millisecond, Low: 20 * time.Millisecond},
		ErrorsHigh: 0.5, ErrorsLow: 0.1,
		Dwell: time.Second,
	}
}

func (c PressureConfig) validate() error {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"Window", c.Window >= 10*time.Millisecond && c.Window <= time.Minute, "must be 10ms to 1m"},
		{"Least", c.Least >= 1, "must be at least 1"},
		{"Share", c.Share > 0 && c.Share < 1, "must be over 0 and under 1"},
		{"Latency.Low", c.Latency.Low > 0, "must be positive"},
		{"Latency.High", c.Latency.High >= c.Latency.Low, "must be at least Latency.Low"},
		{"Pool.Low", c.Pool.Low > 0, "must be positive"},
		{"Pool.High", c.Pool.High >= c.Pool.Low, "must be at least Pool.Low"},
		{"ErrorsLow", c.ErrorsLow > 0, "must be positive"},
		{"ErrorsHigh", c.ErrorsHigh >= c.ErrorsLow && c.ErrorsHigh <= 1, "must be at least ErrorsLow, and at most 1"},
		{"Dwell", c.Dwell >= 0 && c.Dwell <= time.Minute, "must be 0 to 1m"},
	} {
		if !rule.ok {
			return fmt.Errorf("gate: Config.Pressure.%s %s", rule.field, rule.limit)
		}
	}
	return nil
}

// The signals, worst first.
const (
	signalErrors = iota
	signalPool
	signalLatency
	signals
)

var signalReasons = [signals]Reason{ReasonPressureErrors, ReasonPressurePool, ReasonPressureLatency}

// slots is how many parts the window is forgotten in.
const slots = 8

// slot counts the observations of an eighth of the window.
type slot struct {
	number    int64 // which eighth since the beginning
	n, failed int
	latency   time.Duration // of all together
	wait      time.Duration // for a connection, of all together
	slowest   time.Duration
	high, low [signals]int // how many lay above each watermark
}

// pressure watches Postgres. There is no timer: an observation judges the
// window, and what it finds tripped lapses by itself when no more of them come,
// because then nothing is known.
type pressure struct {
	cfg PressureConfig

	mu    sync.Mutex // guards slots and since
	slots [slots]slot
	since [signals]int64 // when it tripped, in us; 0: it is not tripped

	until [signals]atomic.Int64 // tripped before this instant, in us
}

// observe takes one observation at an instant.
func (p *pressure) observe(now int64, latency, poolWait time.Duration, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := now / p.slotLength()
	s := &p.slots[number%slots]
	if s.number != number {
		*s = slot{number: number}
	}
	s.n++
	s.latency, s.wait, s.slowest = s.latency+latency, s.wait+poolWait, max(s.slowest, latency)
	if failed {
		s.failed++
	}
	for i, above := range [signals][2]bool{
		signalErrors:  {failed, failed},
		signalPool:    {poolWait > p.cfg.Pool.High, poolWait > p.cfg.Pool.Low},
		signalLatency: {latency > p.cfg.Latency.High, latency > p.cfg.Latency.Low},
	} {
		if above[0] {
			s.high[i]++
		}
		if above[1] {
			s.low[i]++
		}
	}

	sum := p.sum(number)
	for i := range signals {
		p.judge(now, i, sum)
	}
}

// sum adds up the window that ends with an eighth; mu is held.
func (p *pressure) sum(number int64) (sum slot) {
	for i := range p.slots {
		s := &p.slots[i]
		if s.number <= number-slots || s.number > number {
			continue
		}
		sum.n, sum.failed = sum.n+s.n, sum.failed+s.failed
		sum.latency, sum.wait, sum.slowest = sum.latency+s.latency, sum.wait+s.wait, max(sum.slowest, s.slowest)
		for j := range signals {
			sum.high[j] += s.high[j]
			sum.low[j] += s.low[j]
		}
	}
	return sum
}

// Load is what Postgres was like for this node in the last [PressureConfig].Window.
type Load struct {
	Calls     int           // observed; the rest is zero without any
	Failed    int           // of them
	Latency   time.Duration // mean, of what was written
	Slowest   time.Duration
	PoolWait  time.Duration // mean time for which a connection was waited for
	Watermark time.Duration // of latency, over which the gate trips: see [Watermarks].High
}

func (p *pressure) load(now int64) Load {
	p.mu.Lock()
	sum := p.sum(now / p.slotLength())
	p.mu.Unlock()
	l := Load{Calls: sum.n, Failed: sum.failed, Slowest: sum.slowest, Watermark: p.cfg.Latency.High}
	if sum.n > 0 {
		l.Latency, l.PoolWait = sum.latency/time.Duration(sum.n), sum.wait/time.Duration(sum.n)
	}
	return l
}

func (p *pressure) slotLength() int64 { return max(micros(p.cfg.Window)/slots, 1) }

func (p *pressure) judge(now int64, signal int, sum slot) {
	high, low := p.cfg.Share, p.cfg.Share
	if signal == signalErrors {
		high, low = p.cfg.ErrorsHigh, p.cfg.ErrorsLow
	}
	n := float64(sum.n)
	enough := sum.n >= p.cfg.Least
	tripped := p.until[signal].Load() > now
	switch {
	case !tripped && (!enough || float64(sum.high[signal]) < high*n):
		p.since[signal] = 0
		return
	case !tripped:
		p.since[signal] = now
	case !enough || float64(sum.low[signal]) < low*n:
		p.until[signal].Store(p.since[signal] + micros(p.cfg.Dwell))
		return
	}
	p.until[signal].Store(max(now+micros(p.cfg.Window), p.since[signal]+micros(p.cfg.Dwell)))
}

// reason returns the worst signal that is tripped, or noReason.
func (p *pressure) reason(now int64) Reason {
	for i := range signals {
		if p.until[i].Load() > now {
			return signalReasons[i]
		}
	}
	return noReason
}
