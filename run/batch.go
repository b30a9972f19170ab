package run

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// MaxBatchItems is how many items one batch may have.
const MaxBatchItems = 1000

// BatchRequest is a request to open a batch, before its items are known.
// Organisation, Environment and Items are required.
type BatchRequest struct {
	Organisation string
	Environment  string
	Items        int // how many will come: 1 to MaxBatchItems

	// IdempotencyKey makes the request resolve to the batch of the key in the
	// environment, if there is one. KeyTTL is how long the key holds its batch:
	// 1 s to 365 d, default 30 d.
	IdempotencyKey string
	KeyTTL         time.Duration
	KeyOptions     KeyOptions // what the user wrote, for display
	// RequestKey is equal on every transport retry of one call.
	RequestKey string

	// ParentRun and ResumeParent are those of every item.
	ParentRun    ID
	ResumeParent bool
}

// Key is the identity that the request must resolve by: its idempotency key,
// else its request key, else none. It has no task, so it is no run's key.
func (b *BatchRequest) Key() Key {
	switch {
	case b.IdempotencyKey != "":
		return Key{Kind: KindIdempotency, Environment: b.Environment, Text: b.IdempotencyKey}
	case b.RequestKey != "":
		return Key{Kind: KindRequest, Environment: b.Environment, Text: b.RequestKey}
	}
	return Key{}
}

// IdentityTTL is how long the request's [BatchRequest.Key] holds its batch.
func (b *BatchRequest) IdentityTTL() time.Duration {
	switch {
	case b.IdempotencyKey == "":
		return RequestKeyTTL
	case b.KeyTTL == 0:
		return DefaultKeyTTL
	}
	return b.KeyTTL
}

// Validate refuses what no store could hold; the error is an [*InvalidError].
func (b *BatchRequest) Validate() error {
	v := &validation{}
	v.name("organisation", b.Organisation, MaxNameLen, true)
	v.name("environment", b.Environment, MaxNameLen, true)
	v.between("runCount", b.Items, 1, MaxBatchItems)
	v.units("idempotencyKey", b.IdempotencyKey, MaxKeyLen)
	if b.KeyTTL != 0 {
		v.span("idempotencyKeyTTL", b.KeyTTL, MinKeyTTL, MaxKeyTTL)
	}
	v.name("idempotencyKeyOptions.key", b.KeyOptions.Key, MaxShownKeyLen, false)
	v.oneOf("idempotencyKeyOptions.scope", b.KeyOptions.Scope, "run", "attempt", "global")
	v.name("request idempotency key", b.RequestKey, MaxRequestKeyLen, false)
	return v.err()
}

// BatchResult is the verdict on one item of a batch: Result if Err is nil. The
// errors are those of a single trigger.
type BatchResult struct {
	Result Result
	Err    error
	// Kept: the error is the item's answer for good, and stands in its place. An
	// item with another error is to be sent again.
	Kept bool
	// Taken: the place had its answer before this call, so this was a repeat.
	Taken bool
}

// NewBatchID returns a new id of a batch: "batch_" and 26 lower-case digits
// that sort by the time of their making.
func NewBatchID(now time.Time) string {
	return "batch_" + strings.ToLower(ulid.MustNew(ulid.Timestamp(now), rand.Reader).String())
}

// BatchStatus is where a batch is in its life. The texts are the wire's.
type BatchStatus string

// The statuses of a batch.
const (
	BatchPending       BatchStatus = "PENDING"        // no item has come yet; or all have, and their runs go on
	BatchProcessing    BatchStatus = "PROCESSING"     // some items have come
	BatchCompleted     BatchStatus = "COMPLETED"      // every item has its run, and all runs have ended
	BatchPartialFailed BatchStatus = "PARTIAL_FAILED" // all items have come, and some have an error instead of a run
	BatchAborted       BatchStatus = "ABORTED"        // all items have come, and none has a run
)
