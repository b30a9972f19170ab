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
	Mollified(s *run.Snapshot, now time.Time) gate.Decision
}

// Witness is told by the shards what becomes of triggers, as it happens, so that it
// can be explained. Nothing depends on it; it returns at once, keeps no snapshot, and
// is called by all shards.
type Witness interface {
	// Decided: what the gate said of the trigger that leads a flight.
	Decided(s *run.Snapshot, d gate.Decision)
	// Diverted: one store could not take the trigger, and the other is asked:
	// the buffer, or else Postgres.
	Diverted(s *run.Snapshot, buffer bool)
	// Answered: what so many callers with the trigger's key were told. Without an
	// error there is a result.
	Answered(s *run.Snapshot, callers int, r run.Result, err error)
}

// nobody is the witness where none is given.
type nobody struct{}

func (nobody) Decided(*run.Snapshot, gate.Decision)           {}
func (nobody) Diverted(*run.Snapshot, bool)                   {}
func (nobody) Answered(*run.Snapshot, int, run.Result, error) {}

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
	witness Witness
}

var _ shard.Gate = view{}

func (v view) Peek(s *run.Snapshot) bool    { return v.stores.Gate.Route(s, time.Now()).Mollify() }
func (v view) Diverts(s *run.Snapshot) bool { return v.diverts(s.Trigger.Organisation) }
func (v view) Blind() bool                  { return !v.stores.Runs.Available() }

func (v view) Decide(s *run.Snapshot) bool {
	d := v.stores.Gate.Decide(s, time.Now())
	v.witness.Decided(s, d)
	return d.Mollify()
}

func (v view) Count(s *run.Snapshot) {
	v.witness.Decided(s, v.stores.Gate.Mollified(s, time.Now()))
}

func (v view) Since() (shard.Moment, bool) {
	at, heard, epoch := v.stores.Clock.LastTime()
	return shard.Moment{At: at, Epoch: epoch}, at != 0 && time.Since(heard) < freshFor
}
