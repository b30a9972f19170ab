package telemetry

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/e0ff5a15/mollifier/run"
)

// reasons are why a trigger has no run.
var reasons = [...]string{"invalid", "overloaded", "buffer_full", "over_quota", "unavailable", "claim_timeout", "in_flight", "closed", "abandoned", "other"}

const (
	refusedInvalid = iota
	refusedOverloaded
	refusedBufferFull
	refusedQuota
	refusedUnavailable
	refusedClaimTimeout
	refusedInFlight
	refusedClosed
	refusedAbandoned
	refusedOther
)

func reasonOf(err error) int {
	switch {
	case errors.Is(err, run.ErrInvalid):
		return refusedInvalid
	case errors.Is(err, run.ErrOverloaded):
		if r, ok := errors.AsType[*run.RefusedError](err); ok && r.Part == "buffer" {
			return refusedBufferFull
		}
		return refusedOverloaded
	case errors.Is(err, run.ErrQuota):
		return refusedQuota
	case errors.Is(err, run.ErrClaimTimeout):
		return refusedClaimTimeout
	case errors.Is(err, run.ErrInFlight):
		return refusedInFlight
	case errors.Is(err, run.ErrClosed):
		return refusedClosed
	case errors.Is(err, run.ErrUnavailable):
		return refusedUnavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return refusedAbandoned
	}
	return refusedOther
}

// counter has a cache line of its own: all callers of an engine count in a few of them.
type counter struct {
	atomic.Uint64
	_ [56]byte
}

// Refusals counts the triggers that were answered with an error, by the reason. Its
// zero value is ready, and safe for concurrent use.
type Refusals struct {
	of [len(reasons)]counter
}

// Refused is how many triggers were refused for a reason.
type Refused struct {
	Reason string
	Count  uint64
}

// Count counts what a trigger was answered; nil is no refusal.
func (r *Refusals) Count(err error) {
	if err != nil {
		r.of[reasonOf(err)].Add(1)
	}
}

// All is every reason, in a fixed order.
func (r *Refusals) All() []Refused {
	all := make([]Refused, len(reasons))
	for i := range all {
		all[i] = Refused{reasons[i], r.of[i].Load()}
	}
	return all
}

// answers counts the triggers that were answered with a run.
type answers struct {
	answered   [8]counter // by kindOf
	mismatches counter
}

// The bits of an answer's kind.
const (
	kindCached = 1 << iota
	kindBuffered
	kindProvisional
)

func kindOf(r run.Result) (kind int) {
	if r.Cached() {
		kind |= kindCached
	}
	if r.State() == run.Buffered {
		kind |= kindBuffered
	}
	if r.Identity() == run.Provisional {
		kind |= kindProvisional
	}
	return kind
}

func (a *answers) count(r run.Result) {
	a.answered[kindOf(r)].Add(1)
	if !r.PayloadMatch() {
		a.mismatches.Add(1)
	}
}
