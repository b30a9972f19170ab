package fallback_test

import (
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
)

// Without the buffer, what no patch can undo is changed in the row; metadata and
// delay only where no run is ever buffered. Without Postgres, what is buffered.
func TestChangesWhileAStoreIsDown(t *testing.T) {
	t.Parallel()
	change := map[string]step{
		"cancel": doCancel("x"), "tags": doTags("b"), "metadata": doMetadata(set("{}")), "reschedule": doReschedule(time.Now().Add(2 * time.Hour)),
	}
	const no = "store unavailable"
	for _, never := range []bool{false, true} {
		w := newWorld(t, func(c *fallback.Config) { c.Buffers = func(string) bool { return !never } })
		for name, do := range change {
			for _, c := range []struct {
				down  string
				stage stage
				want  string
			}{
				{"rows", queued, ""},
				{"rows", leased, ""},
				{"rows", settled, ""},
				{"rows", acked, no},
				{"rows", gone, no},
				{"entries", queued, no},
				{"entries", leased, no},
				{"entries", settled, map[bool]string{true: "", false: no}[never || name == "cancel" || name == "tags"]},
				{"entries", gone, map[bool]string{true: "", false: no}[never || name == "cancel" || name == "tags"]},
			} {
				env := w.env()
				m := w.accept(env, run.Trigger{DelayUntil: time.Now().Add(time.Hour), Tags: []string{"a"}})
				m.to(c.stage)
				w.hooks.set(down(c.down))
				r, told, err := do(t.Context(), w, env, m.id)
				w.hooks.set(nil)
				if fault(err) != c.want || err == nil && (r.ID != m.id || name == "tags" && told != "1") {
					t.Errorf("%s at %v without %s: %v %q %v", name, c.stage, c.down, r.ID, told, err)
				}
			}
		}
	}
}

// What a run's status forbids is forbidden without the buffer, too.
func TestRulesHoldWithoutTheBuffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	id := w.settle(env, run.Trigger{})
	for name, c := range map[string]struct {
		do   step
		want string
	}{
		"reschedule": {doReschedule(time.Now().Add(time.Hour)), "conflict"},
		"tags":       {doTags(" "), "invalid tags (must not contain a blank tag) 0"},
		"cancel":     {doCancel(""), ""},
	} {
		w.hooks.set(down("entries"))
		_, _, err := c.do(t.Context(), w, env, id)
		w.hooks.set(nil)
		if fault(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.hooks.set(down("entries"))
	defer w.hooks.set(nil)
	if _, _, err := doMetadata(set("{}"))(t.Context(), w, env, id); fault(err) != "conflict" {
		t.Errorf("metadata of a cancelled run: %v", err)
	}
	if r, _, err := doCancel("")(t.Context(), w, env, id); err != nil || r.Status != run.Canceled {
		t.Errorf("%v %v", r.Status, err)
	}
}
