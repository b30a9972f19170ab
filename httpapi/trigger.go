package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
	"github.com/e0ff5a15/mollifier/token"
)

// The headers that a trigger reads and answers.
const (
	headerKey         = "Idempotency-Key"
	headerKeyTTL      = "Idempotency-Key-TTL"
	headerInFlight    = "Idempotency-In-Flight"
	headerRequestKey  = "X-Trigger-Request-Idempotency-Key"
	headerTraceParent = "Traceparent"
	headerTraceState  = "Tracestate"
	headerReplayed    = "Idempotent-Replayed"
	headerToken       = "X-Trigger-Jwt"
	headerClaims      = "X-Trigger-Jwt-Claims"
)

// devTTL is how long a run of a development environment may wait when its
// trigger does not say: nobody may be there to take it.
const devTTL = 10 * time.Minute

// triggerBody is the body of a trigger.
type triggerBody struct {
	Payload jsontext.Value        `json:"payload"`
	Context jsontext.Value        `json:"context"`
	Options field[triggerOptions] `json:"options"`
}

// triggerOptions are the options of a trigger; every one may be absent.
type triggerOptions struct {
	PayloadType       field[string]      `json:"payloadType"`
	PayloadSize       integer            `json:"payloadSize"`
	IdempotencyKey    field[string]      `json:"idempotencyKey"`
	IdempotencyKeyTTL field[string]      `json:"idempotencyKeyTTL"`
	KeyOptions        field[keyOptions]  `json:"idempotencyKeyOptions"`
	Delay             field[string]      `json:"delay"`
	TTL               textOrNumber       `json:"ttl"`
	Tags              texts              `json:"tags"`
	Metadata          jsontext.Value     `json:"metadata"`
	MetadataType      field[string]      `json:"metadataType"`
	Queue             field[queue]       `json:"queue"`
	ConcurrencyKey    textOrNumber       `json:"concurrencyKey"`
	Concurrency       field[[]string]    `json:"concurrency"`
	Gates             field[[]queueGate] `json:"gates"`
	Machine           field[string]      `json:"machine"`
	MaxAttempts       integer            `json:"maxAttempts"`
	MaxDuration       number             `json:"maxDuration"`
	Priority          number             `json:"priority"`
	Debounce          field[debounce]    `json:"debounce"`
	LockToVersion     field[string]      `json:"lockToVersion"`
	DeploymentID      nullableText       `json:"externalDeploymentId"`
	Region            field[string]      `json:"region"`
	Test              field[bool]        `json:"test"`
	ParentRunID       field[string]      `json:"parentRunId"`
	ResumeParent      field[bool]        `json:"resumeParentOnCompletion"`
	ParentBatch       field[string]      `json:"parentBatch"`
	BulkActionID      field[string]      `json:"bulkActionId"`
	DependentAttempt  field[string]      `json:"dependentAttempt"`
	ParentAttempt     field[string]      `json:"parentAttempt"`
	DependentBatch    field[string]      `json:"dependentBatch"`
}

type keyOptions struct {
	Key   field[string] `json:"key"`
	Scope field[string] `json:"scope"`
}

// wholeKeyOptions reports whether they are absent, or have all that they need.
func wholeKeyOptions(o field[keyOptions]) bool {
	return !o.set || o.value.Key.set && o.value.Scope.value != ""
}

type queue struct {
	Name field[string] `json:"name"`
}

type queueGate struct {
	Queue          field[string] `json:"queue"`
	ConcurrencyKey field[string] `json:"concurrencyKey" required:"false"`
}

type debounce struct {
	Key      field[string] `json:"key"`
	Delay    field[string] `json:"delay"`
	Mode     field[string] `json:"mode" required:"false" enum:"leading,trailing"`
	MaxDelay field[string] `json:"maxDelay" required:"false"`
}

