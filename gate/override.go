package gate

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Override replaces settings of one environment while the node runs.
type Override struct {
	// Window, Threshold and Hold replace the configured ones where they are not
	// zero; together with those that stay they must be valid [Limits].
	Window    time.Duration
	Threshold int
	Hold      time.Duration
	// Force decides instead of the rate and the pressure. The triggers are still
	// counted, so that the rate is known when it ends.
	Force Force
}

// maxOverrides bounds the overrides of a node. They are made by people.
const maxOverrides = 10_000

type setting struct {
	limits limits
	force  Force
}

// overrides are read by every decision and written by hand: a map that is
// replaced, never changed.
type overrides struct {
	common    limits
	settings  Limits
	algorithm Algorithm

	mu  sync.Mutex // one writer at a time
	all atomic.Pointer[map[string]setting]
}

func (o *overrides) init(cfg Config) {
	o.settings, o.algorithm = cfg.Limits, cfg.Algorithm
	o.common = o.limits(cfg.Limits)
}

func (o *overrides) limits(l Limits) limits {
	return limits{algorithm: o.algorithm, window: micros(l.Window), threshold: int64(l.Threshold), hold: micros(l.Hold)}
}

func (o *overrides) of(environment string) (limits, Force) {
	if all := o.all.Load(); all != nil {
		if s, ok := (*all)[environment]; ok {
			return s.limits, s.force
		}
	}
	return o.common, ForceNone
}

func (o *overrides) set(environment string, v Override) error {
	l := o.settings
	if v.Window != 0 {
		l.Window = v.Window
	}
	if v.Threshold != 0 {
		l.Threshold = v.Threshold
	}
	if v.Hold != 0 {
		l.Hold = v.Hold
	}
	if err := l.validate("Override"); err != nil {
		return err
	}
	if v.Force > ForceMollify {
		return fmt.Errorf("gate: Override.Force must be ForceNone, ForcePass or ForceMollify")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	next := map[string]setting{}
	if all := o.all.Load(); all != nil {
		next = maps.Clone(*all)
	}
	next[environment] = setting{limits: o.limits(l), force: v.Force}
	if len(next) > maxOverrides {
		return fmt.Errorf("gate: a node takes at most %d overrides", maxOverrides)
	}
	o.all.Store(&next)
	return nil
}

func (o *overrides) clear(environment string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.all.Load()
	if all == nil {
		return
	}
	next := maps.Clone(*all)
	delete(next, environment)
	if len(next) == 0 {
		o.all.Store(nil)
		return
	}
	o.all.Store(&next)
}
