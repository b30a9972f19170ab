package runstore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

// options is what of a trigger is neither filtered nor sorted by. It is kept as
// one document; its field names are a stored format: they may be added to,
// never renamed or reused. Durations are nanoseconds.
type options struct {
	KeyTTL      time.Duration       `json:"keyTTL,omitempty"`
	KeyOptions  *run.KeyOptions     `json:"keyOptions,omitempty"`
	RequestKey  string              `json:"request,omitempty"`
	TTLText     string              `json:"ttlText,omitempty"`
	Concurrency []string            `json:"concurrency,omitempty"`
	Gates       []run.Gate          `json:"gates,omitempty"`
	Attempts    int                 `json:"maxAttempts,omitempty"`
	Duration    time.Duration       `json:"maxDuration,omitempty"`
	Debounce    *run.Debounce       `json:"debounce,omitempty"`
	Deployment  string              `json:"deployment,omitempty"`
	Resume      bool                `json:"resumeParent,omitempty"`
	ParentBatch string              `json:"parentBatch,omitempty"`
	ParentTry   string              `json:"parentAttempt,omitempty"`
	DepTry      string              `json:"dependentAttempt,omitempty"`
	DepBatch    string              `json:"dependentBatch,omitempty"`
	BulkAction  string              `json:"bulkAction,omitempty"`
	OneTime     bool                `json:"oneTime,omitempty"`
	TraceParent string              `json:"traceparent,omitempty"`
	TraceState  string              `json:"tracestate,omitempty"`
	Function    run.TriggerFunction `json:"function,omitempty"`
	Failed      *run.Failure        `json:"failed,omitempty"`
}

func encodeOptions(t *run.Trigger) (string, error) {
	o := options{
		KeyTTL: t.KeyTTL, RequestKey: t.RequestKey, TTLText: t.TTLText, Concurrency: t.Concurrency, Gates: t.Gates,
		Attempts: t.MaxAttempts, Duration: t.MaxDuration, Debounce: t.Debounce, Deployment: t.DeploymentID,
		Resume: t.ResumeParent, ParentBatch: t.ParentBatch, ParentTry: t.ParentAttempt,
		DepTry: t.DependentTry, DepBatch: t.DependentBatch, BulkAction: t.BulkAction,
		OneTime: t.OneTimeToken, TraceParent: t.TraceParent, TraceState: t.TraceState, Function: t.TriggerFunction,
		Failed: t.Failed,
	}
	if t.KeyOptions != (run.KeyOptions{}) {
		o.KeyOptions = &t.KeyOptions
	}
	b, err := json.Marshal(o)
	return string(b), err
}

func (o *options) apply(t *run.Trigger) {
	t.KeyTTL, t.RequestKey, t.TTLText, t.Concurrency, t.Gates = o.KeyTTL, o.RequestKey, o.TTLText, o.Concurrency, o.Gates
	t.MaxAttempts, t.MaxDuration, t.Debounce, t.DeploymentID = o.Attempts, o.Duration, o.Debounce, o.Deployment
	t.ResumeParent, t.ParentBatch, t.ParentAttempt = o.Resume, o.ParentBatch, o.ParentTry
	t.DependentTry, t.DependentBatch, t.BulkAction = o.DepTry, o.DepBatch, o.BulkAction
	t.OneTimeToken, t.TraceParent, t.TraceState, t.TriggerFunction = o.OneTime, o.TraceParent, o.TraceState, o.Function
	t.Failed = o.Failed
	if o.KeyOptions != nil {
		t.KeyOptions = *o.KeyOptions
	}
}

