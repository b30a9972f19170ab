package run

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Snapshot is everything needed to create a run later exactly as it was
// accepted: complete, and free of secrets (it never holds an API key or a
// token). A stored snapshot begins with a version byte; see [Snapshot.Append].
type Snapshot struct {
	ID          ID
	AcceptedAt  Instant // created-at; zero while no store has accepted it
	Key         Key     // zero for a trigger without identity
	Hash        Hash    // of Key; zero without one
	KeyUntil    Instant // end of the key's interval; zero until accepted
	PayloadHash Digest
	RequestHash Digest
	Lineage     Lineage // zero: nothing is known but the trigger's parent
	Trigger     Trigger
}

// Lineage places a run below an ancestor: that many generations below it.
type Lineage struct {
	Ancestor ID
	Distance int
}

// Of is where a run stands whose trigger names that parent: the lineage itself,
// or right below the parent if it is zero. A run without a parent stands nowhere.
func (l Lineage) Of(parent ID) Lineage {
	if l.Ancestor.IsZero() && !parent.IsZero() {
		return Lineage{Ancestor: parent, Distance: 1}
	}
	return l
}

// NewSnapshot fills in what follows from a validated trigger. Defaults that
// are part of the run (queue, payload type, trigger function) are fixed here,
// so that a later version with other defaults does not change an accepted run.
func NewSnapshot(id ID, key Key, hash Hash, t Trigger) Snapshot {
	if t.PayloadType == "" {
		t.PayloadType = DefaultPayloadType
	}
	if t.MetadataType == "" {
		t.MetadataType = DefaultPayloadType
	}
	if t.Queue == "" {
		t.Queue = "task/" + t.Task
	}
	if t.TriggerFunction == "" {
		t.TriggerFunction = FunctionTrigger
		if t.ResumeParent && !t.ParentRun.IsZero() {
			t.TriggerFunction = FunctionTriggerAndWait
		}
	}
	return Snapshot{
		ID: id, Key: key, Hash: hash, Trigger: t,
		PayloadHash: DigestPayload(t.PayloadType, t.Payload),
		RequestHash: DigestRequest(t.Environment, t.Task, t.RequestKey),
	}
}

// PayloadDigest is the PayloadHash that the snapshot of another trigger would have.
// It hashes only what differs from this one.
func (s *Snapshot) PayloadDigest(t *Trigger) Digest {
	kind := t.PayloadType
	if kind == "" {
		kind = DefaultPayloadType
	}
	own := &s.Trigger
	if kind == own.PayloadType && sameBytes(t.Payload, own.Payload) {
		return s.PayloadHash
	}
	return DigestPayload(kind, t.Payload)
}

func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b))
}

// RequestDigest is the RequestHash that the snapshot of another trigger of the same
// environment and task would have.
func (s *Snapshot) RequestDigest(t *Trigger) Digest {
	if t.RequestKey == s.Trigger.RequestKey {
		return s.RequestHash
	}
	return DigestRequest(t.Environment, t.Task, t.RequestKey)
}

// Accept sets the acceptance time and, for a keyed run, the end of its
// interval. Zero takes both back: Postgres's clock is to decide.
func (s *Snapshot) Accept(at Instant) {
	s.AcceptedAt, s.KeyUntil = at, 0
	if at != 0 && !s.Key.IsZero() {
		s.KeyUntil = at.Add(s.Trigger.IdentityTTL())
	}
}

// snapshotVersion is the first byte of a stored snapshot. A build reads every
// version up to its own and reports a later one as [ErrUnknownVersion].
const snapshotVersion = 1

// Append appends the stored form: the version byte, then four length-prefixed
// parts: a JSON header with everything but the customer's bytes, the payload,
// the metadata, the context. A part's length is shifted by one so that nil
// (0) and empty (1) stay apart; the customer's bytes are never re-encoded. A snapshot
// without an id is refused ([ErrBadID]): it could not be read again.
func (s *Snapshot) Append(b []byte) ([]byte, error) {
	return s.append(b, headerOf(s))
}

// AppendUndated is [Snapshot.Append] of a snapshot that was not accepted yet:
// AcceptedAt and KeyUntil are left out.
func (s *Snapshot) AppendUndated(b []byte) ([]byte, error) {
	h := headerOf(s)
	h.AcceptedAt, h.KeyUntil = 0, 0
	return s.append(b, h)
}