// triggerAnswer is the body of a successful trigger. Clients of the trigger
// API read id and isCached; the rest says what this engine promises of the run.
type triggerAnswer struct {
	ID           run.ID         `json:"id"`
	IsCached     bool           `json:"isCached"`
	Durability   run.Durability `json:"durability"`
	State        run.State      `json:"state"`
	CanonicalID  run.ID         `json:"canonicalId"`
	Identity     run.Identity   `json:"identity"`
	PayloadMatch *bool          `json:"payloadMatch,omitzero" nullable:"false"` // of a cached run only
	Notice       *notice        `json:"notice,omitzero"`                        // of a new run in the buffer only
}

// notice tells a caller what its run waits for.
type notice struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Docs    string `json:"docs"`
}

// queuedNotice comes with a run that was answered before Postgres has it.
var queuedNotice = notice{
	Code:    "mollifier.queued",
	Message: "The run is accepted and waits in the buffer; it is written to the database shortly, under this id.",
	Docs:    "https://github.com/e0ff5a15/mollifier/blob/main/docs/concepts.md#mollify",
}

// triggerID names the operation that triggers one task.
const triggerID = "trigger"

func (a *api) triggerOperations() []operation {
	return []operation{{
		method: http.MethodPost, path: "/api/v1/tasks/{taskId}/trigger", write: true, do: a.trigger,
		id: triggerID, summary: "Trigger a task", scope: "trigger:tasks",
		request: reflect.TypeFor[triggerBody](), answer: reflect.TypeFor[triggerAnswer](),
		requestHeader: []string{headerKey, headerKeyTTL, headerInFlight, headerRequestKey, headerTraceParent, headerTraceState},
		answerHeader:  []string{headerReplayed, headerToken, headerClaims},
	}}
}

// trigger answers POST /api/v1/tasks/{taskId}/trigger.
func (a *api) trigger(ctx context.Context, c *call) (reply, error) {
	t := run.Trigger{Organisation: c.env.Organisation.ID, Environment: c.env.ID, Task: c.PathValue("taskId")}
	if err := t.Validate(); err != nil {
		return reply{}, err // the path: nothing else is filled in yet
	}
	if err := readHeaders(c.Header, &t); err != nil {
		return reply{}, err
	}
	if a.Full != nil {
		if err := a.Full(c.env.ID); err != nil {
			return reply{}, err
		}
	}
	raw, err := c.readBody()
	if err != nil {
		return reply{}, err
	}
	body, err := decodeBody[triggerBody](raw)
	if err != nil {
		return reply{}, err
	}
	if err := body.fill(&t, c.env.Type, a.Now()); err != nil {
		return reply{}, err
	}
	if err := t.Validate(); err != nil {
		return reply{}, err
	}
	if err := c.permit(token.Resource{Type: token.Tasks, ID: t.Task}); err != nil {
		return reply{}, err
	}
	if err := a.spend(ctx, c, t.RequestKey, t.IdempotencyKey, t.Task); err != nil {
		return reply{}, err
	}
	t.OneTimeToken = c.token != nil && c.token.OneTime
	result, err := a.Engine.Trigger(ctx, t)
	if inFlight := (*run.InFlightError)(nil); errors.As(err, &inFlight) && inFlight.OtherPayload && c.env.RefuseMismatch {
		return reply{}, errMismatch // whatever becomes of the other trigger, this one is wrong
	}
	if err != nil {
		return reply{}, err
	}
	if c.env.RefuseMismatch && result.Cached() && !result.PayloadMatch() {
		return reply{}, errMismatch
	}
	return a.triggered(c.env.ID, result)
}

func (a *api) triggered(environment string, r run.Result) (reply, error) {
	body := triggerAnswer{
		ID: r.ID(), IsCached: r.Cached(), Durability: r.Durability(), State: r.State(),
		CanonicalID: r.Canonical(), Identity: r.Identity(),
	}
	if r.Cached() {
		match := r.PayloadMatch()
		body.PayloadMatch = &match
	}
	if !r.Cached() && r.State() == run.Buffered {
		body.Notice = &queuedNotice
	}
	re, err := answer(body)
	if err != nil {
		return reply{}, err
	}
	if r.Cached() {
		re.header.Set(headerReplayed, "true")
	}
	// The handle may read the run and write to its input streams, and nothing else.
	id := r.ID().String()
	a.handToken(re.header, environment, "read:runs:"+id, "write:inputStreams:"+id)
	return re, nil
}

