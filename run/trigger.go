package run

import (
	"time"
)

// The defaults and limits of a trigger. Sizes are bytes unless said otherwise.
const (
	MaxPayload        = 3_145_728
	MaxMetadata       = 262_144
	MaxTaskLen        = 512
	MaxNameLen        = 128    // organisation, environment, queue, machine, region, version, ids of batches and parents
	MaxKeyLen         = 2048   // UTF-16 code units
	MaxShownKeyLen    = 65_536 // of what a client hashed into a key
	MaxTTLText        = 100
	MaxRequestKeyLen  = 256
	MaxConcurrencyKey = 1024
	MaxTags           = 10
	MaxTagLen         = 128 // UTF-16 code units
	MaxConcurrency    = 2
	MaxGates          = 3
	MaxDebounceKey    = 512 // UTF-16 code units

	DefaultKeyTTL = 30 * 24 * time.Hour
	MinKeyTTL     = time.Second
	MaxKeyTTL     = 365 * 24 * time.Hour
	RequestKeyTTL = 24 * time.Hour
	MinMaxRunTime = 5 * time.Second

	DefaultPayloadType = "application/json"
)

// Trigger is one request to start a run. It has no id: the engine mints it.
// Organisation, Environment and Task are required; the zero value of every
// other field means "not given". The engine keeps the byte slices until the run
// is written, which may be after the caller's context has ended its wait: give
// them away, do not reuse them.
type Trigger struct {
	Organisation string
	Environment  string
	Task         string

	// Payload is opaque: it comes back byte for byte. Nil means "no payload",
	// which is not the same as an empty one.
	Payload     []byte
	PayloadType string // default application/json
	PayloadSize int64  // the caller's claim of the size before any offload
	Context     []byte // opaque, legacy
	Metadata    []byte // JSON text, opaque here
	// MetadataType defaults to application/json.
	MetadataType string

	// IdempotencyKey makes the trigger resolve to the live run of (Environment,
	// Task, IdempotencyKey), if there is one.
	IdempotencyKey string
	// KeyTTL is how long the key holds its run, at least; 1 s to 365 d, default 30 d.
	KeyTTL time.Duration
	// KeyOptions is what the user wrote, for display; never part of identity.
	KeyOptions KeyOptions
	// InFlight says what is to happen while another trigger of the IdempotencyKey is
	// in flight; default share. It is no part of the run.
	InFlight InFlight
	// RequestKey is equal on every transport retry of one call, and protects
	// that call for 24 h.
	RequestKey string
	// BatchItem places the run in a batch.
	BatchItem BatchItem
	// Failed has the run be born FAILED with this error: it is stored and shown
	// like any other, and never executes. For an item of a batch that is known to
	// be impossible when it arrives.
	Failed *Failure

	// DelayUntil holds the run back; a moment that has passed means "now".
	DelayUntil time.Time
	// TTL is how long the run may wait to be taken; zero means for ever.
	TTL time.Duration
	// TTLText is how the caller wrote TTL, for display; empty shows TTL itself.
	TTLText string

	Tags            []string
	Queue           string // default "task/" + Task
	ConcurrencyKey  string
	Concurrency     []string
	Gates           []Gate
	Machine         string
	MaxAttempts     int
	MaxDuration     time.Duration
	Priority        time.Duration // how much earlier than its turn; may be negative
	Debounce        *Debounce
	LockToVersion   string
	DeploymentID    string // external deployment id
	Region          string
	Test            bool
	ParentRun       ID
	ResumeParent    bool // trigger-and-wait, together with ParentRun
	ParentBatch     string
	ParentAttempt   string
	DependentTry    string // dependent attempt
	DependentBatch  string
	BulkAction      string
	OneTimeToken    bool // authorised by a token that may be used once
	TraceParent     string
	TraceState      string
	TriggerFunction TriggerFunction // default trigger
}

// KeyOptions is what a user wrote before their client hashed it into the key.
type KeyOptions struct {
	Key   string `json:"key,omitempty"`
	Scope string `json:"scope,omitempty"` // run, attempt or global
}

// InFlight is what a trigger wants where another trigger of its idempotency key is
// under way and has no answer yet.
type InFlight string

// The policies. The zero value is InFlightShare.
const (
	// InFlightShare: be answered with it, and fail with it.
	InFlightShare InFlight = "share"
	// InFlightWait: stand behind it, and be answered as if this trigger had come
	// after it; if it fails, this one is tried.
	InFlightWait InFlight = "wait"
	// InFlightConflict: be refused at once, with an [*InFlightError]. Tries of one
	// request, by their RequestKey, are one call and share; but a try that comes to
	// another node than the one under way is refused.
	InFlightConflict InFlight = "conflict"
)

// Gate is a further queue that a run has to pass.
type Gate struct {
	Queue          string `json:"queue"`
	ConcurrencyKey string `json:"concurrencyKey,omitempty"`
}

// Debounce groups triggers of one debounce key into one later run.
type Debounce struct {
	Key      string        `json:"key"`
	Delay    time.Duration `json:"delay"`
	Trailing bool          `json:"trailing,omitempty"`
	MaxDelay time.Duration `json:"maxDelay,omitempty"`
}

// BatchItem is a place in a batch; the zero value means "not in a batch".
type BatchItem struct {
	Batch string `json:"batch,omitempty"`
	Index int    `json:"index,omitempty"`
}

// TriggerFunction is the SDK function that made the trigger, for display.
type TriggerFunction string

// The trigger functions.
const (
	FunctionTrigger             TriggerFunction = "trigger"
	FunctionTriggerAndWait      TriggerFunction = "triggerAndWait"
	FunctionBatchTrigger        TriggerFunction = "batchTrigger"
	FunctionBatchTriggerAndWait TriggerFunction = "batchTriggerAndWait"
)

// Machines are the machine presets that a trigger may name.
var Machines = [...]string{
	"micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x",
}

// Key returns the identity that the trigger must resolve by: its idempotency
// key, else its place in a batch, else its request key, else none.
func (t *Trigger) Key() Key {
	switch {
	case t.IdempotencyKey != "":
		return Key{KindIdempotency, t.Environment, t.Task, t.IdempotencyKey}
	case t.BatchItem.Batch != "":
		return Key{KindBatchItem, t.Environment, t.Task, t.BatchItem.key()}
	case t.RequestKey != "":
		return Key{KindRequest, t.Environment, t.Task, t.RequestKey}
	}
	return Key{}
}

// IdentityTTL is how long the trigger's [Trigger.Key] holds its run.
func (t *Trigger) IdentityTTL() time.Duration {
	switch {
	case t.IdempotencyKey == "":
		return RequestKeyTTL
	case t.KeyTTL == 0:
		return DefaultKeyTTL
	}
	return t.KeyTTL
}

// Size is how many bytes of memory the trigger's own data holds, for bounds.
func (t *Trigger) Size() int {
	n := len(t.Payload) + len(t.Context) + len(t.Metadata) + len(t.IdempotencyKey) + len(t.RequestKey) + 512
	for _, tag := range t.Tags {
		n += len(tag)
	}
	return n
}
