package mollifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// BatchHeader is a batch without its runs; see [runstore.BatchHeader].
type BatchHeader = runstore.BatchHeader

// Batch is a batch and what its items were answered with; see [runstore.Batch].
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
// When it returns without an error, [Engine.Batch] shows every item that has a
// verdict for good: its run, wherever that is, or its error. An error together
// with verdicts means that Postgres failed in between; repeat the batch.
func (e *Engine) TriggerBatch(ctx context.Context, batch string, triggers []run.Trigger) ([]run.BatchResult, error) {
	items, valid, err := batchItems(batch, triggers)
	if err != nil {
		return nil, err
	}
	results := make([]run.BatchResult, len(items))
	if !valid {
		for i := range items {
			results[i].Err = items[i].Validate()
		}
		return results, nil // no run will ever want the header
	}
	inTime, cancel := e.inTime(ctx)
	defer cancel()
	if _, err := e.runs.CreateBatch(inTime, runstore.NewBatch{
		Environment: items[0].Environment, ID: batch, Items: len(items), Sealed: true,
	}); err != nil {
		return nil, err
	}
	return e.TriggerItems(ctx, items)
}

// CreateBatch opens a batch whose items are triggered later, by
// [Engine.TriggerItems], and mints its id. A request with the idempotency key, or
// else the request key, of a batch that is there is answered that batch.
//
// cached says that the batch is complete and that no items need be sent. It is
// false of a batch that is there but not sealed: whoever opened it may have died
// before its items were in, so whoever comes with its key sends them again, which
// makes no second run. It is false, too, for a repeat of the same request.
//
// Errors: run.ErrInvalid; run.ErrUnavailable without Postgres, after which the
// batch may be there.
func (e *Engine) CreateBatch(ctx context.Context, r run.BatchRequest) (h BatchHeader, cached bool, err error) {
	if err := r.Validate(); err != nil {
		return BatchHeader{}, false, err
	}
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	request := run.DigestRequest(r.Environment, "", r.RequestKey)
	h, err = e.runs.CreateBatch(ctx, runstore.NewBatch{
		Environment: r.Environment, ID: run.NewBatchID(time.Now()), Items: r.Items,
		Key: r.Key(), KeyTTL: r.IdentityTTL(), IdempotencyKey: r.IdempotencyKey, RequestHash: request,
		ParentRun: r.ParentRun, ResumeParent: r.ResumeParent,
	})
	same := !request.IsZero() && h.RequestHash == request
	return h, !h.SealedAt.IsZero() && !same, err
}

// BatchHeader reads a batch without its runs: what its items have to know, and
// which of their places are taken. One that is not in the environment is
// run.ErrNotFound.
func (e *Engine) BatchHeader(ctx context.Context, environment, batch string) (BatchHeader, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.runs.BatchHeader(ctx, environment, batch)
}

// Batch reads a batch: its header, and in order what its items were answered
// with, runs in the buffer included. One that is not in the environment is
// run.ErrNotFound; without Postgres it is run.ErrUnavailable.
func (e *Engine) Batch(ctx context.Context, environment, batch string) (Batch, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.runs.Batch(ctx, environment, batch)
}

// SealBatch closes a batch if every one of its items has its place; taken is how
// many have. It may be repeated.
func (e *Engine) SealBatch(ctx context.Context, environment, batch string) (taken int, sealed bool, err error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.runs.SealBatch(ctx, environment, batch)
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
	case len(triggers) > run.MaxBatchItems:
		return nil, false, &run.InvalidError{Field: "items", Rule: fmt.Sprintf("at most %d", run.MaxBatchItems)}
	}
	items = make([]run.Trigger, len(triggers))
	for i := range triggers {
		items[i] = triggers[i]
		t := &items[i]
		if t.Organisation != triggers[0].Organisation || t.Environment != triggers[0].Environment {
			return nil, false, &run.InvalidError{Field: "environment", Rule: "must be the same for all items of a batch"}
		}
		t.BatchItem = run.BatchItem{Batch: batch, Index: i}
		valid = valid || t.Validate() == nil
	}
	return items, valid, nil
}

