package tenant

import (
	"sync"
	"time"
)

// checkGap is the least time between the starts of two checks that unknown keys
// cause. It is how long a wrong key may have to wait, and bounds what a flood of
// them may cost Postgres.
const checkGap = 50 * time.Millisecond

// check is one look at Postgres's version on behalf of callers. err may be
// read once done is closed.
type check struct {
	done chan struct{}
	err  error
}

// checker shares one check among all callers that wait for its start. Nobody is
// answered by a check that began before it asked: a key that was made and
// committed before it was used is never refused.
//
// A check is next until the refresh loop begins it. It is sent there at once, or
// when checkGap has passed since the last one began.
type checker struct {
	mu    sync.Mutex // guards next and began
	next  *check     // nil if none waits
	began time.Time  // by the machine's monotonic clock
	// asked carries the next check to the refresh loop. It never blocks: there
	// is one next check, and no other until the loop has received it.
	asked chan *check
}

func newChecker() *checker { return &checker{asked: make(chan *check, 1)} }

// ask returns the check whose answer the caller has to wait for.
func (c *checker) ask() *check {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		return c.next
	}
	next := &check{done: make(chan struct{})}
	c.next = next
	if wait := checkGap - time.Since(c.began); c.began.IsZero() || wait <= 0 {
		c.asked <- next
	} else {
		time.AfterFunc(wait, func() { c.asked <- next })
	}
	return next
}

// begin is called by the refresh loop for a check that it received, before it
// asks Postgres: who asks from now on waits for another one.
func (c *checker) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next, c.began = nil, time.Now()
}
