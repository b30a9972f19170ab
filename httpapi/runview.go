package httpapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// headerAlias names the run that executes, when it has another id than the one
// that was asked for.
const headerAlias = "Mollifier-Run-Alias"

// date is a moment as JavaScript writes it; the zero date is left out.
type date time.Time

// IsZero reports whether there is no date.
func (d date) IsZero() bool { return time.Time(d).IsZero() }

// MarshalText implements encoding.TextMarshaler.
func (d date) MarshalText() ([]byte, error) {
	return time.Time(d).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z07:00"), nil
}

// relatedView is a run as it is shown beside another one: the fields that
// every view of a run has.
type relatedView struct {
	ID              run.ID              `json:"id"`
	CanonicalID     run.ID              `json:"canonicalId"`
	TaskIdentifier  string              `json:"taskIdentifier"`
	IdempotencyKey  string              `json:"idempotencyKey,omitzero"`
	Version         string              `json:"version,omitzero"`
	Status          run.Status          `json:"status"`
	IsQueued        bool                `json:"isQueued"`
	IsExecuting     bool                `json:"isExecuting"`
	IsWaiting       bool                `json:"isWaiting"`
	IsCompleted     bool                `json:"isCompleted"`
	IsSuccess       bool                `json:"isSuccess"`
	IsFailed        bool                `json:"isFailed"`
	IsCancelled     bool                `json:"isCancelled"`
	IsTest          bool                `json:"isTest"`
	CreatedAt       date                `json:"createdAt"`
	UpdatedAt       date                `json:"updatedAt"`
	StartedAt       date                `json:"startedAt,omitzero"`
	FinishedAt      date                `json:"finishedAt,omitzero"`
	DelayedUntil    date                `json:"delayedUntil,omitzero"`
	ExpiredAt       date                `json:"expiredAt,omitzero"`
	TTL             string              `json:"ttl,omitzero"`
	Tags            []string            `json:"tags"`
	CostInCents     int                 `json:"costInCents"`
	BaseCostInCents int                 `json:"baseCostInCents"`
	DurationMS      int64               `json:"durationMs"`
	Depth           int                 `json:"depth"`
	TriggerFunction run.TriggerFunction `json:"triggerFunction"`
	Region          string              `json:"region,omitzero"`
	BatchID         string              `json:"batchId,omitzero"`
	Metadata        jsontext.Value      `json:"metadata,omitzero"`
}

// runView is a run as GET answers it.
type runView struct {
	relatedView  `json:",inline"`
	Payload      jsontext.Value `json:"payload,omitzero"`
	PayloadURL   string         `json:"payloadPresignedUrl,omitzero"` // instead of a payload that was uploaded
	Output       jsontext.Value `json:"output,omitzero"`
	OutputURL    string         `json:"outputPresignedUrl,omitzero"`
	Error        *run.Failure   `json:"error,omitzero"`
	AttemptCount int            `json:"attemptCount"`
	Attempts     []struct{}     `json:"attempts"` // always empty
	RelatedRuns  relatedRuns    `json:"relatedRuns"`
}

type relatedRuns struct {
	Root     *relatedView  `json:"root,omitzero"`
	Parent   *relatedView  `json:"parent,omitzero"`
	Children []relatedView `json:"children"`
}

// retrieve answers GET /api/v3/runs/{runId}.
func (a *api) retrieve(ctx context.Context, c *call) (reply, error) {
	r, err := a.readRun(ctx, c)
	if err != nil {
		return reply{}, err
	}
	return a.whole(ctx, c, &r)
}

// whole answers a run with those related to it.
func (a *api) whole(ctx context.Context, c *call, r *run.Run) (reply, error) {
	view := viewRun(r, a.Now())
	var err error
	view.PayloadURL = a.storedURL(ctx, c, r.Trigger.PayloadType, r.Trigger.Payload)
	view.OutputURL = a.storedURL(ctx, c, r.OutputType, r.Output)
	partial := false
	if view.RelatedRuns, partial, err = a.related(ctx, c, r); err != nil {
		return reply{}, err
	}
	if !r.Trigger.ParentRun.IsZero() && view.RelatedRuns.Parent == nil && view.RelatedRuns.Root == nil {
		view.Depth = 0 // a parent that nobody knows is none
	}
	if !c.mayRead(view.RelatedRuns.Root) {
		view.RelatedRuns.Root = nil
	}
	if !c.mayRead(view.RelatedRuns.Parent) {
		view.RelatedRuns.Parent = nil
	}
	if c.oldVocabulary() {
		view.oldVocabulary()
		for _, other := range [...]*relatedView{view.RelatedRuns.Parent, view.RelatedRuns.Root} {
			if other != nil {
				other.oldVocabulary()
			}
		}
		for i := range view.RelatedRuns.Children {
			view.RelatedRuns.Children[i].oldVocabulary()
		}
	}
	re, err := answer(view)
	if err == nil && partial {
		re.header.Set(headerPartial, "true")
	}
	if err == nil && !r.Canonical.IsZero() && r.Canonical != r.ID {
		re.header.Set(headerAlias, r.Canonical.String())
	}
	return re, err
}

