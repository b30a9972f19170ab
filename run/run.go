package run

import "time"

// Run is what a trigger created, as a read answers it. It is a copy: changing
// it changes nothing. Zero times mean "has not happened".
type Run struct {
	ID ID
	// Canonical is the run that executes: ID itself, or the run that ID is an
	// alias of; everything below is then the canonical run's.
	Canonical ID
	Trigger   Trigger

	Status    Status
	CreatedAt time.Time // when the trigger was accepted; never changes
	UpdatedAt time.Time
	// KeyUntil is when the interval of the run's key ends; zero without a key.
	// Once it has passed, the key is another run's to show, not this one's.
	KeyUntil    time.Time
	StartedAt   time.Time
	FinishedAt  time.Time
	ExpiredAt   time.Time
	Attempts    int
	Depth       int
	RootRun     ID
	Output      []byte
	OutputType  string
	Error       *Failure
	PayloadHash Digest
	RequestHash Digest
}

// Failure is why a run ended badly, as shown to its owner.
type Failure struct {
	Message    string `json:"message"`
	Name       string `json:"name,omitempty"`
	StackTrace string `json:"stackTrace,omitempty"`
}

// Finish is what a worker reports of a run: the status it enters, and for a
// final one its output or why it ended badly.
type Finish struct {
	Status     Status
	Output     []byte
	OutputType string // default application/json
	Failure    *Failure
}
