package gate

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	logEvery = time.Second
	// logLines is how many environments are named in one pass; the others are counted.
	logLines = 10
)

// trips are the environments that are tripped, for the log. A trip that begins and
// ends between two passes is told as both.
type trips struct {
	mu   sync.Mutex
	list []trip
}

type trip struct {
	*environment
	began   int64
	counted int64 // in the window, when it began
	limits  limits
	number  int // in the history
	told    bool
}

// noteTrip takes down that an environment has tripped. It is called once a trip,
// with no lock held.
func (g *Gate) noteTrip(e *environment, counted, now int64, l limits) {
	g.counts.trips.Add(1)
	number := g.history.begin(Trip{
		Environment: e.id, Reason: ReasonRate, Began: g.moment(now), Counted: counted,
		Limits: l.exported(),
	})
	g.trips.mu.Lock()
	defer g.trips.mu.Unlock()
	if len(g.trips.list) < g.cfg.Environments {
		g.trips.list = append(g.trips.list, trip{environment: e, began: now, counted: counted, limits: l, number: number})
	}
}

// Log tells the log, until ctx ends, when environments trip and when that is over,
// each once, and when Postgres puts pressure on all: a few lines a second at most.
func (g *Gate) Log(ctx context.Context) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	pressed, number := noReason, 0
	for {
		select {
		case <-tick.C:
			g.logTrips()
			now := g.pressure.reason(g.at(g.cfg.Now()))
			if now == pressed {
				continue
			}
			g.logPressure(pressed.String(), now.String())
			if pressed != noReason {
				g.history.end(number, g.cfg.Now())
			}
			if pressed = now; now != noReason {
				number = g.history.begin(Trip{Reason: now, Began: g.cfg.Now()})
			}
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gate) logPressure(before, now string) {
	if now == "" {
		g.cfg.Logger.Info("postgres is out of trouble: nothing is mollified for its sake any more", slog.String("was", before))
		return
	}
	g.cfg.Logger.Info("postgres is in trouble: all environments are mollified", slog.String("reason", now))
}

func (g *Gate) logTrips() {
	now := g.at(g.cfg.Now())
	g.trips.mu.Lock()
	defer g.trips.mu.Unlock()
	lines, more := 0, 0
	kept := g.trips.list[:0]
	for _, t := range g.trips.list {
		held := g.heldUntil(t.environment)
		if !t.told {
			if t.told = lines < logLines; t.told {
				lines++
				g.cfg.Logger.Info("an environment is mollified", slog.String("environment", t.id), slog.String("reason", ReasonRate.String()),
					slog.Int64("triggers", t.counted), slog.Duration("window", span(t.limits.window)), slog.Int64("threshold", t.limits.threshold))
			} else {
				more++
				continue // its end is not told either
			}
		}
		if held > now {
			kept = append(kept, t)
			continue
		}
		g.history.end(t.number, g.moment(held))
		g.cfg.Logger.Info("an environment is not mollified any more", slog.String("environment", t.id),
			slog.Duration("lasted", span(max(held-t.began, 0)).Round(time.Millisecond)))
	}
	clear(g.trips.list[len(kept):])
	g.trips.list = kept
	if more > 0 {
		g.cfg.Logger.Info("more environments are mollified", slog.Int("environments", more))
	}
}

func (g *Gate) heldUntil(e *environment) int64 {
	s := g.stripe(e.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.held()
}
