package recording

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
)

// Config says under which limits a recording is replayed. What is zero stays as it
// was recorded.
type Config struct {
	Window    time.Duration
	Threshold int
	Hold      time.Duration
	// Algorithm replaces that which was recorded, if it is not nil.
	Algorithm *gate.Algorithm
	// Environment replays one only: its id, or its name.
	Environment string
	// From and Until bound what is replayed: by whole seconds, From inclusive.
	From, Until time.Time
}

func (c Config) limits(l gate.Limits) gate.Limits {
	return gate.Limits{
		Window: cmp.Or(c.Window, l.Window), Threshold: cmp.Or(c.Threshold, l.Threshold), Hold: cmp.Or(c.Hold, l.Hold),
	}
}

func (c Config) wants(l *Line) bool {
	return (c.Environment == "" || c.Environment == l.Environment || c.Environment == l.Name) &&
		(c.From.IsZero() || !l.At.Before(c.From)) && (c.Until.IsZero() || l.At.Before(c.Until))
}

// Report is what would have been.
type Report struct {
	From, Until  time.Time     // of what was replayed
	Nodes        []string      // that recorded it
	Every        time.Duration // of a column of [Environment].Columns
	Environments []Environment // those with most triggers first
}

// Environment is one environment in a report.
type Environment struct {
	Organisation, Environment, Name string
	Enrolled                        bool
	Limits                          gate.Limits // of the replay, as they were last
	Triggers                        int
	Given                           int // of them, those that the rate did not decide alone
	Recorded, Replayed              Fate
	// Peak is the most that came in a window of the replay, counted by fixed windows: so
	// counted, a threshold of that much would never have tripped.
	Peak    int
	Columns []Column
}

// Fate is what became of an environment's triggers.
type Fate struct {
	Mollified int // with Given ones
	// Trips are the times in which the rate had it tripped. Of what was recorded: from
	// the first mollified trigger to a hold after the last.
	Trips   []Trip
	Tripped time.Duration // of them together
}

// Trip is a time in which an environment was tripped by its rate.
type Trip struct {
	Began, Ended time.Time
	Mollified    int
}

// Column is a part of the time.
type Column struct {
	Triggers, Mollified int // as replayed
	Recorded            int // mollified, as recorded
}

// columns is about how many a report has.
const columns = 240

// spread is a slot of a recording.
type spread struct {
	line *Line
	Counts
}

// Replay replays lines, which it sorts.
func Replay(cfg Config, lines []Line) (*Report, error) {
	lines = distinct(cfg, lines)
	if len(lines) == 0 {
		return nil, errors.New("recording: there is nothing to replay: no environment triggered, or none that was asked for")
	}
	r := &Report{From: lines[0].At, Until: lines[len(lines)-1].At.Add(time.Second)}
	r.Every = max((r.Until.Sub(r.From)/columns + Slot - 1).Truncate(Slot), Slot)
	envs, nodes := map[string][]spread{}, map[string]bool{}
	for i := range lines {
		l := &lines[i]
		nodes[l.Node] = true
		for _, c := range l.Slots {
			envs[l.Environment] = append(envs[l.Environment], spread{l, c})
		}
	}
	for node := range nodes {
		r.Nodes = append(r.Nodes, node)
	}
	slices.Sort(r.Nodes)
	for _, all := range envs {
		slices.SortStableFunc(all, func(a, b spread) int { return a.at().Compare(b.at()) })
		e, err := r.replay(cfg, all)
		if err != nil {
			return nil, err
		}
		r.Environments = append(r.Environments, e)
	}
	slices.SortFunc(r.Environments, func(a, b Environment) int {
		return cmp.Or(cmp.Compare(b.Triggers, a.Triggers), cmp.Compare(a.Environment, b.Environment))
	})
	return r, nil
}

// distinct are the wanted lines, each once, in the order of time.
func distinct(cfg Config, lines []Line) []Line {
	lines = slices.DeleteFunc(lines, func(l Line) bool { return !cfg.wants(&l) })
	order := func(a, b Line) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Seq, b.Seq))
	}
	slices.SortFunc(lines, order)
	return slices.CompactFunc(lines, func(a, b Line) bool { return order(a, b) == 0 })
}

func (s *spread) at() time.Time { return s.line.At.Add(time.Duration(s.Slot) * Slot) }

// replay puts the slots of one environment, in the order of time, before a rate of
// its own.
func (r *Report) replay(cfg Config, all []spread) (e Environment, err error) {
	last := all[len(all)-1].line
	e = Environment{
		Organisation: last.Organisation, Environment: last.Environment, Name: last.Name, Enrolled: last.Enrolled,
		Columns: make([]Column, (r.Until.Sub(r.From)+r.Every-1)/r.Every),
	}
	algorithm := last.Algorithm
	if cfg.Algorithm != nil {
		algorithm = *cfg.Algorithm
	}
	e.Limits = cfg.limits(all[0].line.Limits)
	rate, err := gate.NewRate(algorithm, e.Limits)
	if err != nil {
		return e, unlike(err)
	}
	windows, _ := gate.NewRate(gate.FixedWindow, e.Limits)
	for i := range all {
		s := &all[i]
		if limits := cfg.limits(s.line.Limits); limits != e.Limits {
			if err := errors.Join(rate.Limit(limits), windows.Limit(limits)); err != nil {
				return e, unlike(err)
			}
			e.Limits = limits
		}
		e.slot(rate, s, &e.Columns[s.at().Sub(r.From)/r.Every])
		for range s.Triggers {
			windows.Add(s.at().UnixMicro())
		}
		e.Peak = max(e.Peak, int(windows.Count()))
	}
	for _, f := range []*Fate{&e.Recorded, &e.Replayed} {
		for _, t := range f.Trips {
			f.Tripped += t.Ended.Sub(t.Began)
		}
	}
	return e, nil
}

// unlike is about limits that can not be, some given and some recorded.
func unlike(err error) error {
	return fmt.Errorf("recording: together with the limits that were recorded: %w", err)
}

// slot decides again what came in a slot.
func (e *Environment) slot(rate *gate.Rate, s *spread, c *Column) {
	at := s.at()
	now := at.UnixMicro()
	n := int(s.Triggers)
	e.Triggers += n
	c.Triggers += n
	e.Recorded.Mollified += int(s.Mollified)
	c.Recorded += int(s.Mollified)
	if s.Mollified > 0 && !s.Given {
		e.Recorded.tripped(at, at.Add(s.line.Limits.Hold), int(s.Mollified))
	}
	mollified := 0
	for range n {
		until := rate.Add(now)
		d := gate.Decide(gate.Input{Enrolled: s.line.Enrolled, Shadow: !s.line.Enrolled, Tripped: until > 0, Why: gate.ReasonRate})
		if d.Outcome != gate.Pass && !s.Given {
			mollified++
			e.Replayed.tripped(at, time.UnixMicro(until).UTC(), 1)
		}
	}
	if s.Given {
		e.Given += n
		mollified = int(s.Mollified)
	}
	e.Replayed.Mollified += mollified
	c.Mollified += mollified
}

// tripped notes that it was tripped at an instant, and stays so until another.
func (f *Fate) tripped(at, until time.Time, mollified int) {
	if n := len(f.Trips); n > 0 && !f.Trips[n-1].Ended.Before(at) {
		t := &f.Trips[n-1]
		t.Mollified += mollified
		if until.After(t.Ended) {
			t.Ended = until
		}
		return
	}
	f.Trips = append(f.Trips, Trip{Began: at, Ended: until, Mollified: mollified})
}