// TriggerItems triggers items of one batch, whose header is there and whose
// BatchItem says which they are: each as [Engine.Trigger] would, together. Then
// it writes what they were answered with into their places: the run, wherever it
// rests, or an error that a repeat can not mend. An item with a passing error
// (run.ErrUnavailable, run.ErrOverloaded, run.ErrQuota, ...) has no place, and is
// to be sent again; so is everything after an error of the call, which means that
// Postgres did not take the places. A repeat makes no second run.
//
// When ctx ends, the wait for verdicts ends; what was triggered takes its place
// all the same.
func (e *Engine) TriggerItems(ctx context.Context, items []run.Trigger) ([]run.BatchResult, error) {
	if len(items) == 0 {
		return nil, nil
	}
	first := &items[0]
	for i := range items {
		t := &items[i]
		if t.BatchItem.Batch == "" || t.BatchItem.Batch != first.BatchItem.Batch ||
			t.Organisation != first.Organisation || t.Environment != first.Environment {
			return nil, &run.InvalidError{Field: "items", Rule: "must be items of one batch"}
		}
	}
	ctx, span := e.telemetry.Trigger(ctx, first.TraceParent, first.TraceState, len(items))
	for i := range items {
		t := &items[i]
		t.TraceParent, t.TraceState = span.Carry(t.TraceParent, t.TraceState)
	}
	results := e.triggerTogether(ctx, items)
	failed := 0
	for i := range results {
		e.refusals.Count(results[i].Err)
		e.telemetry.Answered(results[i].Result, results[i].Err)
		if results[i].Err != nil {
			failed++
		}
	}
	span.EndAll(failed)
	placing := make([]runstore.Place, 0, len(items))
	at := make([]int, 0, len(items))
	for i := range results {
		if p, ok := placeOf(&items[i], &results[i]); ok {
			placing, at = append(placing, p), append(at, i)
		}
	}
	if len(placing) == 0 {
		return results, nil
	}
	inTime, cancel := e.inTime(context.WithoutCancel(ctx))
	defer cancel()
	free, err := e.runs.PlaceBatch(inTime, first.Environment, first.BatchItem.Batch, placing)
	if err != nil {
		return results, fmt.Errorf("mollifier: places of a batch: %w", err)
	}
	for i, p := range placing {
		r := &results[at[i]]
		r.Taken, r.Kept = !free[p.Index], r.Err != nil
		delete(free, p.Index) // the same place again is a repeat
	}
	return results, nil
}

// triggerTogether triggers items as one arrival, or as several one after the
// other, each small enough to leave the shards room for others.
func (e *Engine) triggerTogether(ctx context.Context, items []run.Trigger) []run.BatchResult {
	results := make([]run.BatchResult, len(items))
	var (
		arrival []run.Snapshot
		at      []int
		bytes   int64
	)
	pass := func() {
		for i, a := range e.triggerAll(ctx, arrival) {
			results[at[i]].Result, results[at[i]].Err = a.Result, a.Err
		}
		arrival, at, bytes = nil, nil, 0
	}
	for i := range items {
		t := &items[i]
		if results[i].Err = t.Validate(); results[i].Err != nil {
			continue
		}
		if t.TriggerFunction == "" {
			t.TriggerFunction = run.FunctionBatchTrigger
			if t.ResumeParent && !t.ParentRun.IsZero() {
				t.TriggerFunction = run.FunctionBatchTriggerAndWait
			}
		}
		size := int64(t.Size())
		if len(arrival) > 0 && (len(arrival) >= e.cfg.MaxCallers/4 || bytes+size > e.cfg.MaxBytes/4) {
			pass()
		}
		arrival, at, bytes = append(arrival, snapshot(*t)), append(at, i), bytes+size
	}
	if len(arrival) > 0 {
		pass()
	}
	return results
}

func (e *Engine) triggerAll(ctx context.Context, snapshots []run.Snapshot) []actors.Answered {
	claims := e.enrolment.claims(snapshots[0].Trigger.Organisation)
	e.lineages(ctx, claims, snapshots)
	return e.shards.TriggerAll(ctx, snapshots, claims)
}

// placeOf is what is to be written of an answered item; nothing if this very item
// made a row, which brought its place, or if it is to be sent again.
func placeOf(t *run.Trigger, r *run.BatchResult) (p runstore.Place, ok bool) {
	p = runstore.Place{Index: t.BatchItem.Index, Task: t.Task}
	var invalid *run.InvalidError
	switch {
	case r.Err == nil:
		p.Run = r.Result.ID()
		return p, !r.Result.Created() || r.Result.State() == run.Buffered
	case errors.As(r.Err, &invalid):
		p.Error, p.Code = run.CleanReason(invalid.Error()), "INVALID"
	case errors.Is(r.Err, run.ErrRejected):
		p.Error, p.Code = "The database refuses to store this item.", "REJECTED"
	default:
		return p, false
	}
	p.Task = run.CleanReason(p.Task)
	return p, true
}
