package mollifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/explain"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
)

// Explain says why a run is what it is: from what the stores have of it, and what this
// node remembers of the decisions about it. An empty environment is looked for.
// Errors: run.ErrNotFound; run.ErrUnavailable, if a store that may have the run gave no
// answer and this node remembers nothing of it.
func (e *Engine) Explain(ctx context.Context, environment string, id run.ID) (explain.Explanation, error) {
	if id.IsZero() {
		return explain.Explanation{}, run.ErrNotFound
	}
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	x := explainer{e: e}
	if environment == "" {
		environment, x.err = e.whereabouts(ctx, id)
	}
	if x.err == nil {
		x.lookAt(ctx, environment, id)
	}
	var hash run.Hash
	if x.Key != nil {
		hash = x.key.Hash()
	}
	x.remember(id, hash)
	if x.err != nil && len(x.own) == 0 {
		return explain.Explanation{}, x.err
	}
	x.sum()
	return x.Explanation, nil
}

// ExplainKey says which run holds an idempotency key, if any, and what this node
// remembers of the key: repeats and refusals, too. Errors: run.ErrInvalid;
// run.ErrUnavailable, as [Engine.Explain].
func (e *Engine) ExplainKey(ctx context.Context, environment, task, idempotencyKey string) (explain.Explanation, error) {
	for field, value := range map[string]string{"environment": environment, "task": task, "key": idempotencyKey} {
		if value == "" {
			return explain.Explanation{}, &run.InvalidError{Field: field, Rule: "must not be empty"}
		}
	}
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	key := run.Key{Kind: run.KindIdempotency, Environment: environment, Task: task, Text: idempotencyKey}
	x := explainer{e: e}
	holder, err := e.reader.Key(ctx, key)
	var id run.ID
	switch {
	case err == nil:
		id = holder.ID
		x.lookAt(ctx, environment, id)
	case !errors.Is(err, run.ErrNotFound):
		x.err = err
	}
	if x.Key == nil {
		x.Key, x.key = keyOf(key), key
	}
	if !id.IsZero() {
		x.Key.Holder = id.String()
	}
	x.remember(id, key.Hash())
	if x.err != nil && len(x.Decisions) == 0 {
		return explain.Explanation{}, x.err
	}
	if id.IsZero() {
		trips, _ := e.gate.Trips(environment)
		x.Trips = explain.TripsOf(trips[:min(len(trips), shownTrips)])
	}
	x.sum()
	return x.Explanation, nil
}

// shownTrips is how many trips are shown where no run says which ones matter.
const shownTrips = 5

// whereabouts looks for a run's environment: in Postgres, then among the entries of
// the run's partition.
func (e *Engine) whereabouts(ctx context.Context, id run.ID) (string, error) {
	environment, err := e.runs.Whereabouts(ctx, id)
	if err == nil {
		return environment, nil
	}
	partition, minted := id.Partition()
	if !minted || partition >= e.cfg.Partitions {
		return "", err
	}
	heads, redisErr := e.buffer.Heads(ctx, []int{partition})
	if redisErr != nil {
		if errors.Is(err, run.ErrNotFound) {
			err = redisErr
		}
		return "", err
	}
	refs := make([]buffer.Ref, 0, len(heads[0].Heads))
	for _, h := range heads[0].Heads {
		refs = append(refs, buffer.Ref{Environment: h.Environment, ID: id})
	}
	for i, got := range e.buffer.Get(ctx, refs) {
		if got.Found {
			return refs[i].Environment, nil
		}
	}
	return "", err
}

// explainer puts an explanation together.
type explainer struct {
	explain.Explanation
	e        *Engine
	err      error // why the stores told nothing
	key      run.Key
	buffered bool
	own      []explain.Decision // of the run itself, not of its key's others
}

// lookAt reads what the stores have of a run.
func (x *explainer) lookAt(ctx context.Context, environment string, id run.ID) {
	r, err := x.e.Run(ctx, environment, id)
	if err != nil {
		x.err = err
		return
	}
	t := &r.Trigger
	x.Run = &explain.Run{
		ID: id.String(), Canonical: r.Canonical.String(), Environment: t.Environment, Organisation: t.Organisation, Task: t.Task,
		Status: string(r.Status), Where: "postgres", Attempts: r.Attempts,
	}
	x.state("ACCEPTED", r.CreatedAt, "")
	x.entry(ctx, environment, id)
	if !t.DelayUntil.IsZero() {
		x.state("DELAYED", r.CreatedAt, "until "+t.DelayUntil.UTC().Format(time.RFC3339))
	}
	x.state("EXECUTING", r.StartedAt, "")
	x.state("EXPIRED", r.ExpiredAt, "nobody took it in time")
	if r.Status.Final() && r.Status != run.Expired {
		x.state(string(r.Status), r.FinishedAt, "")
	}
	if x.key = t.Key(); !x.key.IsZero() {
		x.Key = keyOf(x.key)
		x.Key.Until = r.KeyUntil.UTC()
	}
	trips, since := x.e.gate.Trips(t.Environment)
	x.Trips = explain.TripsOf(around(trips, r.CreatedAt))
	if !since.IsZero() && r.CreatedAt.Before(since) {
		x.Unknown = append(x.Unknown, "when environments were mollified before "+since.UTC().Format(time.RFC3339)+": this node remembers 1024 times")
	}
}

