package runstore

import (
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Status is where the batch is in its life. A run that has no row yet counts as
// one that goes on, whatever its entry in a buffer says.
func (b *Batch) Status() run.BatchStatus {
	failed, ended := 0, 0
	for i := range b.Places {
		switch p := &b.Places[i]; {
		case p.Run.IsZero():
			failed++
		case p.Status.Final():
			ended++
		}
	}
	switch taken := len(b.Places); {
	case taken == 0:
		return run.BatchPending
	case taken < b.Items:
		return run.BatchProcessing
	case failed == taken:
		return run.BatchAborted
	case failed > 0:
		return run.BatchPartialFailed
	case ended == taken:
		return run.BatchCompleted
	}
	return run.BatchPending
}

// CompletedAt is when every item had become a run or an error; zero while items
// are still to come.
func (b *Batch) CompletedAt() time.Time {
	if len(b.Places) < b.Items {
		return time.Time{}
	}
	at := b.SealedAt
	for i := range b.Places {
		at = later(at, b.Places[i].AcceptedAt)
	}
	return at
}

// UpdatedAt is when the batch or one of its runs last changed.
func (b *Batch) UpdatedAt() time.Time {
	at := later(b.CreatedAt, b.SealedAt)
	for i := range b.Places {
		at = later(at, b.Places[i].UpdatedAt)
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
