package tenant

import (
	"sync"
	"time"
)

// checkGap is the least time between the starts of two checks that unknown
// keys cause.
const checkGap = time.Second

// check is one look at Postgres's version on behalf of callers. err may be
// read once done is closed.
type check struct {
	started time.Time
	done    chan struct{}
	err     error
}

func (c *check) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// checker shares one check among all callers that need one, and lets a new one
// begin only when the last is over and checkGap has passed since it began:
// until then its answer stands, good or bad.
type checker struct {
	mu   sync.Mutex // guards last
	last *check
	// asked carries a new check to the refresh loop. It never blocks: of the
	// checks that were sent, at most the last is not over.
	asked chan *check
}

func newChecker() *checker { return &checker{asked: make(chan *check, 1)} }

// ask returns the check whose answer the caller has to wait for.
func (c *checker) ask(now time.Time) *check {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.last; l != nil && (!l.over() || now.Sub(l.started) < checkGap) {
		return l
	}
	c.last = &check{started: now, done: make(chan struct{})}
	c.asked <- c.last
	return c.last
}
