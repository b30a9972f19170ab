package gate

import "time"

// Algorithm says how triggers are counted.
type Algorithm uint8

const (
	// FixedWindow counts in windows that begin with their first trigger, and
	// trips above the threshold. Twice the threshold may pass around a window's
	// edge.
	FixedWindow Algorithm = iota
	// GCRA fills a bucket that holds the threshold and drains evenly, a
	// threshold each window. There is no edge: at any time, no more than the
	// threshold passes at once.
	GCRA
)

var algorithmNames = [...]string{"fixed", "gcra"}

// String returns the algorithm's name.
func (a Algorithm) String() string { return algorithmNames[a] }

// limits are an environment's settings as the counters take them, in
// microseconds. All are positive, and none is more than an hour or a million.
type limits struct {
	algorithm               Algorithm
	window, threshold, hold int64
}

func (l limits) exported() Limits {
	return Limits{Window: span(l.window), Threshold: int(l.threshold), Hold: span(l.hold)}
}

// each is what one trigger takes of a GCRA bucket, in nanoseconds of draining.
func (l limits) each() int64 { return l.window * 1000 / l.threshold }

// counter is what is counted of one environment: the same thing, and moved by
// the same rules, as the record that the scripts keep, on whatever clock of
// microseconds. Zero is an environment of which nothing was counted.
type counter struct {
	held  int64 // tripped before this instant
	mark  int64 // fixed window: its end. GCRA: the instant of level
	level int64 // fixed window: the count. GCRA: nanoseconds of draining
}

// add counts n triggers at an instant.
func (c *counter) add(now, n int64, l limits) {
	c.held = min(c.held, now+l.hold)
	switch l.algorithm {
	case FixedWindow:
		c.mark = min(c.mark, now+l.window)
		if c.mark <= now {
			c.mark, c.level = now+l.window, 0
		}
		c.level = min(c.level+n, 1_000_000_000_000)
		if c.level > l.threshold {
			c.held = now + l.hold
		}
	case GCRA:
		full := l.each() * l.threshold
		c.level = min(c.drained(now), full) + min(n, l.threshold+1)*l.each()
		c.mark = now
		if c.level > full {
			c.level, c.held = full, now+l.hold
		}
	}
}

// drained is what is left of a GCRA level.
func (c *counter) drained(now int64) int64 {
	passed := min(max(now-c.mark, 0), c.level/1000+1)
	return max(c.level-passed*1000, 0)
}

// reading is what a script said of an environment: spans, not instants,
// because its clock is nobody else's.
type reading struct {
	time  int64 // Redis's TIME
	held  int64 // how much longer it is tripped
	ends  int64 // how much longer the window is, or until the bucket is empty
	level int64
}

// at is the reading on the clock of whoever received it. Received later than
// it was taken, it is never earlier than the truth: windows and holds end on a
// node when they have ended in Redis.
func (r reading) at(received int64, a Algorithm) counter {
	c := counter{held: received + r.held, mark: received, level: r.level}
	if r.held == 0 {
		c.held = 0
	}
	if a == FixedWindow {
		c.mark = received + r.ends
	}
	return c
}

// over reports whether the counter says nothing any more.
func (c *counter) over(now int64, a Algorithm) bool {
	if c.held > now {
		return false
	}
	if a == FixedWindow {
		return c.mark <= now
	}
	return c.drained(now) == 0
}

func micros(d time.Duration) int64 { return int64(d / time.Microsecond) }

func span(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
