package httpapi

import (
	"context"
	"errors"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
)

// Gate is what the admin routes need to change the gate of this node while it
// runs. It is safe for concurrent use.
type Gate interface {
	// SetGate overrides the settings of one environment. The error says what is
	// wrong with the override.
	SetGate(environment string, o gate.Override) error
	ClearGate(environment string)
}

// gateBody is an override. What is absent stays as it is configured.
type gateBody struct {
	Window    field[string] `json:"window"`
	Threshold integer       `json:"threshold"`
	Hold      field[string] `json:"hold"`
	Force     field[string] `json:"force"`
}

// forces are the ways to force, by name.
var forces = map[string]gate.Force{"": gate.ForceNone, "none": gate.ForceNone, "pass": gate.ForcePass, "mollify": gate.ForceMollify}

// setGate answers POST /admin/v1/environments/{env}/gate.
func (a *admin) setGate(_ context.Context, c *call) (reply, error) {
	body, err := readJSON[gateBody](c)
	if err != nil {
		return reply{}, err
	}
	var o gate.Override
	if o.Window, err = gateTime("window", body.Window); err != nil {
		return reply{}, err
	}
	if o.Hold, err = gateTime("hold", body.Hold); err != nil {
		return reply{}, err
	}
	if body.Threshold.set && (body.Threshold.value < 1 || body.Threshold.value > 1_000_000) {
		return reply{}, malformed("threshold", "from 1 to 1000000")
	}
	o.Threshold = int(body.Threshold.value)
	force, known := forces[body.Force.value]
	if !known {
		return reply{}, malformed("force", "one of none, pass, mollify")
	}
	o.Force = force
	if err := a.Gate.SetGate(c.PathValue("env"), o); err != nil {
		return reply{}, malformed("override", err.Error())
	}
	return answer(statusAnswer{"set on this node"})
}

// clearGate answers DELETE /admin/v1/environments/{env}/gate.
func (a *admin) clearGate(_ context.Context, c *call) (reply, error) {
	a.Gate.ClearGate(c.PathValue("env"))
	return answer(statusAnswer{"cleared on this node"})
}

var errGateTime = errors.New("must be a duration from 1ms to 1h, like 200ms or 1m30s")

// gateTime reads a duration as the flags do, for windows are shorter than a second.
func gateTime(name string, f field[string]) (time.Duration, error) {
	if !f.set {
		return 0, nil
	}
	d, err := time.ParseDuration(f.value)
	if err != nil || d < time.Millisecond || d > time.Hour {
		return 0, malformed(name, errGateTime.Error())
	}
	return d, nil
}
