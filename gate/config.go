package gate

import (
	"fmt"
	"log/slog"
	"time"
)

// Limits are when an environment trips, and for how long. Every field is
// required.
type Limits struct {
	// Window over which triggers are counted: 1 ms to 1 h.
	Window time.Duration
	// Threshold trips the environment when more triggers than this come in a
	// window: 1 to 1,000,000, and at most one each microsecond of the window.
	Threshold int
	// Hold is how long the environment stays tripped after the last trigger
	// that was over the threshold: 1 ms to 1 h.
	Hold time.Duration
}

const (
	shortest     = time.Millisecond
	longest      = time.Hour
	maxThreshold = 1_000_000
)

func (l Limits) validate(of string) error {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"Window", l.Window >= shortest && l.Window <= longest, "must be 1ms to 1h"},
		{"Threshold", l.Threshold >= 1 && l.Threshold <= maxThreshold, "must be 1 to 1000000"},
		{"Threshold", int64(l.Threshold) <= micros(l.Window), "must be at most one for each microsecond of Window"},
		{"Hold", l.Hold >= shortest && l.Hold <= longest, "must be 1ms to 1h"},
	} {
		if !rule.ok {
			return fmt.Errorf("gate: %s.%s %s", of, rule.field, rule.limit)
		}
	}
	return nil
}

// Config says how a [Gate] decides. Begin with [Defaults]: no zero stands for
// a default, so that a setting of 0 is refused and not taken for another.
type Config struct {
	Limits
	// Algorithm counts; all nodes should have the same. While they differ, as
	// in a rolling change, trips are shared and counts are not.
	Algorithm Algorithm
	// Off is the master switch, at start: nothing is mollified and nothing is
	// counted. [Gate.Switch] turns it.
	Off bool
	// Shadow, at start, has organisations that are not enrolled counted and
	// reported as [Shadow]; their triggers pass. [Gate.SetShadow] turns it.
	Shadow bool
	// Enrolled reports, from memory and at once, whether an organisation is
	// mollified at all. It is called by many goroutines. Required.
	Enrolled func(organisation string) bool
	// Budget bounds one call to Redis: 1 ms to 1 s. No trigger waits for it.
	Budget time.Duration
	// Pause is how long Redis is left alone after a call that failed: 0 to
	// 10 s. The counts of that time stay with the node.
	Pause time.Duration
	// Environments is the most that are remembered at a time: 64 to
	// 10,000,000. Those that come on top of that are not counted.
	Environments int
	// Pressure of Postgres.
	Pressure PressureConfig
	// Record, if it is not nil, is told of each trigger that was counted and decided
	// on. It is called on the hot path, by many goroutines, with no lock held: it
	// returns at once. See package gate/recording.
	Record func(Counted)
	// Logger is told of trips by [Gate.Log]. Nil discards.
	Logger *slog.Logger
	// Now is the clock. Required; [Defaults] has time.Now.
	Now func() time.Time
}

// Defaults are the settings of a gate whose Enrolled is still to be set.
func Defaults() Config {
	return Config{
		Limits:       Limits{Window: 200 * time.Millisecond, Threshold: 100, Hold: 500 * time.Millisecond},
		Algorithm:    FixedWindow,
		Budget:       50 * time.Millisecond,
		Pause:        100 * time.Millisecond,
		Environments: 100_000,
		Pressure:     DefaultPressure(),
		Now:          time.Now,
	}
}

func (c Config) validate() error {
	if err := c.Limits.validate("Config"); err != nil {
		return err
	}
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"Algorithm", c.Algorithm <= GCRA, "must be FixedWindow or GCRA"},
		{"Enrolled", c.Enrolled != nil, "is required"},
		{"Budget", c.Budget >= time.Millisecond && c.Budget <= time.Second, "must be 1ms to 1s"},
		{"Pause", c.Pause >= 0 && c.Pause <= 10*time.Second, "must be 0 to 10s"},
		{"Environments", c.Environments >= stripes && c.Environments <= 10_000_000, "must be 64 to 10000000"},
		{"Now", c.Now != nil, "is required"},
	} {
		if !rule.ok {
			return fmt.Errorf("gate: Config.%s %s", rule.field, rule.limit)
		}
	}
	return c.Pressure.validate()
}
