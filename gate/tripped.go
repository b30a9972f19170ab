package gate

import (
	"cmp"
	"slices"
	"time"
)

// Tripped is an environment that its rate has tripped, as this node knows it.
type Tripped struct {
	Environment string
	State
	Window    time.Duration
	Threshold int
	Force     Force // what it is overridden to, whatever its rate
}

// Tripped returns the environments that their rate has tripped, as [Gate.State]
// has each: those with most triggers first, at most limit of them; and how many
// there are. It looks at every environment that is remembered, so it is for whoever
// watches, not for a trigger.
func (g *Gate) Tripped(limit int, now time.Time) (list []Tripped, total int) {
	at := g.at(now)
	for i := range g.stripes {
		s := &g.stripes[i]
		s.mu.Lock()
		for id, e := range s.envs {
			if e.held() <= at {
				continue
			}
			l, force := g.overrides.of(id)
			list = append(list, Tripped{
				Environment: id, State: e.state(at, l),
				Window: span(l.window), Threshold: int(l.threshold), Force: force,
			})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Tripped) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Environment, b.Environment))
	})
	return list[:min(limit, len(list))], len(list)
}
