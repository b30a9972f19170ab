package gate

import (
	"context"

	"github.com/e0ff5a15/mollifier/redisdb"
)

// maxCalls is the most environments of one round trip. Redis serves others in
// between.
const maxCalls = 256

// Report tells Redis what this node counts, and takes back what the fleet has
// counted, until ctx ends; it then returns ctx's error. It calls as soon as
// the call before has returned and there is something to tell: what came
// meanwhile is one call. Counts whose call failed are not sent again: they
// stay with this node. One Report at a time.
func (g *Gate) Report(ctx context.Context) error {
	for {
		select {
		case <-g.wake:
			g.report(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tally is what is told of one environment.
type tally struct {
	*environment
	n      int64
	limits limits
}

// report tells Redis everything that is pending now.
func (g *Gate) report(ctx context.Context) {
	tallies := g.collect()
	for begin := 0; begin < len(tallies); begin += maxCalls {
		part := tallies[begin:min(begin+maxCalls, len(tallies))]
		if g.at(g.cfg.Now()) < g.resume || !g.redis.Available() {
			g.keep(part)
			continue
		}
		if !g.tell(ctx, part) {
			g.resume = g.at(g.cfg.Now()) + micros(g.cfg.Pause)
		}
	}
}

// collect takes what is pending of all environments.
func (g *Gate) collect() []tally {
	var tallies []tally
	now := g.at(g.cfg.Now())
	for i := range g.stripes {
		s := &g.stripes[i]
		s.mu.Lock()
		for _, e := range s.dirty {
			limits, _ := g.overrides.of(e.id)
			if n := e.pending.recent(now, max(limits.window, 2*micros(g.cfg.Budget))); n > 0 {
				tallies = append(tallies, tally{environment: e, n: n, limits: limits})
				e.sent = e.pending
			} else {
				g.counts.kept.Add(uint64(e.pending.n))
			}
			e.pending = batch{}
		}
		clear(s.spare)
		s.dirty, s.spare = s.spare[:0], s.dirty
		s.mu.Unlock()
	}
	return tallies
}

// tell makes one call of all tallies, and reports whether Redis served them.
func (g *Gate) tell(ctx context.Context, tallies []tally) bool {
	calls := make([]redisdb.Call, len(tallies), len(tallies)+1)
	for i, t := range tallies {
		calls[i] = call(t.name, t.n, t.limits)
	}
	// Whoever mollifies has to know Redis's clock, and who counts may soon mollify.
	calls = append(calls, redisdb.ClockCall())
	within, cancel := context.WithTimeout(ctx, g.cfg.Budget)
	results := g.redis.Run(within, calls)
	cancel()
	g.counts.calls.Add(1)

	served := false
	now := g.at(g.cfg.Now())
	for i, t := range tallies {
		r, err := parse(results[i])
		if err != nil {
			g.keep(tallies[i : i+1])
			continue
		}
		served = true
		g.counts.reported.Add(uint64(t.n))
		s := g.stripe(t.id)
		s.mu.Lock()
		before := t.held() > now
		t.read(r, now, t.limits)
		tripped := t.held() > now
		counted := t.counted(now, t.limits)
		s.mu.Unlock()
		if tripped && !before {
			g.noteTrip(t.environment, counted, now, t.limits)
		}
	}
	if !served {
		g.counts.failures.Add(1)
	}
	return served
}

// keep leaves tallies with this node: they are in its counters already.
func (g *Gate) keep(tallies []tally) {
	for _, t := range tallies {
		s := g.stripe(t.id)
		s.mu.Lock()
		t.sent = batch{}
		s.mu.Unlock()
		g.counts.kept.Add(uint64(t.n))
	}
}

func (g *Gate) rateName(id string) string { return g.redis.Names().Rate(redisdb.EnvTag(id)) }