// arrayText writes a text array as Postgres reads it. Rows carry their tags in
// this form because an array of arrays would be flattened.
func arrayText(elements []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for j := range len(e) {
			if e[j] == '"' || e[j] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(e[j])
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

func digestBytes(d run.Digest) []byte {
	if d.IsZero() {
		return nil
	}
	return d[:]
}

func digestOf(b []byte) run.Digest {
	if len(b) != len(run.Digest{}) {
		return run.Digest{}
	}
	return run.Digest(b)
}

func instantOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(instant int64) time.Time {
	if instant == 0 {
		return time.Time{}
	}
	return run.Instant(instant).Time()
}

// scanRun reads the columns of sql/columns.sql, behind whatever lead expects
// before them. The run's Canonical is its ID. turn is its place in the queue.
func scanRun(row pgx.CollectableRow, lead ...any) (r run.Run, turn int64, err error) {
	var (
		id, parent, root, opts, failure             string
		accepted, until, updated, started, finished int64
		expired, delay, ttl, priority               int64
		payloadHash, requestHash                    []byte
		t                                           = &r.Trigger
	)
	if err := row.Scan(append(
		lead,
		&id, &t.Environment, &t.Organisation, &t.Task, &r.Status,
		&accepted, &until, &updated,
		&started, &finished, &expired, &r.Attempts,
		&t.Payload, &t.PayloadType, &t.PayloadSize, &payloadHash, &requestHash,
		&t.Metadata, &t.MetadataType, &t.Context,
		&t.IdempotencyKey, &t.Tags, &t.Queue, &t.ConcurrencyKey, &t.Machine, &t.Region, &t.LockToVersion, &t.Test,
		&t.BatchItem.Batch, &t.BatchItem.Index, &delay, &ttl, &priority,
		&parent, &root, &r.Depth, &opts,
		&r.Output, &r.OutputType, &failure, &turn,
	)...); err != nil {
		return run.Run{}, 0, err
	}
	if len(t.Tags) == 0 {
		t.Tags = nil
	}
	t.DelayUntil = timeOf(delay)
	t.TTL = time.Duration(ttl) * time.Microsecond
	t.Priority = time.Duration(priority) * time.Microsecond
	r.CreatedAt, r.KeyUntil, r.UpdatedAt = timeOf(accepted), timeOf(until), timeOf(updated)
	r.StartedAt, r.FinishedAt, r.ExpiredAt = timeOf(started), timeOf(finished), timeOf(expired)
	r.PayloadHash, r.RequestHash = digestOf(payloadHash), digestOf(requestHash)
	var o options
	if err := json.Unmarshal([]byte(opts), &o); err != nil {
		return run.Run{}, 0, unreadable("options")
	}
	o.apply(t)
	if failure != "" {
		r.Error = new(run.Failure)
		if err := json.Unmarshal([]byte(failure), r.Error); err != nil {
			return run.Run{}, 0, unreadable("error")
		}
	}
	if r.ID, err = run.ParseID(id); err != nil {
		return run.Run{}, 0, unreadable("id")
	}
	for _, other := range [...]struct {
		text string
		id   *run.ID
	}{{parent, &t.ParentRun}, {root, &r.RootRun}} {
		if other.text == "" {
			continue
		}
		if *other.id, err = run.ParseID(other.text); err != nil {
			return run.Run{}, 0, unreadable("parent")
		}
	}
	r.Canonical = r.ID
	return r, turn, nil
}

// unreadable is a row that this build can not have written.
func unreadable(column string) error {
	return &cause{verdict: hopeless, text: fmt.Sprintf("unreadable row: %s", column)}
}

// holderRow is a row of runs as far as its key is concerned. Absent rows have
// no id.
type holderRow struct {
	id, aliasOf, keyKind, status *string
	kind                         *int16
	acceptedAt, until, last      *int64
	payloadHash, requestHash     []byte
}

func (h *holderRow) targets() []any {
	return []any{
		&h.id, &h.aliasOf, &h.kind, &h.keyKind, &h.acceptedAt, &h.until, &h.last, &h.status,
		&h.payloadHash, &h.requestHash,
	}
}

func (h *holderRow) found() bool { return h.id != nil }

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// holder names the row as asked, or as the run that it stands for if asked is zero.
func (h *holderRow) holder(asked run.ID) (Holder, error) {
	own, err := run.ParseID(value(h.id))
	if err != nil {
		return Holder{}, unreadable("id")
	}
	canonical := own
	if h.aliasOf != nil {
		if canonical, err = run.ParseID(*h.aliasOf); err != nil {
			return Holder{}, unreadable("alias_of")
		}
	}
	if asked.IsZero() {
		asked = canonical
	}
	return Holder{
		ID: asked, Canonical: canonical,
		AcceptedAt: run.Instant(value(h.acceptedAt)), Until: run.Instant(value(h.until)),
		Status: run.Status(value(h.status)), PayloadHash: digestOf(h.payloadHash), RequestHash: digestOf(h.requestHash),
	}, nil
}

// ended reports whether the row has lost the key for a reason other than time:
// it is a tombstone, or a run whose status cleared its idempotency key.
func (h *holderRow) ended() bool {
	return value(h.kind) != kindRun ||
		value(h.keyKind) == string(rune(run.KindIdempotency)) && run.Status(value(h.status)).ClearsKey()
}

// liveAt reports whether a run accepted at the given instant meets the row's
// interval, and so must become this run instead of its own.
func (h *holderRow) liveAt(at run.Instant) bool {
	return !h.ended() && at < run.Instant(value(h.until))
}

// later reports whether the row has ended and began after an acceptance that a
// claim gave. The claim was dropped then: while it stands, nobody else begins.
// Without one, Postgres's clock decides, and there is nothing to be late.
func (h *holderRow) later(claimed run.Instant) bool {
	return claimed > 0 && h.ended() && claimed < run.Instant(value(h.acceptedAt)) && !mutant.On("stale-settle-is-raised")
}

// floor is the earliest acceptance that may follow the row, once it has ended.
func (h *holderRow) floor() run.Instant {
	floor := run.Instant(value(h.until))
	if h.last != nil {
		floor = max(floor, run.Instant(*h.last)+1)
	}
	return floor
}

// The kinds of a row.
const (
	kindRun       = 0
	kindAlias     = 1
	kindTombstone = 2
)

// byTurn orders runs as their queue does.
func byTurn(a, b taken) int {
	return cmp.Or(cmp.Compare(a.turn, b.turn), strings.Compare(a.run.ID.String(), b.run.ID.String()))
}

type taken struct {
	run  run.Run
	turn int64
}
