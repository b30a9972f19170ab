package gate

import (
	"errors"
	"time"
)

// Counted is a trigger that was counted and decided on, as [Config].Record is told.
type Counted struct {
	Organisation, Environment string
	At                        time.Time
	Decision                  Decision
	Enrolled                  bool
	// ByRate says that the rate alone decided: nothing was forced, and Postgres was in
	// no trouble. Other limits might have decided otherwise; without it, not.
	ByRate bool
	Limits Limits // in force
}

// Rate counts the triggers of one environment outside of a gate: as the record in
// Redis does, which the differential tests of the scripts hold it to. Make one with
// [NewRate]; it is for one goroutine.
type Rate struct {
	counter counter
	limits  limits
}

// NewRate returns a rate that has counted nothing. The error names the limit that no
// gate could have.
func NewRate(a Algorithm, l Limits) (*Rate, error) {
	if a > GCRA {
		return nil, errors.New("gate: Algorithm must be FixedWindow or GCRA")
	}
	r := &Rate{limits: limits{algorithm: a}}
	return r, r.Limit(l)
}

// Limit changes the limits, as an override does: what was counted stays.
func (r *Rate) Limit(l Limits) error {
	if err := l.validate("Limits"); err != nil {
		return err
	}
	r.limits = limits{algorithm: r.limits.algorithm, window: micros(l.Window), threshold: int64(l.Threshold), hold: micros(l.Hold)}
	return nil
}

// Add counts one trigger at an instant, in microseconds of whatever clock, and
// reports whether the environment is tripped then: until when, 0 for not.
func (r *Rate) Add(now int64) (until int64) {
	r.counter.add(now, 1, r.limits)
	if r.counter.held > now {
		return r.counter.held
	}
	return 0
}

// Count is how many triggers the window holds; with GCRA, the bucket.
func (r *Rate) Count() int64 {
	if r.limits.algorithm == GCRA {
		return (r.counter.level + r.limits.each() - 1) / r.limits.each()
	}
	return r.counter.level
}
