package mollifier

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// MaxBatchItems is how many triggers one batch may hold.
const MaxBatchItems = 1000

// batchFlights is how many items of one batch are on their way at once: enough
// to fill the writers' batches, and no more than other callers can bear.
const batchFlights = 256

// BatchResult is the verdict on one item of a batch: Result if Err is nil. The
// errors are those of [Engine.Trigger].
type BatchResult struct {
	Result run.Result
	Err    error
}

// Batch is a batch and the runs that are linked with it; see [Engine.Batch].
type Batch = runstore.Batch

// TriggerBatch triggers the items of a batch, each as [Engine.Trigger] would:
// counted, mollified and deduplicated by itself. Verdict i is that on
// triggers[i], whose BatchItem is set here; an item without an idempotency key
// is identified by the batch and its index, so a batch may be repeated with the
// same id and makes no second run. Of items with one idempotency key, the first
// makes the run.
//
// All items belong to one organisation and one environment. The header of the
// batch is written first, and only Postgres has it: without Postgres no item is
// triggered. When the error is not nil and the verdicts are nil, nothing was
// triggered; run.ErrConflict means that the batch is there with another number
// of items, or in another environment.
//
// A run that an item makes is linked with the batch in the transaction that
// writes its row. An item that was answered with a run of before is linked
// after it was triggered, if that run has its row; if it is still in the buffer,
// [Engine.Batch] does not show the item until the batch is repeated after the
// run was drained (the verdict names the run all the same). When that linking
// fails, the verdicts come together with an error, and repeating the batch
// links what is missing.
func (e *Engine) TriggerBatch(ctx context.Context, batch string, triggers []run.Trigger) ([]BatchResult, error) {
	items, valid, err := batchItems(batch, triggers)
	if err != nil {
		return nil, err
	}
	results := make([]BatchResult, len(items))
	if !valid {
		return invalidItems(items, results), nil // no run will ever want the header
	}
	environment := items[0].Environment
	inTime, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	if _, err := e.runs.CreateBatch(inTime, environment, batch, len(items), 0); err != nil {
		return nil, err
	}
	e.triggerItems(ctx, items, results)
	return results, e.linkItems(ctx, environment, batch, items, results)
}

// Batch reads a batch: its size, and the places whose runs have their rows.
// Runs that are still in the buffer are not among them yet. A batch that is not
// in the environment is run.ErrNotFound.
func (e *Engine) Batch(ctx context.Context, environment, batch string) (Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	return e.runs.BatchRuns(ctx, environment, batch)
}

// batchItems checks what concerns the batch as a whole and gives each trigger
// its place. valid reports whether any item can be accepted.
func batchItems(batch string, triggers []run.Trigger) (items []run.Trigger, valid bool, err error) {
	switch {
	case batch == "":
		return nil, false, &run.InvalidError{Field: "batch", Rule: "must not be empty"}
	case len(batch) > run.MaxNameLen:
		return nil, false, &run.InvalidError{Field: "batch", Rule: fmt.Sprintf("at most %d bytes", run.MaxNameLen)}
	case len(triggers) == 0:
		return nil, false, &run.InvalidError{Field: "items", Rule: "at least 1"}
	case len(triggers) > MaxBatchItems:
		return nil, false, &run.InvalidError{Field: "items", Rule: fmt.Sprintf("at most %d", MaxBatchItems)}
	}
	items = make([]run.Trigger, len(triggers))
	for i := range triggers {
		items[i] = triggers[i]
		t := &items[i]
		if t.Organisation != triggers[0].Organisation || t.Environment != triggers[0].Environment {
			return nil, false, &run.InvalidError{Field: "environment", Rule: "must be the same for all items of a batch"}
		}
		t.BatchItem = run.BatchItem{Batch: batch, Index: i}
		if t.TriggerFunction == "" {
			t.TriggerFunction = run.FunctionBatchTrigger
		}
		valid = valid || t.Validate() == nil
	}
	return items, valid, nil
}

func invalidItems(items []run.Trigger, results []BatchResult) []BatchResult {
	for i := range items {
		results[i].Err = items[i].Validate()
	}
	return results
}

// triggerItems triggers the items side by side. Those of one key go one after
// the other, so that the first of them leads: an item waits only for one that
// already has its place among those under way.
func (e *Engine) triggerItems(ctx context.Context, items []run.Trigger, results []BatchResult) {
	last := make(map[run.Key]<-chan struct{})
	var flights errgroup.Group
	flights.SetLimit(batchFlights)
	for i := range items {
		key, done := items[i].Key(), make(chan struct{})
		before := last[key]
		last[key] = done
		flights.Go(func() error {
			defer close(done)
			if before != nil {
				<-before
			}
			results[i].Result, results[i].Err = e.Trigger(ctx, items[i])
			return nil
		})
	}
	_ = flights.Wait() // verdicts carry the errors
}

// linkItems links the places of items that were answered with a run of before:
// that run's row was, or will be, written without knowing this batch.
func (e *Engine) linkItems(ctx context.Context, environment, batch string, items []run.Trigger, results []BatchResult) error {
	links := make(map[int]run.ID)
	for i := range results {
		if results[i].Err != nil {
			continue
		}
		// The answer to a repeated request is not called cached.
		repeated := items[i].IdempotencyKey != "" && items[i].RequestKey != ""
		if r := results[i].Result; r.Cached() || repeated {
			links[i] = r.ID()
		}
	}
	if len(links) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	if _, err := e.runs.LinkBatch(ctx, environment, batch, links); err != nil {
		return fmt.Errorf("mollifier: link batch: %w", err)
	}
	return nil
}
