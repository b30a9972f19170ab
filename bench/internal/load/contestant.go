package load

import (
	"context"
	"sync/atomic"
)

// Contestant takes triggers in one way. What it opened it closes in Close.
type Contestant struct {
	Name string
	// Do carries out operation i. No two calls get the same i, in whatever round,
	// so an i may become a key. It is called by all callers at once.
	Do func(ctx context.Context, i int) error
	// Each is how many triggers one operation is; zero means one.
	Each int
	// Counts returns figures that only grow: calls to Redis and the like. Nil: none.
	Counts func() Counts
	// Settled waits until nothing of the operations before is still under way.
	// Nil: nothing ever is.
	Settled func(ctx context.Context) error
	// Ready waits until the contestant is as it will be for long. Nil: it is at once.
	Ready func(ctx context.Context) error
	// Close may be nil.
	Close func()

	next atomic.Int64
}

// Counts are named figures.
type Counts map[string]float64

// Less subtracts, name by name.
func (c Counts) Less(before Counts) Counts {
	out := make(Counts, len(c))
	for name, v := range c {
		out[name] = v - before[name]
	}
	return out
}

func (c *Contestant) each() int { return max(c.Each, 1) }

func (c *Contestant) counts() Counts {
	if c.Counts == nil {
		return nil
	}
	return c.Counts()
}
