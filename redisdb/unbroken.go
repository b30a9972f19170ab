package redisdb

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// aftermath is how long after this DB's Redis is back other nodes may still act
// as if it were gone: until their breakers let a probe through, and what they began
// before that has been committed.
const aftermath = 5 * time.Second

// unbroken keeps since when, by Redis's clock, nothing was seen that may have kept
// any node from Redis. A server that answers but was started anew was away as well.
// Trouble ends with the first reading of the clock after it, and begins to count as
// over [aftermath] later. A partition that only others are behind is not seen.
type unbroken struct {
	since atomic.Int64 // run.Instant; never while there is trouble, or no reading
}

const never = math.MaxInt64

// opened is told what the clock said when all was found well for the first time.
func (u *unbroken) opened(at run.Instant) { u.since.CompareAndSwap(never, int64(at)) }

// trouble is told of a call that Redis did not serve.
func (u *unbroken) trouble() { u.since.Store(never) }

// reading is told each reading of the clock; anew says that it is of another server
// than the one before.
func (u *unbroken) reading(at run.Instant, anew bool) {
	if since := u.since.Load(); since == never || anew {
		// A trouble that comes in between counts.
		u.since.CompareAndSwap(since, int64(at.Add(aftermath)))
	}
}

// Unbroken reports whether, as far as this node has seen, every node could have asked
// Redis at any time since an instant of its clock. What Redis alone has known since
// then, nobody can have settled elsewhere meanwhile.
func (d *DB) Unbroken(since run.Instant) bool {
	return int64(since) >= d.unbroken.since.Load()
}
