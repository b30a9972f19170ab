package run

import "time"

// Landed is a run whose row is being written, by a transaction that may still be
// rolled back.
type Landed struct {
	ID ID
	// Trigger is what was accepted, with the changes that were made to the run in
	// the buffer. It is shared: do not change it.
	Trigger Trigger
	// Status is QUEUED or DELAYED; or what the run had become before it landed:
	// CANCELED or EXPIRED in the buffer, or born FAILED. Those never execute.
	Status    Status
	CreatedAt time.Time
	KeyUntil  time.Time // zero without a key
	// Buffered says that the run was acknowledged before, and comes out of the buffer.
	Buffered bool
}