// entry reads what the buffer has of a run.
func (x *explainer) entry(ctx context.Context, environment string, id run.ID) {
	got := x.e.buffer.Get(ctx, []buffer.Ref{{Environment: environment, ID: id}})[0]
	switch {
	case got.Err != nil:
		x.Unknown = append(x.Unknown, "whether it is in the buffer: Redis gave no answer")
	case got.Found:
		s := &got.Entry.Snapshot
		x.buffered = true
		text := map[buffer.Status]string{
			buffer.Queued:       "it waits to be drained",
			buffer.Leased:       "a drain is working on it",
			buffer.Returned:     "it waits to be drained; a drain has had it before, or Postgres could not be asked when it came",
			buffer.Materialised: "it waited in the buffer, and is in Postgres now; the entry goes within 30s",
		}[got.Entry.Status]
		if got.Entry.Attempts > 0 {
			text += fmt.Sprintf("; Postgres has refused it %d times", got.Entry.Attempts)
		}
		if got.Entry.Lapsed > 0 {
			text += fmt.Sprintf("; %d leases ran out", got.Entry.Lapsed)
		}
		if x.e.pauses.paused(environment) {
			text += "; the drain is paused"
		}
		x.state("BUFFERED", s.AcceptedAt.Time(), text)
		if got.Entry.Status != buffer.Materialised {
			x.Run.Where = "buffer"
		}
	}
}

func (x *explainer) state(state string, at time.Time, text string) {
	if !at.IsZero() {
		x.States = append(x.States, explain.State{State: state, At: at.UTC(), Text: text})
	}
}

// around are the trips that a moment lies in, or nearly: clocks differ.
func around(trips []gate.Trip, at time.Time) (list []gate.Trip) {
	const slack = time.Second
	for _, t := range trips {
		if t.Began.Add(-slack).Before(at) && (t.Ended.IsZero() || t.Ended.Add(slack).After(at)) {
			list = append(list, t)
		}
	}
	return list[:min(len(list), shownTrips)]
}

func keyOf(k run.Key) *explain.Key {
	kind := map[run.Kind]string{run.KindIdempotency: "idempotency", run.KindRequest: "request", run.KindBatchItem: "batch-item"}[k.Kind]
	return &explain.Key{Kind: kind, Text: k.Text}
}

// remember adds what this node remembers.
func (x *explainer) remember(id run.ID, hash run.Hash) {
	var since time.Time
	x.Decisions, since = x.e.recent.Of(id, hash)
	for _, d := range x.Decisions {
		if !id.IsZero() && d.Run == id.String() && d.What != explain.Deduplicated {
			x.own = append(x.own, d)
		}
	}
	x.Node = x.e.cfg.Node
	if !since.IsZero() {
		x.Unknown = append(x.Unknown, "decisions before "+since.UTC().Format(time.RFC3339)+": this node remembers none")
	}
	x.Unknown = append(x.Unknown, "what other nodes decided: each remembers its own")
}

// sum says it in one sentence.
func (x *explainer) sum() {
	var where, why string
	switch {
	case x.Run == nil && x.err == nil:
		where = "No run holds the key now"
	case x.Run == nil:
		where = "The stores tell nothing of the run now"
	case x.Run.Canonical != x.Run.ID:
		where = fmt.Sprintf("%s is another name of %s, which holds the key: the stores had come to different runs; it is %s", x.Run.ID, x.Run.Canonical, x.Run.Status)
	case x.Run.Where == "buffer":
		where = fmt.Sprintf("%s waits in the buffer, %s", x.Run.ID, x.Run.Status)
	default:
		where = fmt.Sprintf("%s is in Postgres, %s", x.Run.ID, x.Run.Status)
	}
	switch {
	case len(x.own) > 0:
		why = x.own[len(x.own)-1].Text
	case len(x.Decisions) > 0:
		why = x.Decisions[len(x.Decisions)-1].Text
	case x.buffered && len(x.Trips) > 0:
		why = "its environment was mollified when it came: " + x.Trips[0].Text
	case len(x.Trips) > 0 && x.Run != nil:
		why = "its environment was mollified about when it came, so it may have waited in the buffer: " + x.Trips[0].Text
	case x.buffered:
		why = "why it was buffered is not known here"
	case x.Run != nil:
		why = "this node remembers no decision about it: it was below the rate, or another node's, or is forgotten"
	}
	if x.Summary = where; why != "" {
		x.Summary += "; " + why
	}
	x.Summary += "."
	if x.States == nil {
		x.States = []explain.State{}
	}
	if x.Trips == nil {
		x.Trips = []explain.Trip{}
	}
}