// readHeaders takes what a trigger may carry in headers. A key there wins over
// the body; two of them are refused, because either might be meant.
func readHeaders(h http.Header, t *run.Trigger) error {
	for _, name := range [...]string{headerKey, headerKeyTTL, headerInFlight, headerRequestKey} {
		if len(h.Values(name)) > 1 {
			return malformed(strings.ToLower(name), "must not be sent twice")
		}
	}
	var err error
	if text := h.Get(headerKeyTTL); text != "" {
		if t.KeyTTL, err = keyTTL(strings.ToLower(headerKeyTTL), text); err != nil {
			return err
		}
	}
	if t.IdempotencyKey, err = keyOfHeader(h.Get(headerKey)); err != nil {
		return malformed(strings.ToLower(headerKey), err.Error())
	}
	t.RequestKey, t.InFlight = h.Get(headerRequestKey), run.InFlight(h.Get(headerInFlight))
	if err := t.Validate(); err != nil {
		return ofHeader(err)
	}
	// Tracing never costs a run: what no tracer could have written is dropped.
	if parent := h.Get(headerTraceParent); traceParent.MatchString(parent) {
		t.TraceParent = parent
		if state := strings.Join(h.Values(headerTraceState), ","); len(state) <= 512 && printable(state) {
			t.TraceState = state
		}
	}
	return nil
}

// ofHeader has an error name the header that the faulty field came from: the
// body has not been looked at yet.
func ofHeader(err error) error {
	var invalid *run.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	named := *invalid
	switch named.Field {
	case "options.idempotencyKey":
		named.Field = strings.ToLower(headerKey)
	case "in-flight policy":
		named.Field = strings.ToLower(headerInFlight)
	case "request idempotency key":
		named.Field = strings.ToLower(headerRequestKey)
	}
	return &named
}

var traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,100})?$`)

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// fill copies the body into the trigger. Limits that belong to a trigger
// whatever its origin are left to [run.Trigger.Validate].
func (b *triggerBody) fill(t *run.Trigger, kind tenant.Type, now time.Time) (err error) {
	o := &b.Options.value
	t.PayloadType = o.PayloadType.value
	if t.Payload, err = storedPayload("payload", b.Payload, t.PayloadType); err != nil {
		return err
	}
	t.PayloadSize, t.Context = o.PayloadSize.value, b.Context
	if err = o.fillKey(t); err != nil {
		return err
	}
	if o.Delay.set {
		if t.DelayUntil, err = parseDelay(o.Delay.value, now); err != nil {
			return malformed("options.delay", err.Error())
		}
	}
	if t.TTL, t.TTLText, err = o.TTL.ttl("options.ttl", kind); err != nil {
		return err
	}
	t.Tags = o.Tags.set()
	t.Metadata, t.MetadataType = o.Metadata, o.MetadataType.value
	if o.Queue.set && !o.Queue.value.Name.set {
		return malformed("options.queue.name", "must be a string")
	}
	t.Queue = queueName(o.Queue.value.Name.value)
	t.ConcurrencyKey = o.ConcurrencyKey.String()
	t.Concurrency = o.Concurrency.value
	for _, g := range o.Gates.value {
		t.Gates = append(t.Gates, run.Gate{Queue: g.Queue.value, ConcurrencyKey: g.ConcurrencyKey.value})
	}
	t.Machine = o.Machine.value
	if o.Machine.set && o.Machine.value == "" {
		return malformed("options.machine", "one of "+strings.Join(run.Machines[:], ", "))
	}
	t.MaxAttempts = o.MaxAttempts.int()
	if o.MaxDuration.set {
		t.MaxDuration = max(run.MinMaxRunTime, seconds(o.MaxDuration.value))
	}
	t.Priority = seconds(o.Priority.value)
	if t.Debounce, err = o.debounce(); err != nil {
		return err
	}
	t.LockToVersion, t.Region, t.Test = o.LockToVersion.value, o.Region.value, o.Test.value
	t.DeploymentID = strings.TrimSpace(string(o.DeploymentID))
	if o.ParentRunID.value != "" {
		if t.ParentRun, err = run.ParseID(o.ParentRunID.value); err != nil {
			return malformed("options.parentRunId", "must be a run id")
		}
	}
	t.ResumeParent, t.BulkAction = o.ResumeParent.value, o.BulkActionID.value
	t.ParentBatch, t.DependentBatch = o.ParentBatch.value, o.DependentBatch.value
	t.ParentAttempt, t.DependentTry = o.ParentAttempt.value, o.DependentAttempt.value
	return nil
}

// fillKey takes the key of the body where no header gave one. What the user
// wrote belongs to the body's key, so another key does not show it.
func (o *triggerOptions) fillKey(t *run.Trigger) (err error) {
	if !wholeKeyOptions(o.KeyOptions) {
		return malformed("options.idempotencyKeyOptions", "must have key and scope")
	}
	if o.IdempotencyKeyTTL.set && t.KeyTTL == 0 {
		if t.KeyTTL, err = keyTTL("options.idempotencyKeyTTL", o.IdempotencyKeyTTL.value); err != nil {
			return err
		}
	}
	if t.IdempotencyKey == "" {
		t.IdempotencyKey = o.IdempotencyKey.value
	}
	if t.IdempotencyKey == o.IdempotencyKey.value {
		t.KeyOptions = run.KeyOptions{Key: o.KeyOptions.value.Key.value, Scope: o.KeyOptions.value.Scope.value}
	}
	return nil
}

func keyTTL(field, text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err != nil {
		return 0, malformed(field, err.Error())
	}
	if d < run.MinKeyTTL || d > run.MaxKeyTTL {
		return 0, malformed(field, "from 1s to 365d")
	}
	return d, nil
}

// ttl is how long the run may wait: a duration, or whole seconds; zero of
// either means for ever, and absent means the environment's default. The text
// is the duration as the caller wrote it.
func (v *textOrNumber) ttl(field string, kind tenant.Type) (d time.Duration, text string, err error) {
	switch v.kind {
	case 0:
		if kind == tenant.Dev {
			return devTTL, "", nil
		}
		return 0, "", nil
	case jsontext.KindNumber:
		if v.number < 0 || v.number != math.Trunc(v.number) {
			return 0, "", malformed(field, "must be a whole number of seconds, 0 or more")
		}
		return seconds(v.number), "", nil
	}
	if d, err = parseDuration(v.text); err != nil {
		return 0, "", malformed(field, err.Error())
	}
	if d == 0 {
		return 0, "", nil
	}
	return d, v.text, nil
}

// set is the tags without the blank ones, each once.
func (t texts) set() (tags []string) {
	for _, tag := range t {
		if strings.TrimSpace(tag) != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// debounce durations are relative only; what is wrong with them is
// unprocessable, not malformed.
func (o *triggerOptions) debounce() (*run.Debounce, error) {
	if !o.Debounce.set {
		return nil, nil
	}
	in := o.Debounce.value
	out := &run.Debounce{Key: in.Key.value, Trailing: in.Mode.value == "trailing"}
	if in.Mode.set && in.Mode.value != "trailing" && in.Mode.value != "leading" {
		return nil, malformed("options.debounce.mode", "one of leading, trailing")
	}
	var err error
	if out.Delay, err = parseDuration(in.Delay.value); err != nil {
		return nil, unprocessable("options.debounce.delay", err.Error())
	}
	if in.MaxDelay.set {
		if out.MaxDelay, err = parseDuration(in.MaxDelay.value); err != nil || out.MaxDelay == 0 {
			return nil, unprocessable("options.debounce.maxDelay", errDuration.Error())
		}
	}
	return out, nil
}

// seconds converts, and keeps what a Duration can not hold far outside every
// limit instead of wrapping it around.
func seconds(s float64) time.Duration {
	const most = 1 << 33 // 272 years
	return time.Duration(max(-most, min(s, most)) * float64(time.Second))
}

const maxQueueName = 128

// queueName keeps the characters that a queue's name may have.
func queueName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '/', r == '-':
			return r
		}
		return -1
	}, name)
	return name[:min(len(name), maxQueueName)]
}
