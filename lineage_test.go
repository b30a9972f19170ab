package mollifier_test

import (
	"fmt"
	"testing"

	"github.com/e0ff5a15/mollifier/gate"
)

// A run, its child and its grandchild show where they stand while all are in
// the buffer, once they are drained, and passed through; and what passes through
// below a parent that is still in the buffer does too.
func TestLineageOverTheWire(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.NoDrain = true
	w := wire(t, cfg)
	ways := map[string][3]gate.Force{
		"passed":               {gate.ForcePass, gate.ForcePass, gate.ForcePass},
		"mollified":            {gate.ForceMollify, gate.ForceMollify, gate.ForceMollify},
		"passed below":         {gate.ForceMollify, gate.ForceMollify, gate.ForcePass},
		"mollified in between": {gate.ForcePass, gate.ForceMollify, gate.ForcePass},
	}
	families := map[string][]string{}
	for name, forces := range ways {
		for i, force := range forces {
			if err := forced(t, w.Engine, "prod", force); err != nil {
				t.Fatal(err)
			}
			options := `{}`
			if i > 0 {
				options = fmt.Sprintf(`{"options":{"parentRunId":%q}}`, families[name][i-1])
			}
			got := w.ok("prod", "POST", sendPath, options)
			if buffered := got["state"] == "buffered"; buffered != (force == gate.ForceMollify) {
				t.Fatalf("%s %d: %v", name, i, got)
			}
			families[name] = append(families[name], got["id"].(string))
		}
	}
	check := func(when string) {
		t.Helper()
		for name, ids := range families {
			for depth, id := range ids {
				got := w.ok("prod", "GET", "/api/v3/runs/"+id, "")
				related := got["relatedRuns"].(map[string]any)
				idOf := func(name string) any {
					other, _ := related[name].(map[string]any)
					return other["id"]
				}
				var root, parent any
				if depth > 0 {
					root, parent = ids[0], ids[depth-1]
				}
				if got["depth"] != float64(depth) || idOf("root") != root || idOf("parent") != parent {
					t.Errorf("%s, %s: depth %v, root %v, parent %v; want %d, %v, %v", name, when, got["depth"], idOf("root"), idOf("parent"), depth, root, parent)
				}
			}
		}
	}
	check("triggered")
	cfg.NoDrain = false
	wire(t, cfg)
	drained(t, cfg)
	check("drained")
}
