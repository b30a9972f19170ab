package mollifier

import (
	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/gate"
)

// Stats counts what an engine has done since it started.
type Stats = actors.Stats

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats { return e.shards.Stats() }

// GateStats counts what the gate of this node has decided, and why.
func (e *Engine) GateStats() gate.Stats { return e.gate.Stats() }

// Levels is what the deployment's buffer holds, as this node saw it last; see
// [drain.Levels]. A node that does not drain does not look.
func (e *Engine) Levels() drain.Levels { return e.drain.Levels() }

// DrainStats counts what this node has drained. rate is how many entries a second
// it has drained of late; zero means that it is not known.
func (e *Engine) DrainStats() (stats drain.Stats, rate float64) {
	_, rate = e.drain.Rate("")
	return e.drain.Stats(), rate
}

// SetGate overrides the gate's settings for one environment from the next trigger
// on, on this node alone and until it ends: tell every node. The error names the
// field.
func (e *Engine) SetGate(environment string, o gate.Override) error {
	return e.gate.Set(environment, o)
}

// ClearGate removes an environment's override on this node.
func (e *Engine) ClearGate(environment string) { e.gate.Clear(environment) }

// Pressure names what Postgres does that mollifies all environments now, or "".
func (e *Engine) Pressure() string { return e.gate.Pressure() }
