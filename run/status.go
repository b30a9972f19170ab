package run

// Status is where a run is in its life. The texts are the wire's texts and the
// texts in Postgres.
type Status string

// The statuses.
const (
	PendingVersion Status = "PENDING_VERSION" // waits for a version of its task
	Delayed        Status = "DELAYED"         // waits for its delay to pass
	Queued         Status = "QUEUED"          // may be taken by a worker
	Dequeued       Status = "DEQUEUED"        // taken, not started
	Executing      Status = "EXECUTING"       // being worked on
	Waiting        Status = "WAITING"         // suspended by its own doing
	Completed      Status = "COMPLETED"
	Canceled       Status = "CANCELED"
	Failed         Status = "FAILED"
	Crashed        Status = "CRASHED"
	SystemFailure  Status = "SYSTEM_FAILURE"
	Expired        Status = "EXPIRED"   // its ttl passed before it was taken
	TimedOut       Status = "TIMED_OUT" // ran longer than it may
)

// Statuses lists every status, in the order of a run's life.
var Statuses = [...]Status{
	PendingVersion, Delayed, Queued, Dequeued, Executing, Waiting,
	Completed, Canceled, Failed, Crashed, SystemFailure, Expired, TimedOut,
}

// Valid reports whether s is one of [Statuses].
func (s Status) Valid() bool {
	switch s {
	case PendingVersion, Delayed, Queued, Dequeued, Executing, Waiting:
		return true
	}
	return s.Final()
}

// Final reports whether a run in this status has ended: it never changes again.
func (s Status) Final() bool {
	switch s {
	case Completed, Canceled:
		return true
	}
	return s.ClearsKey()
}

// ClearsKey reports whether entering this status ends the interval of the
// run's idempotency key, so that the next trigger of the key makes a new run.
// COMPLETED and CANCELED keep the key. Keys of other kinds are never cleared.
func (s Status) ClearsKey() bool {
	switch s {
	case Failed, Crashed, SystemFailure, Expired, TimedOut:
		return true
	}
	return false
}

// CanBecome is the transition table of a run. A status may always stay what it
// is; a final one stays for ever.
func (s Status) CanBecome(next Status) bool {
	if s == next {
		return true
	}
	switch s {
	case PendingVersion, Delayed:
		return next == Queued || next == Canceled || next == Expired || next == SystemFailure
	case Queued:
		return next == Dequeued || next == Executing || next == Delayed || next.Final()
	case Dequeued, Executing, Waiting:
		// Queued again is a worker that hands a run back.
		return next == Queued || next == Executing || next == Waiting || (next.Final() && next != Expired)
	}
	return false
}