func (s *Snapshot) append(b []byte, h header) ([]byte, error) {
	if s.ID.IsZero() {
		return nil, fmt.Errorf("run: encode snapshot: %w", ErrBadID)
	}
	head, err := json.Marshal(&h)
	if err != nil {
		return nil, fmt.Errorf("run: encode snapshot %s: %w", s.ID, err)
	}
	b = slices.Grow(b, len(head)+len(s.Trigger.Payload)+len(s.Trigger.Metadata)+len(s.Trigger.Context)+recordOverhead(4))
	return appendRecord(b, snapshotVersion, head, s.Trigger.Payload, s.Trigger.Metadata, s.Trigger.Context), nil
}

// DecodeSnapshot reads what [Snapshot.Append] wrote. The result shares memory
// with b. A version of a later build is [ErrUnknownVersion]; anything else
// that does not decode is an error too, and the record must be kept.
func DecodeSnapshot(b []byte) (Snapshot, error) {
	var parts [4][]byte
	if err := cutRecord("snapshot", b, snapshotVersion, parts[:]); err != nil {
		return Snapshot{}, err
	}
	var h header
	if err := json.Unmarshal(parts[0], &h); err != nil {
		return Snapshot{}, fmt.Errorf("run: decode snapshot header: %w", err)
	}
	return h.snapshot(parts[1], parts[2], parts[3])
}

