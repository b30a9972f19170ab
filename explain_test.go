package mollifier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/explain"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
)

// A storm is explained while its runs wait and when they are in Postgres, by the node
// that decided and by one that knows only the stores.
func TestExplainAStorm(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.NoDrain, cfg.Node = true, "node 1"
	cfg.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 3, Hold: time.Hour, RateOnly: true}
	e := open(t, cfg)
	trigger := func(key string) run.Result {
		t.Helper()
		r, err := e.Trigger(t.Context(), run.Trigger{Organisation: "acme", Environment: "prod", Task: "t", IdempotencyKey: key})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	whatOf := func(x explain.Explanation) (all []string) {
		for _, d := range x.Decisions {
			all = append(all, string(d.What))
		}
		return all
	}
	explained := func(e *mollifier.Engine, id run.ID, words ...string) explain.Explanation {
		t.Helper()
		for _, environment := range []string{"", "prod"} {
			x, err := e.Explain(t.Context(), environment, id)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range words {
				if !strings.Contains(x.Summary, word) {
					t.Errorf("%q is not in %q", word, x.Summary)
				}
			}
		}
		x, _ := e.Explain(t.Context(), "", id)
		return x
	}
	passed := trigger("k")
	if x := explained(e, passed.ID(), "is in Postgres, QUEUED", "remembers no decision"); x.Run.Environment != "prod" || x.Key.Text != "k" || x.Node != "node 1" {
		t.Errorf("%+v", x)
	}
	var mollified run.Result
	for i := 0; i == 0 || mollified.State() != run.Buffered; i++ {
		mollified = trigger(fmt.Sprint("k", i))
	}
	x := explained(e, mollified.ID(), "waits in the buffer, QUEUED", "4 triggers of the environment in a window of 1h0m0s, over the threshold of 3")
	if len(x.Decisions) != 1 || x.Decisions[0].What != explain.Mollified || x.Decisions[0].Reason != "rate" || x.Decisions[0].Count != 4 || x.Decisions[0].Threshold != 3 {
		t.Errorf("%+v", x.Decisions)
	}
	if len(x.Trips) != 1 || x.Trips[0].Count != 4 || x.Trips[0].All || !x.Trips[0].Ended.IsZero() {
		t.Errorf("%+v", x.Trips)
	}
	if len(x.States) != 2 || x.States[0].State != "ACCEPTED" || x.States[1].State != "BUFFERED" {
		t.Errorf("%+v", x.States)
	}
	// A repeat, by key; and a node that has only the stores.
	again := trigger(x.Key.Text)
	key, err := e.ExplainKey(t.Context(), "prod", "t", x.Key.Text)
	if err != nil || key.Key.Holder != mollified.ID().String() || again.ID() != mollified.ID() {
		t.Errorf("%+v %v", key, err)
	}
	if got := fmt.Sprint(whatOf(key)); got != "[mollified deduplicated]" {
		t.Error(got)
	}
	cfg.NoDrain, cfg.Node, cfg.Recent = false, "node 2", -1
	other := open(t, cfg)
	drained(t, cfg)
	if x := explained(other, mollified.ID(), "is in Postgres, QUEUED"); len(x.Decisions) != 0 || len(x.Unknown) == 0 || x.Node != "node 2" {
		t.Errorf("%+v", x)
	}
	explained(e, mollified.ID(), "is in Postgres, QUEUED", "over the threshold of 3")

	// Who asks for a run in another environment, or for none, is told nothing.
	for environment, id := range map[string]run.ID{"dev": mollified.ID(), "": run.MintID(time.Now(), 1)} {
		if x, err := other.Explain(t.Context(), environment, id); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("%q: %+v %v", environment, x, err)
		}
	}
	if _, err := e.ExplainKey(t.Context(), "prod", "", "k"); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if x, err := e.ExplainKey(t.Context(), "prod", "t", "never"); err != nil || !strings.Contains(x.Summary, "No run holds the key now") || len(x.Trips) != 1 {
		t.Errorf("%+v %v", x, err)
	}
}

// What was overridden, refused or cancelled is said.
func TestExplainWhatPeopleDid(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.NoDrain = true
	cfg.Buffer.MaxEntries = 2
	e := open(t, cfg)
	if err := forced(t, e, "prod", gate.ForceMollify); err != nil {
		t.Fatal(err)
	}
	var first run.Result
	for i := range 2 {
		r, err := e.Trigger(t.Context(), run.Trigger{Organisation: "acme", Environment: "prod", Task: "t", IdempotencyKey: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = r
		}
	}
	if _, err := e.Cancel(t.Context(), "prod", first.ID(), ""); err != nil {
		t.Fatal(err)
	}
	x, err := e.Explain(t.Context(), "", first.ID())
	if err != nil || !strings.Contains(x.Summary, "waits in the buffer, CANCELED; mollified: the gate was overridden") {
		t.Errorf("%s %v", x.Summary, err)
	}
	if _, err := e.Trigger(t.Context(), run.Trigger{Organisation: "acme", Environment: "prod", Task: "t", IdempotencyKey: "2"}); !errors.Is(err, run.ErrQuota) {
		t.Fatalf("%v", err)
	}
	x, err = e.ExplainKey(t.Context(), "prod", "t", "2")
	if err != nil || !strings.Contains(x.Summary, "No run holds the key now; refused, 1 times: the environment's share of the buffer was used up") {
		t.Errorf("%s %v", x.Summary, err)
	}
}
