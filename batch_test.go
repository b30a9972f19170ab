package mollifier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

func items(n int) []run.Trigger {
	out := make([]run.Trigger, n)
	for i := range out {
		out[i] = order("")
		out[i].Payload = fmt.Appendf(nil, `{"item":%d}`, i)
	}
	return out
}

func triggerBatch(t *testing.T, e *mollifier.Engine, id string, triggers []run.Trigger) []run.Result {
	t.Helper()
	verdicts, err := e.TriggerBatch(t.Context(), id, triggers)
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != len(triggers) {
		t.Fatalf("%d verdicts on %d items", len(verdicts), len(triggers))
	}
	out := make([]run.Result, len(verdicts))
	for i, v := range verdicts {
		if v.Err != nil {
			t.Fatalf("item %d: %v", i, v.Err)
		}
		out[i] = v.Result
	}
	return out
}

// checkLinks checks that a batch shows every item with the run of its verdict.
func checkLinks(t *testing.T, e *mollifier.Engine, id string, verdicts []run.Result) {
	t.Helper()
	b, err := e.Batch(t.Context(), "prod", id)
	if err != nil {
		t.Fatal(err)
	}
	if b.Items != len(verdicts) || len(b.Places) != len(verdicts) || b.CompletedAt().IsZero() {
		t.Fatalf("%s: %d items, %d linked, want %d", id, b.Items, len(b.Places), len(verdicts))
	}
	for i, linked := range b.Places {
		if linked.Index != i || linked.Run != verdicts[i].ID() {
			t.Errorf("%s: place %d (%d) is linked with %s, want %s", id, i, linked.Index, linked.Run, verdicts[i].ID())
		}
	}
}

// A batch has a verdict on each item and links with each run; repeated, it
// answers the same runs, and what it is not may not take its id.
func TestBatchIsIdempotent(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Gate.Threshold = 10_000
	e, other := open(t, cfg), open(t, cfg)
	first := triggerBatch(t, e, "b1", items(50))
	checkLinks(t, e, "b1", first)
	seen := map[run.ID]bool{}
	for i, r := range first {
		if r.Cached() || seen[r.ID()] {
			t.Errorf("item %d: cached %v, %s", i, r.Cached(), r.ID())
		}
		seen[r.ID()] = true
		read, err := other.Run(t.Context(), "prod", r.ID())
		if err != nil || string(read.Trigger.Payload) != fmt.Sprintf(`{"item":%d}`, i) || read.Trigger.BatchItem != (run.BatchItem{Batch: "b1", Index: i}) {
			t.Errorf("item %d: %+v, %v", i, read.Trigger, err)
		}
	}
	for i, r := range triggerBatch(t, other, "b1", items(50)) {
		if r.ID() != first[i].ID() || !r.Cached() {
			t.Errorf("repeated item %d: %s cached %v, want %s", i, r.ID(), r.Cached(), first[i].ID())
		}
	}
	checkLinks(t, e, "b1", first)
	if _, err := e.TriggerBatch(t.Context(), "b1", items(49)); !errors.Is(err, run.ErrConflict) {
		t.Errorf("the id with another size: %v", err)
	}
	if n := count(t, cfg.Postgres, `select count(*) from runs`); n != 50 {
		t.Errorf("%d rows", n)
	}
}

// Items with keys are deduplicated as single triggers are: with runs of before,
// with each other, the first leading, and across batches; all are linked.
func TestBatchItemsAreDeduplicated(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Gate.Threshold = 10_000
	e := open(t, cfg)
	before := trigger(t, e, order("before"))
	batch := items(6)
	batch[1].IdempotencyKey = "before"
	batch[2].IdempotencyKey, batch[3].IdempotencyKey, batch[5].IdempotencyKey = "same", "same", "same"
	got := triggerBatch(t, e, "b", batch)
	if got[1].ID() != before.ID() || !got[1].Cached() {
		t.Errorf("the key of before: %s, cached %v", got[1].ID(), got[1].Cached())
	}
	if got[2].Cached() || !got[3].Cached() || got[3].ID() != got[2].ID() || got[5].ID() != got[2].ID() {
		t.Errorf("one key: %s %s %s, the first cached %v", got[2].ID(), got[3].ID(), got[5].ID(), got[2].Cached())
	}
	checkLinks(t, e, "b", got)
	checkLinks(t, e, "b2", triggerBatch(t, e, "b2", batch))
}

