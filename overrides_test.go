package mollifier_test

import (
	"errors"
	"testing"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

// What one node is told holds on the other, and on those that start later: the gate of
// an environment, and that it is not drained.
func TestOverridesHoldOnAllNodes(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	a, b := open(t, cfg), open(t, cfg)
	by := override.Author{Name: "alice"}
	if _, err := a.PauseDrain(t.Context(), override.Override{Environment: "prod", By: by}); err != nil {
		t.Fatal(err)
	}
	if err := forced(t, a, "prod", gate.ForceMollify); err != nil {
		t.Fatal(err)
	}
	version := a.Overrides().Version
	waitFor(t, "b has heard", func() bool { return b.Overrides().Version >= version })
	c := open(t, cfg)
	var ids []run.ID
	for _, e := range []*mollifier.Engine{a, b, c} {
		for _, environment := range []string{"prod", "dev"} {
			result, err := e.Trigger(t.Context(), run.Trigger{Organisation: "acme", Environment: environment, Task: "t", IdempotencyKey: "k"})
			if err != nil {
				t.Fatal(err)
			}
			if buffered := result.State() == run.Buffered; buffered != (environment == "prod") {
				t.Errorf("%s: %s", environment, result.State())
			}
			if environment == "prod" {
				ids = append(ids, result.ID())
			}
		}
	}
	if ids[0] != ids[1] || ids[0] != ids[2] {
		t.Errorf("one key, %v", ids)
	}
	if _, err := b.ResumeDrain(t.Context(), "prod", by); err != nil {
		t.Fatal(err)
	}
	drained(t, cfg)
	if _, err := b.ResumeDrain(t.Context(), "prod", by); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("%v", err)
	}
	// What does not go with the configured settings is refused before it is stored.
	_, err := a.SetGate(t.Context(), override.Override{Environment: "dev", Gate: override.Gate{Threshold: 1_000_000}, By: by})
	if !errors.Is(err, run.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if _, ok := a.Overrides().Of("dev", override.KindGate); ok {
		t.Error("it was stored")
	}
}
