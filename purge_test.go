package mollifier_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

// A purge cancels what waits in the buffer and nothing else: no run is lost, each has
// its row in the end, and keys stay held.
func TestPurgeIsVisible(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.NoDrain = true
	e := open(t, cfg)
	by := override.Author{Name: "alice", Reason: "a bad deploy"}
	trigger := func(environment, key string) run.Result {
		t.Helper()
		r, err := e.Trigger(t.Context(), run.Trigger{Organisation: "acme", Environment: environment, Task: "t", IdempotencyKey: key})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	passed := trigger("prod", "passed") // it is in Postgres already
	for _, environment := range []string{"prod", "dev"} {
		if err := forced(t, e, environment, gate.ForceMollify); err != nil {
			t.Fatal(err)
		}
	}
	var purged []run.ID
	for i := range 20 {
		purged = append(purged, trigger("prod", fmt.Sprint(i)).ID())
	}
	other := trigger("dev", "other")
	if list, err := e.Buffered(t.Context()); err != nil || len(list) != 2 || list[0].Entries+list[1].Entries != 21 || list[1].Environment != "prod" || list[1].Oldest <= 0 {
		t.Errorf("%+v %v", list, err)
	}
	p, err := e.PurgeBuffer(t.Context(), "prod", run.ID{}, by)
	if err != nil || p.Cancelled != 20 || p.Left != 0 || !p.Next.IsZero() {
		t.Fatalf("%+v %v", p, err)
	}
	if again, err := e.PurgeBuffer(t.Context(), "prod", run.ID{}, by); err != nil || again.Cancelled != 0 || again.Left != 20 {
		t.Errorf("again: %+v %v", again, err)
	}
	check := func(where string) {
		t.Helper()
		for _, id := range purged {
			r, err := e.Run(t.Context(), "prod", id)
			if err != nil || r.Status != run.Canceled || r.Error == nil {
				t.Fatalf("%s: %s is %s, %v", where, id, r.Status, err)
			}
		}
		if r := trigger("prod", "7"); r.ID() != purged[7] || !r.Cached() {
			t.Errorf("%s: its key is not held any more: %s", where, r.ID())
		}
		for environment, id := range map[string]run.ID{"prod": passed.ID(), "dev": other.ID()} {
			if r, err := e.Run(t.Context(), environment, id); err != nil || r.Status != run.Queued {
				t.Errorf("%s: %s of %s: %s, %v", where, id, environment, r.Status, err)
			}
		}
	}
	check("in the buffer")
	cfg.NoDrain = false
	open(t, cfg)
	drained(t, cfg)
	check("in Postgres")
	if p, err := e.PurgeBuffer(t.Context(), "prod", run.ID{}, by); err != nil || p.Cancelled+p.Left != 0 {
		t.Errorf("of nothing: %+v %v", p, err)
	}
	if entries, err := e.Audit(t.Context(), "prod", 0, 10); err != nil || entries[0].Action != "buffer.purge" || entries[0].By != by {
		t.Errorf("%+v %v", entries, err)
	}
	if _, err := e.PurgeBuffer(t.Context(), "prod", run.ID{}, override.Author{}); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("%v", err)
	}
}
