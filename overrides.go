package mollifier

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

// Overrides hold for all nodes of the deployment, and for their restarts; package
// override says how they spread and who wins. Their errors: a [*run.InvalidError] that
// names the field, and run.ErrUnavailable, after which the change may have been made.

// SetGate overrides the gate's settings for an environment, in the place of its last
// override, and returns the version that has it. This node goes by it from the next
// trigger on.
func (e *Engine) SetGate(ctx context.Context, o override.Override) (version int64, err error) {
	o.Kind = override.KindGate
	of, err := gateOverride(o.Gate)
	if err != nil {
		return 0, err
	}
	if err := e.gate.Check(of); err != nil {
		return 0, &run.InvalidError{Field: "override", Rule: err.Error()}
	}
	return e.overrides.Put(ctx, o)
}

// ClearGate removes an environment's override; run.ErrNotFound if it has none.
func (e *Engine) ClearGate(ctx context.Context, environment string, by override.Author) (version int64, err error) {
	return e.overrides.Clear(ctx, environment, override.KindGate, by)
}

// PauseDrain keeps an environment's runs ("": all runs) in the buffer until
// [Engine.ResumeDrain], or for o.For. Batches that are under way are finished, on
// other nodes also what they begin before they have heard of it.
func (e *Engine) PauseDrain(ctx context.Context, o override.Override) (version int64, err error) {
	o.Kind = override.KindDrain
	return e.overrides.Put(ctx, o)
}

// ResumeDrain ends a pause; run.ErrNotFound if there is none of just that environment.
func (e *Engine) ResumeDrain(ctx context.Context, environment string, by override.Author) (version int64, err error) {
	return e.overrides.Clear(ctx, environment, override.KindDrain, by)
}

// Overrides is what is in force on this node. It asks nobody.
func (e *Engine) Overrides() *override.State { return e.overrides.State() }

// Audit reads what was changed at run time, the newest first; see [override.Store.Audit].
func (e *Engine) Audit(ctx context.Context, environment string, before int64, limit int) ([]override.Entry, error) {
	return e.overrides.Audit(ctx, environment, before, limit)
}

// pauses are the environments that are not drained. It is replaced, never changed.
type pauses struct {
	of atomic.Pointer[map[string]bool]
}

func (p *pauses) paused(environment string) bool {
	m := p.of.Load()
	return m != nil && ((*m)[environment] || (*m)[""])
}

// overridden goes by what is in force from now on.
func (e *Engine) overridden(s *override.State) {
	gates, paused := map[string]gate.Override{}, map[string]bool{}
	for i := range s.Overrides {
		o := &s.Overrides[i]
		if o.Kind == override.KindDrain {
			paused[o.Environment] = true
			continue
		}
		of, err := gateOverride(o.Gate)
		if err != nil { // of a newer build
			e.cfg.Logger.Warn("an override of the gate is not understood", slog.String("environment", o.Environment), slog.Any("error", err))
			continue
		}
		gates[o.Environment] = of
	}
	for environment, err := range e.gate.Replace(gates) {
		e.cfg.Logger.Warn("an override of the gate does not go with this node's settings, which stay in force",
			slog.String("environment", environment), slog.Any("error", err))
	}
	e.pauses.of.Store(&paused)
	e.drain.Notify()
}

var forces = map[string]gate.Force{"": gate.ForceNone, "pass": gate.ForcePass, "mollify": gate.ForceMollify}

func gateOverride(g override.Gate) (gate.Override, error) {
	force, known := forces[g.Force]
	if !known {
		return gate.Override{}, &run.InvalidError{Field: "force", Rule: "one of none, pass, mollify"}
	}
	return gate.Override{Window: g.Window, Threshold: g.Threshold, Hold: g.Hold, Force: force}, nil
}

func (e *Engine) openOverrides(ctx context.Context) (err error) {
	if e.overrides, err = override.Open(ctx, override.Config{
		URL: e.cfg.Postgres, Node: e.cfg.Node, Changed: e.overridden, Logger: e.cfg.Logger,
	}); err != nil {
		return fmt.Errorf("mollifier: Config.Postgres: %w", err)
	}
	return nil
}
