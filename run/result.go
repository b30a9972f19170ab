package run

import "time"

// Identity says how certain it is that the answered run is the only one of its key.
type Identity string

// The identities.
const (
	// Confirmed: decided with every store that could hold a run of the key.
	Confirmed Identity = "confirmed"
	// Provisional: a store could not be asked. The run id is kept for ever,
	// but may turn out to be another name of the key's run.
	Provisional Identity = "provisional"
)

// Durability is what had happened to the run when it was acknowledged.
type Durability string

// The durabilities met.
const (
	DurablePostgres     Durability = "postgres"
	DurableRedisReplica Durability = "redis-replica" // a replica has it as well
	DurableRedisFsync   Durability = "redis-fsync"
	DurableRedis        Durability = "redis"
)

// State is where an acknowledged run rests.
type State string

// The states.
const (
	Materialised State = "materialised" // in Postgres
	Buffered     State = "buffered"     // in the buffer, on its way to Postgres
)

// Answer holds the parts of a [Result].
type Answer struct {
	ID           ID         // the run that the caller was promised; never zero
	Canonical    ID         // the run that ID resolves to; zero means ID itself
	Cached       bool       // the run was there before this trigger
	Created      bool       // this very trigger made the run
	PayloadMatch bool       // false only when Cached and the payloads differ
	Identity     Identity   // empty means Confirmed
	Durability   Durability // empty means DurablePostgres
	State        State      // empty means Materialised
	AcceptedAt   Instant
}

// Result is the acknowledgement of a trigger. It always carries a run id: the
// zero Result is no acknowledgement, and reading it panics, so that no code
// can go on with an empty id.
type Result struct{ answer Answer }

// NewResult makes a Result. It panics when a.ID is zero, which is a bug in the
// engine and must not reach a caller as an empty id.
func NewResult(a Answer) Result {
	if a.ID.IsZero() {
		panic("run: result without a run id")
	}
	if a.Canonical.IsZero() {
		a.Canonical = a.ID
	}
	if a.Identity == "" {
		a.Identity = Confirmed
	}
	if a.Durability == "" {
		a.Durability = DurablePostgres
	}
	if a.State == "" {
		a.State = Materialised
	}
	return Result{a}
}

// For is the same answer for another caller: whether the run was there before that
// caller, and whether it was created with its payload.
func (r Result) For(cached, payloadMatch bool) Result {
	a := r.read()
	a.Cached, a.PayloadMatch = cached, payloadMatch
	return Result{a}
}

func (r Result) read() Answer {
	if r.answer.ID.IsZero() {
		panic("run: read of a zero Result: check the error first")
	}
	return r.answer
}

// ID is the run that the caller was promised.
func (r Result) ID() ID { return r.read().ID }

// Canonical is the run that executes: ID itself, or the run that ID is an alias of.
func (r Result) Canonical() ID { return r.read().Canonical }

// Cached reports whether the run was there before this trigger.
func (r Result) Cached() bool { return r.read().Cached }

// Created reports whether this very trigger made the run. Of the triggers of one
// request, which are all told that it is not cached, only one did.
func (r Result) Created() bool { return r.read().Created }

// PayloadMatch is false only when the run was there before and was created
// with another payload.
func (r Result) PayloadMatch() bool { return r.read().PayloadMatch || !r.answer.Cached }

// Identity says how certain the answer is.
func (r Result) Identity() Identity { return r.read().Identity }

// Durability says what had happened to the run when it was acknowledged.
func (r Result) Durability() Durability { return r.read().Durability }

// State says where the run rests.
func (r Result) State() State { return r.read().State }

// AcceptedAt is the run's created-at.
func (r Result) AcceptedAt() time.Time { return r.read().AcceptedAt.Time() }