// header is the JSON part of a stored snapshot. Its field names are a stored
// format: they may be added to, never renamed or reused.
type header struct {
	ID          string          `json:"id"`
	AcceptedAt  Instant         `json:"at"`
	KeyUntil    Instant         `json:"until,omitempty"`
	Kind        string          `json:"kind,omitempty"`
	KeyText     string          `json:"key,omitempty"`
	Org         string          `json:"org"`
	Env         string          `json:"env"`
	Task        string          `json:"task"`
	Type        string          `json:"type"`
	Size        int64           `json:"size,omitempty"`
	MetaType    string          `json:"metaType"`
	IdemKey     string          `json:"idem,omitempty"`
	KeyTTL      time.Duration   `json:"keyTTL,omitempty"`
	KeyOptions  *KeyOptions     `json:"keyOptions,omitempty"`
	RequestKey  string          `json:"request,omitempty"`
	Batch       *BatchItem      `json:"batch,omitempty"`
	DelayUntil  Instant         `json:"delay,omitempty"`
	TTL         time.Duration   `json:"ttl,omitempty"`
	TTLText     string          `json:"ttlText,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	Queue       string          `json:"queue"`
	ConcKey     string          `json:"concurrencyKey,omitempty"`
	Concurrency []string        `json:"concurrency,omitempty"`
	Gates       []Gate          `json:"gates,omitempty"`
	Machine     string          `json:"machine,omitempty"`
	Attempts    int             `json:"maxAttempts,omitempty"`
	Duration    time.Duration   `json:"maxDuration,omitempty"`
	Priority    time.Duration   `json:"priority,omitempty"`
	Debounce    *Debounce       `json:"debounce,omitempty"`
	Version     string          `json:"lockToVersion,omitempty"`
	Deployment  string          `json:"deployment,omitempty"`
	Region      string          `json:"region,omitempty"`
	Test        bool            `json:"test,omitempty"`
	Parent      string          `json:"parent,omitempty"`
	Ancestor    string          `json:"ancestor,omitempty"`
	Distance    int             `json:"distance,omitempty"`
	Resume      bool            `json:"resumeParent,omitempty"`
	ParentBatch string          `json:"parentBatch,omitempty"`
	ParentTry   string          `json:"parentAttempt,omitempty"`
	DepTry      string          `json:"dependentAttempt,omitempty"`
	DepBatch    string          `json:"dependentBatch,omitempty"`
	BulkAction  string          `json:"bulkAction,omitempty"`
	OneTime     bool            `json:"oneTime,omitempty"`
	TraceParent string          `json:"traceparent,omitempty"`
	TraceState  string          `json:"tracestate,omitempty"`
	Function    TriggerFunction `json:"function"`
	Failed      *Failure        `json:"failed,omitempty"`
}

func headerOf(s *Snapshot) header {
	t := &s.Trigger
	h := header{
		ID: s.ID.String(), AcceptedAt: s.AcceptedAt, KeyUntil: s.KeyUntil, KeyText: s.Key.Text,
		Org: t.Organisation, Env: t.Environment, Task: t.Task,
		Type: t.PayloadType, Size: t.PayloadSize, MetaType: t.MetadataType,
		IdemKey: t.IdempotencyKey, KeyTTL: t.KeyTTL, RequestKey: t.RequestKey,
		TTL: t.TTL, TTLText: t.TTLText, Tags: t.Tags, Queue: t.Queue, ConcKey: t.ConcurrencyKey, Concurrency: t.Concurrency,
		Gates: t.Gates, Machine: t.Machine, Attempts: t.MaxAttempts, Duration: t.MaxDuration,
		Priority: t.Priority, Debounce: t.Debounce, Version: t.LockToVersion, Deployment: t.DeploymentID,
		Region: t.Region, Test: t.Test, Parent: t.ParentRun.String(), Resume: t.ResumeParent,
		Ancestor: s.Lineage.Ancestor.String(), Distance: s.Lineage.Distance,
		ParentBatch: t.ParentBatch, ParentTry: t.ParentAttempt, DepTry: t.DependentTry,
		DepBatch: t.DependentBatch, BulkAction: t.BulkAction, OneTime: t.OneTimeToken,
		TraceParent: t.TraceParent, TraceState: t.TraceState, Function: t.TriggerFunction,
		Failed: t.Failed,
	}
	if s.Key.Kind != 0 {
		h.Kind = string(rune(s.Key.Kind))
	}
	if t.KeyOptions != (KeyOptions{}) {
		h.KeyOptions = &t.KeyOptions
	}
	if t.BatchItem != (BatchItem{}) {
		h.Batch = &t.BatchItem
	}
	if !t.DelayUntil.IsZero() {
		h.DelayUntil = InstantOf(t.DelayUntil)
	}
	return h
}

func (h *header) snapshot(payload, metadata, context []byte) (Snapshot, error) {
	id, err := ParseID(h.ID)
	if err != nil {
		return Snapshot{}, fmt.Errorf("run: decode snapshot header: id: %w", err)
	}
	t := Trigger{
		Organisation: h.Org, Environment: h.Env, Task: h.Task,
		Payload: payload, PayloadType: h.Type, PayloadSize: h.Size, Context: context,
		Metadata: metadata, MetadataType: h.MetaType,
		IdempotencyKey: h.IdemKey, KeyTTL: h.KeyTTL, RequestKey: h.RequestKey,
		TTL: h.TTL, TTLText: h.TTLText, Tags: h.Tags, Queue: h.Queue, ConcurrencyKey: h.ConcKey, Concurrency: h.Concurrency,
		Gates: h.Gates, Machine: h.Machine, MaxAttempts: h.Attempts, MaxDuration: h.Duration,
		Priority: h.Priority, Debounce: h.Debounce, LockToVersion: h.Version, DeploymentID: h.Deployment,
		Region: h.Region, Test: h.Test, ResumeParent: h.Resume,
		ParentBatch: h.ParentBatch, ParentAttempt: h.ParentTry, DependentTry: h.DepTry,
		DependentBatch: h.DepBatch, BulkAction: h.BulkAction, OneTimeToken: h.OneTime,
		TraceParent: h.TraceParent, TraceState: h.TraceState, TriggerFunction: h.Function,
		Failed: h.Failed,
	}
	if h.Parent != "" {
		if t.ParentRun, err = ParseID(h.Parent); err != nil {
			return Snapshot{}, fmt.Errorf("run: decode snapshot header: parent: %w", err)
		}
	}
	if h.KeyOptions != nil {
		t.KeyOptions = *h.KeyOptions
	}
	if h.Batch != nil {
		t.BatchItem = *h.Batch
	}
	if h.DelayUntil != 0 {
		t.DelayUntil = h.DelayUntil.Time()
	}
	s := Snapshot{ID: id, AcceptedAt: h.AcceptedAt, KeyUntil: h.KeyUntil, Trigger: t}
	if h.Ancestor != "" {
		if s.Lineage.Ancestor, err = ParseID(h.Ancestor); err != nil {
			return Snapshot{}, fmt.Errorf("run: decode snapshot header: ancestor: %w", err)
		}
		s.Lineage.Distance = h.Distance
	}
	if h.Kind != "" {
		s.Key = Key{Kind(h.Kind[0]), h.Env, h.Task, h.KeyText}
		s.Hash = s.Key.Hash()
	}
	s.PayloadHash = DigestPayload(t.PayloadType, t.Payload)
	s.RequestHash = DigestRequest(t.Environment, t.Task, t.RequestKey)
	return s, nil
}
