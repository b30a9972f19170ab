package actors

import (
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// Gate decides which triggers are mollified, from memory. See [gate.Gate].
type Gate interface {
	Route(s *run.Snapshot, now time.Time) gate.Decision
	Decide(s *run.Snapshot, now time.Time) gate.Decision
	Mollified(s *run.Snapshot, now time.Time)
}

var _ Gate = (*gate.Gate)(nil)

// Clock knows Redis's clock. See [redisdb.DB.LastTime].
type Clock interface {
	LastTime() (at run.Instant, heard time.Time, epoch string)
}

// view is what the flights of a shard may know of the world outside: the gate,
// Redis's clock, and whether Postgres is there. All of it is in memory.
type view struct {
	stores  *Stores
	diverts func(organisation string) bool
}

var _ shard.Gate = view{}

func (v view) Peek(s *run.Snapshot) bool    { return v.stores.Gate.Route(s, time.Now()).Mollify() }
func (v view) Decide(s *run.Snapshot) bool  { return v.stores.Gate.Decide(s, time.Now()).Mollify() }
func (v view) Count(s *run.Snapshot)        { v.stores.Gate.Mollified(s, time.Now()) }
func (v view) Diverts(s *run.Snapshot) bool { return v.diverts(s.Trigger.Organisation) }
func (v view) Blind() bool                  { return !v.stores.Runs.Available() }

func (v view) Since() (shard.Moment, bool) {
	at, heard, epoch := v.stores.Clock.LastTime()
	return shard.Moment{At: at, Epoch: epoch}, at != 0 && time.Since(heard) < freshFor
}
