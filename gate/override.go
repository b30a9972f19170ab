package gate

import (
	"fmt"
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

type setting struct {
	limits limits
	force  Force
}

// overrides are read by every decision and seldom replaced, as a whole: a map that
// is never changed.
type overrides struct {
	common    limits
	settings  Limits
	algorithm Algorithm

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

// check makes a setting of an override.
func (o *overrides) check(v Override) (setting, error) {
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
		return setting{}, err
	}
	if v.Force > ForceMollify {
		return setting{}, fmt.Errorf("gate: Override.Force must be ForceNone, ForcePass or ForceMollify")
	}
	return setting{limits: o.limits(l), force: v.Force}, nil
}

// replace takes the overrides of all environments. One that can not be goes back to
// the configured settings, and is returned with what is wrong with it.
func (o *overrides) replace(all map[string]Override) (refused map[string]error) {
	next := make(map[string]setting, len(all))
	for environment, v := range all {
		s, err := o.check(v)
		if err != nil {
			if refused == nil {
				refused = map[string]error{}
			}
			refused[environment] = err
			continue
		}
		next[environment] = s
	}
	if len(next) == 0 {
		o.all.Store(nil)
	} else {
		o.all.Store(&next)
	}
	return refused
}