// related reads the run's children, root and parent. One that this environment does
// not have (any more) is left out: a trigger may name any parent. Children that can
// not be read now are no reason to fail the run; partial says that there may be more.
func (a *api) related(ctx context.Context, c *call, r *run.Run) (out relatedRuns, partial bool, err error) {
	out.Children = []relatedView{}
	names := []run.ID{r.ID}
	if !r.Canonical.IsZero() && r.Canonical != r.ID {
		names = append(names, r.Canonical)
	}
	children, partial, failed := a.Engine.Children(ctx, c.env.ID, names...)
	for i := range children {
		if v := viewRelated(&children[i], a.Now()); c.mayRead(&v) {
			out.Children = append(out.Children, v)
		}
	}
	partial = partial || failed != nil
	read := func(id run.ID) (*relatedView, error) {
		if id.IsZero() || id == r.ID || id == r.Canonical {
			return nil, nil
		}
		other, err := a.Engine.Run(ctx, c.env.ID, id)
		if errors.Is(err, run.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		v := viewRelated(&other, a.Now())
		return &v, nil
	}
	if out.Parent, err = read(r.Trigger.ParentRun); err != nil {
		return relatedRuns{}, partial, err
	}
	if r.RootRun == r.Trigger.ParentRun {
		out.Root = out.Parent
		return out, partial, nil
	}
	out.Root, err = read(r.RootRun)
	return out, partial, err
}

func viewRun(r *run.Run, now time.Time) runView {
	return runView{
		relatedView:  viewRelated(r, now),
		Payload:      shownPayload(r.Trigger.PayloadType, r.Trigger.Payload),
		Output:       shownPayload(r.OutputType, r.Output),
		Error:        r.Error,
		AttemptCount: r.Attempts,
		Attempts:     []struct{}{},
		RelatedRuns:  relatedRuns{Children: []relatedView{}},
	}
}

func viewRelated(r *run.Run, now time.Time) relatedView {
	t := &r.Trigger
	v := relatedView{
		ID: r.ID, CanonicalID: r.Canonical, TaskIdentifier: t.Task, IdempotencyKey: shownKey(r, now),
		Version: t.LockToVersion, Status: r.Status, IsTest: t.Test,
		CreatedAt: date(r.CreatedAt), UpdatedAt: date(r.UpdatedAt), StartedAt: date(r.StartedAt),
		FinishedAt: date(finishedAt(r)), DelayedUntil: date(t.DelayUntil), ExpiredAt: date(r.ExpiredAt),
		TTL: shownTTL(t), Tags: slices.Sorted(slices.Values(t.Tags)),
		DurationMS: duration(r).Milliseconds(), Depth: r.Depth, TriggerFunction: t.TriggerFunction,
		Region: t.Region, BatchID: t.BatchItem.Batch, Metadata: shownMetadata(t),
	}
	if v.CanonicalID.IsZero() {
		v.CanonicalID = r.ID
	}
	if v.UpdatedAt.IsZero() {
		v.UpdatedAt = v.CreatedAt
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	if v.TriggerFunction == "" {
		v.TriggerFunction = run.FunctionTrigger
	}
	v.flags()
	return v
}

// apiVersion is the version of the API whose words for statuses these are.
// Whoever names no version, or another, gets the words from before it.
const (
	headerAPIVersion = "X-Trigger-Api-Version"
	apiVersion       = "2025-07-16"
)

func (c *call) oldVocabulary() bool { return c.Header.Get(headerAPIVersion) != apiVersion }

// oldVocabulary says the status, and the flags that go with it, as clients from
// before [apiVersion] know them.
func (v *relatedView) oldVocabulary() {
	switch v.Status {
	case run.Dequeued:
		v.Status = run.Executing
	case run.Waiting:
		v.Status, v.IsWaiting, v.IsExecuting = "FROZEN", false, true
	}
}

// oldStatuses are what names from before [apiVersion] mean in a filter.
var oldStatuses = map[string]run.Status{
	"WAITING_FOR_DEPLOY": run.PendingVersion, "REATTEMPTING": run.Executing, "FROZEN": run.Waiting, "INTERRUPTED": run.Failed,
}

// flags sets what clients poll on. Expired and timed out runs count as
// completed and failed: they never change again, and a client that waits for
// isCompleted has to come to an end.
func (v *relatedView) flags() {
	switch v.Status {
	case run.Queued, run.Delayed, run.PendingVersion:
		v.IsQueued = true
	case run.Executing, run.Dequeued:
		v.IsExecuting = true
	case run.Waiting:
		v.IsWaiting = true
	}
	v.IsCompleted = v.Status.Final()
	v.IsSuccess = v.Status == run.Completed
	v.IsFailed = v.IsCompleted && !v.IsSuccess
	v.IsCancelled = v.Status == run.Canceled
}

// shownKey is what the user wrote, else the key; nothing once the key no
// longer holds this run.
func shownKey(r *run.Run, now time.Time) string {
	t := &r.Trigger
	switch {
	case t.IdempotencyKey == "" || (!r.KeyUntil.IsZero() && !now.Before(r.KeyUntil)):
		return ""
	case t.KeyOptions.Key != "":
		return t.KeyOptions.Key
	}
	return t.IdempotencyKey
}

// finishedAt is never missing from a run that has ended, or its watchers would
// go on asking.
func finishedAt(r *run.Run) time.Time {
	switch {
	case !r.Status.Final():
		return time.Time{}
	case !r.FinishedAt.IsZero():
		return r.FinishedAt
	case !r.ExpiredAt.IsZero():
		return r.ExpiredAt
	}
	return r.UpdatedAt
}

// duration is how long an ended run was worked on.
func duration(r *run.Run) time.Duration {
	if end := finishedAt(r); !end.IsZero() && !r.StartedAt.IsZero() && end.After(r.StartedAt) {
		return end.Sub(r.StartedAt)
	}
	return 0
}

// shownTTL is the time to live as it was written.
func shownTTL(t *run.Trigger) string { return cmp.Or(t.TTLText, formatDuration(t.TTL)) }
