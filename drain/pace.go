package drain

import (
	"math/rand/v2"
	"sync"
	"time"
)

// pace decides how much is under way: additive increase while Postgres answers
// within the target, multiplicative decrease when it does not. Batches shrink
// before there are fewer of them, and are few and small after an outage.
type pace struct {
	maxBatch, maxFlight int
	target              time.Duration
	pauseMin, pauseMax  time.Duration

	mu     sync.Mutex
	batch  int
	flight int
	busy   int
	// changed is when the pace was last reduced: what began before it says
	// nothing about the new pace.
	changed time.Time
	// down is set from a failure of the store until the next success; until is
	// the end of the pause, and pause its length.
	down  bool
	pause time.Duration
	until time.Time

	freed chan struct{} // has room for one: a place was freed, or the pace changed
}

// smallBatch is what a batch has at least, unless something is wrong with it.
const smallBatch = 8

func newPace(c *Config) *pace {
	return &pace{
		maxBatch: c.BatchSize, maxFlight: c.InFlight, target: c.Target,
		pauseMin: c.PauseMin, pauseMax: c.PauseMax,
		// Begin in the middle: a first batch that is slow halves it at once.
		batch: max(min(smallBatch, c.BatchSize), c.BatchSize/2), flight: max(1, c.InFlight/2),
		freed: make(chan struct{}, 1),
	}
}

// enter takes a place for a batch that begins now. If there is none, wait says
// how long to wait at most, in case nothing is freed before; 0 means until
// something is.
func (p *pace) enter(now time.Time) (ok bool, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down && now.Before(p.until):
		return false, p.until.Sub(now)
	case p.down && p.busy > 0, p.busy >= p.flight:
		return false, 0
	}
	p.busy++
	return true, 0
}

// leave gives the place back.
func (p *pace) leave() {
	p.mu.Lock()
	p.busy--
	p.mu.Unlock()
	signal(p.freed)
}

// size is how many entries the next batch should have.
func (p *pace) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return min(smallBatch, p.batch)
	}
	return p.batch
}

// succeeded tells of a transaction with n entries that began at the given time.
func (p *pace) succeeded(n int, began, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down && !began.Before(p.changed) {
		p.down, p.pause = false, 0
		signal(p.freed)
	}
	took := now.Sub(began)
	switch {
	case took > p.target:
		p.reduce(began, now)
	case n < p.batch: // says nothing about larger ones
	case p.batch < p.maxBatch:
		p.batch = min(p.maxBatch, p.batch+max(1, p.maxBatch/16))
	case p.flight < p.maxFlight:
		p.flight++
		signal(p.freed)
	}
}

// reduce halves the batches, and the number of batches once they are small.
func (p *pace) reduce(began, now time.Time) {
	if began.Before(p.changed) {
		return
	}
	p.changed = now
	if p.batch > smallBatch {
		p.batch = max(min(smallBatch, p.maxBatch), p.batch/2)
		return
	}
	p.flight = max(1, p.flight/2)
}

// failed tells that Postgres as a whole did not serve a batch that began at the
// given time, and begins a pause. Batches that fail together make one pause.
func (p *pace) failed(began, now time.Time, atLeast time.Duration) (pause time.Duration, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down && began.Before(p.changed) {
		return 0, false
	}
	first = !p.down
	p.pause = grow(p.pause, p.pauseMin, p.pauseMax)
	pause = max(jitter(p.pause), min(atLeast, p.pauseMax))
	p.down, p.until, p.changed = true, now.Add(pause), now
	p.batch, p.flight = max(min(smallBatch, p.maxBatch), p.batch/2), max(1, p.flight/2)
	return pause, first
}

// paused reports whether the last word of Postgres was a failure.
func (p *pace) paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// grow doubles a pause within its bounds.
func grow(d, least, most time.Duration) time.Duration {
	return min(max(2*d, least), most)
}

// jitter draws from the upper half of d.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/2)
}