// Each item has its own verdict; what is wrong with the batch concerns them all.
func TestBatchRefusals(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	e := open(t, cfg)
	batch := items(3)
	batch[1].IdempotencyKey = "nul\x00"
	verdicts, err := e.TriggerBatch(t.Context(), "b", batch)
	if err != nil || verdicts[0].Err != nil || verdicts[2].Err != nil || !errors.Is(verdicts[1].Err, run.ErrInvalid) {
		t.Errorf("%+v, %v", verdicts, err)
	}
	if b, err := e.Batch(t.Context(), "prod", "b"); err != nil || b.Status() != run.BatchPartialFailed || len(b.Places) != 3 ||
		!b.Places[1].Run.IsZero() || b.Places[1].Task != "send" || !strings.Contains(b.Places[1].Error, "options.idempotencyKey") {
		t.Errorf("%+v, %v", b, err)
	}
	if verdicts, err := e.TriggerBatch(t.Context(), "none", batch[1:2]); err != nil || !errors.Is(verdicts[0].Err, run.ErrInvalid) {
		t.Errorf("only an invalid item: %+v, %v", verdicts, err)
	}
	if _, err := e.Batch(t.Context(), "prod", "none"); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("a batch without a valid item has a header: %v", err)
	}
	foreign := items(2)
	foreign[1].Environment = "staging"
	for rule, call := range map[string]func() error{
		"1000":            func() error { _, err := e.TriggerBatch(t.Context(), "b", items(1001)); return err },
		"at least 1":      func() error { _, err := e.TriggerBatch(t.Context(), "b", nil); return err },
		"at most 128":     func() error { _, err := e.TriggerBatch(t.Context(), strings.Repeat("b", 129), items(1)); return err },
		"must be the":     func() error { _, err := e.TriggerBatch(t.Context(), "b", foreign); return err },
		"must not be emp": func() error { _, err := e.TriggerBatch(t.Context(), "", items(1)); return err },
	} {
		var invalid *run.InvalidError
		if err := call(); !errors.As(err, &invalid) || !strings.Contains(invalid.Rule, rule) {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

// A batch of the greatest size storms: what is over the threshold is mollified,
// and every item is shown with its run from the answer on, also one that was
// answered with a buffered run of before, through the drain, and by a repeat.
func TestMollifiedBatch(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.NoDrain = true
	cfg.RedisDeadline = 10 * time.Second // a slow machine is not what this is about
	e := open(t, cfg)
	trip(t, e)
	held := trigger(t, e, order("held"))
	batch := items(run.MaxBatchItems)
	batch[7].IdempotencyKey = "held"
	got := triggerBatch(t, e, "big", batch)
	for i, r := range got {
		if r.State() != run.Buffered || r.Cached() != (i == 7) {
			t.Fatalf("item %d: %s, cached %v", i, r.State(), r.Cached())
		}
	}
	if got[7].ID() != held.ID() {
		t.Errorf("the key of before: %s, want %s", got[7].ID(), held.ID())
	}
	checkLinks(t, e, "big", got)
	if n := count(t, cfg.Postgres, `select count(*) from runs`); n > 2 {
		t.Errorf("%d rows while buffered", n)
	}
	other := open(t, cfg)
	for i, r := range triggerBatch(t, other, "big", batch) {
		if r.ID() != got[i].ID() || !r.Cached() {
			t.Errorf("repeated item %d: %s cached %v, want %s", i, r.ID(), r.Cached(), got[i].ID())
		}
	}
	cfg.NoDrain = false
	drainer := open(t, cfg)
	drained(t, cfg)
	checkLinks(t, e, "big", got)
	triggerBatch(t, drainer, "big", batch)
	checkLinks(t, e, "big", got)
	if n := count(t, cfg.Postgres, `select count(*) from runs where batch_id = 'big'`); n != len(batch)-1 {
		t.Errorf("%d rows of the batch", n)
	}
	if n := count(t, cfg.Postgres, `select count(*) from batch_items as i left join runs as r on r.env_id = i.env_id and r.id = i.run_id where r.id is null`); n != 0 {
		t.Errorf("%d places name a run that is not there", n)
	}
}

// A batch of 1,000 is a few calls to each store, not 1,000.
func TestBatchTravelsTogether(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.Gate.Threshold = 10_000
	e := open(t, cfg)
	triggerBatch(t, e, "b", items(run.MaxBatchItems))
	s := e.Stats()
	if s.Triggers != run.MaxBatchItems || s.SettleCalls > 20 || s.RedisCalls > 40 {
		t.Errorf("%d triggers, %d calls to settle, %d to Redis", s.Triggers, s.SettleCalls, s.RedisCalls)
	}
}
