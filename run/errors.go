package run

import (
	"errors"
	"fmt"
	"time"
)

// The sentinels that callers branch on with errors.Is.
var (
	// ErrInvalid: the trigger can not be accepted as it is; see [InvalidError].
	// Nothing was stored or counted. Do not retry.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: every store that could hold it has answered, and it is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the run is in a status that does not allow the change.
	ErrConflict = errors.New("conflict")
	// ErrInFlight: another trigger of the key is under way, and this one asked for
	// [InFlightConflict]; see [InFlightError]. Nothing was stored.
	ErrInFlight = errors.New("key in flight")
	// ErrOverloaded: a bounded queue of this node is full. Nothing was stored. Retry later.
	ErrOverloaded = errors.New("overloaded")
	// ErrQuota: the environment has used up its share of the buffer. Nothing was
	// stored. Retry later.
	ErrQuota = errors.New("over quota")
	// ErrUnavailable: a store that is needed for the answer did not give one.
	// The trigger may or may not have taken effect; a retry with the same key is safe.
	ErrUnavailable = errors.New("store unavailable")
	// ErrClaimTimeout: another owner held the key's claim for the whole wait
	// budget and neither published nor released it. Retry with the same key.
	ErrClaimTimeout = errors.New("timed out waiting for the owner of the key")
	// ErrClosed: the engine is closing or closed. Nothing was stored.
	ErrClosed = errors.New("engine closed")
	// ErrRejected: Postgres, or the hook that receives runs, refuses this one whatever
	// happens around it. Nothing of it was stored. Do not retry.
	ErrRejected = errors.New("run refused")
	// ErrUnknownVersion: a stored record carries a version byte that this
	// build does not know. The record was left as it is.
	ErrUnknownVersion = errors.New("unknown record version")
)

// Fault says in which way an input is invalid.
type Fault int

// The faults.
const (
	Malformed     Fault = iota // wrong type, form or range
	Unprocessable              // well-formed, but not acceptable
	TooLarge                   // over a size limit
)

// InvalidError names the field that is wrong and the rule it breaks. It never
// holds the value. errors.Is(err, ErrInvalid) holds for it.
type InvalidError struct {
	Field string // as the wire names it, for example "options.tags"
	Rule  string // for example "at most 10"
	Fault Fault
}

func (e *InvalidError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Rule) }

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// InFlightError refuses a trigger that asked for [InFlightConflict].
// errors.Is(err, ErrInFlight) holds for it.
type InFlightError struct {
	// OtherPayload: the trigger that is under way has another payload. False where
	// that is not known, because it is another node's.
	OtherPayload bool
}

func (e *InFlightError) Error() string {
	if e.OtherPayload {
		return ErrInFlight.Error() + ", with another payload"
	}
	return ErrInFlight.Error()
}

// Is makes errors.Is(err, ErrInFlight) hold.
func (e *InFlightError) Is(target error) bool { return target == ErrInFlight }

// RefusedError is a refusal that a later try may not meet: Reason is
// [ErrOverloaded], [ErrQuota], [ErrUnavailable], [ErrClaimTimeout] or [ErrClosed].
type RefusedError struct {
	Reason error
	// Part names what refused: "redis", "postgres", "claim", "shard",
	// "engine", "http".
	Part string
	// RetryAfter is when a retry may succeed; zero means unknown.
	RetryAfter time.Duration
	// Err is the cause, for logs only: it may name internals.
	Err error
}

func (e *RefusedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v: %v", e.Part, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Part, e.Reason)
}

// Unwrap lets errors.Is find the reason and the cause.
func (e *RefusedError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}
