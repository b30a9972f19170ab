package mollifier_test

import (
	"errors"
	"testing"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

// forced has the gate of an environment forced, or no more.
func forced(t *testing.T, e *mollifier.Engine, environment string, f gate.Force) error {
	t.Helper()
	by := override.Author{Name: t.Name()}
	if f == gate.ForceNone {
		_, err := e.ClearGate(t.Context(), environment, by)
		if errors.Is(err, run.ErrNotFound) {
			return nil
		}
		return err
	}
	force := map[gate.Force]string{gate.ForcePass: "pass", gate.ForceMollify: "mollify"}[f]
	_, err := e.SetGate(t.Context(), override.Override{Environment: environment, Gate: override.Gate{Force: force}, By: by})
	return err
}
