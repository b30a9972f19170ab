package mollifier

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/fleet"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/gate/recording"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/ring"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/telemetry"
)

// Stats counts what an engine has done since it started.
type Stats = actors.Stats

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats { return e.shards.Stats() }

// Refusals counts the triggers that were answered with an error, items of batches
// too, for each reason that there is.
func (e *Engine) Refusals() []telemetry.Refused { return e.refusals.All() }

// GateStats counts what the gate of this node has decided, and why.
func (e *Engine) GateStats() gate.Stats { return e.gate.Stats() }

// GateRecord returns what the gate of this node has counted and decided of late, from a
// number on (0: all that is kept), and the number to ask with next. Written to a file,
// of one node or of all, [recording.Replay] says what other limits would have done.
func (e *Engine) GateRecord(from uint64) (lines []recording.Line, next uint64) {
	if e.recorded == nil {
		return nil, 0
	}
	return e.recorded.Lines(from)
}

// Levels is what the deployment's buffer holds, as this node saw it last; see
// [drain.Levels]. A node that does not drain does not look.
func (e *Engine) Levels() drain.Levels { return e.drain.Levels() }

// DrainStats counts what this node has drained. rate is how many entries a second
// it has drained of late; zero means that it is not known.
func (e *Engine) DrainStats() (stats drain.Stats, rate float64) {
	_, rate = e.drain.Rate("")
	return e.drain.Stats(), rate
}

// RingStats tells what this node keeps of what only Redis holds, and what of it had to
// be put back.
func (e *Engine) RingStats() ring.Stats { return e.ring.Stats() }

// Tripped returns the environments that their rate has tripped now, as this node
// knows, those with most triggers first; and how many there are. See [gate.Gate.Tripped].
func (e *Engine) Tripped(limit int) (list []gate.Tripped, total int) {
	return e.gate.Tripped(limit, time.Now())
}

// PostgresLoad is what Postgres has been like for this node in the last two seconds.
func (e *Engine) PostgresLoad() gate.Load { return e.gate.Load() }

// Available reports which stores this node would ask now. A store that failed is left
// alone for a while, then tried again.
func (e *Engine) Available() (redis, postgres bool) {
	return e.redis.Available(), e.runs.Available()
}

// Draining reports whether this node moves runs from the buffer into Postgres, and
// whether it pauses because Postgres is not available.
func (e *Engine) Draining() (drains, paused bool) {
	return !e.cfg.NoDrain, !e.cfg.NoDrain && e.drain.Paused()
}

// Drained returns what this node's drain has met of late that did not simply become
// a run, after the number of one that was seen before; see [drain.Drainer.Recent].
func (e *Engine) Drained(after uint64) []drain.Recent { return e.drain.Recent(after) }

// Announce leaves a word about this node with the deployment's others, and returns
// theirs; see [fleet.Board.Exchange]. Nothing but what people see depends on it.
// Repeat it well within [fleet.Life]; Close takes the word back.
func (e *Engine) Announce(ctx context.Context, word string) ([]fleet.Word, error) {
	e.announced.Store(true)
	return e.board.Exchange(ctx, word)
}

// Pressure names what Postgres does that mollifies all environments now, or "".
func (e *Engine) Pressure() string { return e.gate.Pressure() }

// readings is what telemetry reads of an engine.
type readings struct{ engine *Engine }

var _ telemetry.Source = readings{}

func (r readings) Shards() actors.Stats          { return r.engine.Stats() }
func (r readings) Refusals() *telemetry.Refusals { return &r.engine.refusals }

func (r readings) Gate() gate.Stats     { return r.engine.GateStats() }
func (r readings) Pressure() string     { return r.engine.Pressure() }
func (r readings) Levels() drain.Levels { return r.engine.Levels() }

func (r readings) Drain() (s drain.Stats, perSecond float64, paused bool) {
	s, perSecond = r.engine.DrainStats()
	return s, perSecond, r.engine.drain.Paused()
}

func (r readings) Removed() map[string]int {
	s := r.engine.RetentionStats()
	return map[string]int{
		"run": s.Runs, "alias": s.Aliases, "tombstone": s.Tombstones, "dead_letter": s.DeadLetters,
		"batch": s.Batches, "place": s.Places, "audit": s.Audit,
	}
}

func (r readings) Breakers() (redis, postgres string) {
	return string(r.engine.redis.Breaker()), string(r.engine.runs.Breaker())
}

func (r readings) Ring() ring.Stats           { return r.engine.RingStats() }
func (r readings) Pools() [2]runstore.Pool    { return r.engine.runs.Pools() }
func (r readings) Overrides() *override.State { return r.engine.Overrides() }

func (r readings) Durability() (run.Durability, uint64) {
	return r.engine.durability(), r.engine.redis.Undurable()
}

func (r readings) Unrecorded() uint64 {
	if r.engine.recorded == nil {
		return 0
	}
	return r.engine.recorded.Left()
}
func (r readings) Unfit() error { return r.engine.Unfit() }

func (r readings) Enrolled(organisation string) bool { return r.engine.cfg.Enrolled(organisation) }
