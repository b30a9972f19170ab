package live

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
)

// state is how things are now.
type state struct {
	Headline     headline      `json:"headline"`
	Environments []environment `json:"environments"`
	Trips        int           `json:"trips"` // environments that are tripped: more than are listed, perhaps
	Overrides    []overridden  `json:"overrides"`
	Overridden   int           `json:"overridden"` // how many there are
	Pressure     string        `json:"pressure,omitempty"`
	Decisions    []decision    `json:"decisions"`
	Buffer       buffer        `json:"buffer"`
	Drain        drains        `json:"drain"`
	Postgres     postgres      `json:"postgres"`
	Redis        bool          `json:"redis"` // answers
	Counts       counts        `json:"counts"`
}

// headline is the whole in one sentence. It has no figures, so that it changes when
// something does.
type headline struct {
	Level string `json:"level"` // calm, storm or trouble
	Text  string `json:"text"`
}

// environment is one that its rate has tripped.
type environment struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Count     int    `json:"count"` // triggers in the window, of the fleet
	Threshold int    `json:"threshold"`
	WindowMS  int64  `json:"windowMs"`
	HoldMS    int64  `json:"holdMs"`
	ForMS     int64  `json:"forMs"` // tripped without a pause, as far as was seen
	Outcome   string `json:"outcome"`
	began     time.Time
}

// called is what the page calls an environment.
func (e *environment) called() string { return cmp.Or(e.Name, e.ID) }

// overridden is what an operator has put in force.
type overridden struct {
	Environment string `json:"environment,omitempty"` // absent: all
	Name        string `json:"name,omitempty"`
	Kind        string `json:"kind"` // gate or drain
	What        string `json:"what"`
	Ends        int64  `json:"ends,omitempty"` // ms since 1970; absent: until it is cleared
	By          string `json:"by"`
	Reason      string `json:"reason,omitempty"`
}

type decision struct {
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason"`
	Enrolled bool   `json:"enrolled"`
	Count    uint64 `json:"count"`
}

type buffer struct {
	Entries       int64          `json:"entries"`
	Bytes         int64          `json:"bytes"`
	OldestMS      int64          `json:"oldestMs"`
	Stale         int            `json:"stale"`
	Dead          int            `json:"dead"`
	AgeMS         int64          `json:"ageMs"` // of what is told here; negative: not known on this node
	Organisations []organisation `json:"organisations"`
	More          int            `json:"more"` // organisations that are not listed
}

type organisation struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Entries  int64  `json:"entries"`
	Bytes    int64  `json:"bytes"`
	OldestMS int64  `json:"oldestMs"`
}

type drains struct {
	Drains bool    `json:"drains"` // this node moves runs into Postgres
	Paused bool    `json:"paused"`
	Rate   float64 `json:"rate"` // runs a second, of late
}

type postgres struct {
	Available   bool    `json:"available"`
	Calls       int     `json:"calls"`
	Failed      int     `json:"failed"`
	LatencyMS   float64 `json:"latencyMs"`
	SlowestMS   float64 `json:"slowestMs"`
	PoolMS      float64 `json:"poolMs"`
	WatermarkMS float64 `json:"watermarkMs"`
}

// counts are since the node's start.
type counts struct {
	Triggers     uint64    `json:"triggers"`
	Passed       uint64    `json:"passed"`
	Mollified    uint64    `json:"mollified"`
	Refused      uint64    `json:"refused"`
	Refusals     []refusal `json:"refusals"`
	Diverted     uint64    `json:"diverted"`
	FailOpen     uint64    `json:"failOpen"`
	StoreCalls   uint64    `json:"storeCalls"`
	Waiting      int64     `json:"waiting"`
	Materialised int64     `json:"materialised"`
	Aliased      int64     `json:"aliased"`
	Failed       int64     `json:"failed"`
	Reaped       int64     `json:"reaped"`
	Trips        uint64    `json:"trips"`
}

// refusal is how many triggers were refused for a reason.
type refusal struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

func (r *Recorder) state(m reading) state {
	s := state{
		Environments: []environment{}, Trips: m.trips, Pressure: m.pressure, Decisions: []decision{},
		Buffer: r.buffer(m.levels),
		Drain:  drains{m.drains, m.paused, round(m.rate)},
		Postgres: postgres{
			Available: m.postgres, Calls: m.load.Calls, Failed: m.load.Failed,
			LatencyMS: millis(m.load.Latency), SlowestMS: millis(m.load.Slowest), PoolMS: millis(m.load.PoolWait),
			WatermarkMS: millis(m.load.Watermark),
		},
		Redis: m.redis,
		Counts: counts{
			Triggers: m.stats.Triggers, Passed: m.stats.Settles, Mollified: m.stats.Mollified, Refusals: []refusal{},
			Diverted: m.stats.Diverted, FailOpen: m.stats.FailOpen, Waiting: m.stats.Waiting,
			StoreCalls:   m.stats.RedisCalls + m.stats.SettleCalls + m.stats.CheckCalls + m.stats.LookCalls + m.stats.AcceptCalls,
			Materialised: m.drained.Materialised, Aliased: m.drained.Aliased, Failed: m.drained.Failed, Reaped: m.drained.Reaped,
			Trips: m.gate.Trips,
		},
	}
	for _, t := range m.tripped {
		s.Environments = append(s.Environments, r.environment(t))
	}
	for _, d := range m.gate.Decided {
		s.Decisions = append(s.Decisions, decision{d.Outcome.String(), d.Reason.String(), d.Enrolled, d.Count})
	}
	for _, refused := range m.refused {
		s.Counts.Refusals = append(s.Counts.Refusals, refusal(refused))
		if new(refusals).of(refused.Reason) != nil {
			s.Counts.Refused += refused.Count
		}
	}
	s.Overridden = len(m.override.Overrides)
	s.Overrides = make([]overridden, 0, min(s.Overridden, listed))
	for _, o := range m.override.Overrides[:min(s.Overridden, listed)] {
		s.Overrides = append(s.Overrides, r.overridden(o))
	}
	s.Headline = s.headline()
	return s
}

func (r *Recorder) overridden(o override.Override) overridden {
	out := overridden{Environment: o.Environment, Kind: string(o.Kind), By: o.By.Name, Reason: o.By.Reason, What: "not drained"}
	out.Name, _ = r.Environment(o.Environment)
	if !o.Ends.IsZero() {
		out.Ends = o.Ends.UnixMilli()
	}
	if o.Kind == override.KindGate {
		out.What = said(o.Gate)
	}
	return out
}

// said is an override of the gate in words.
func said(g override.Gate) string {
	var parts []string
	if g.Force != "" {
		parts = append(parts, "forced to "+g.Force)
	}
	if g.Threshold != 0 {
		parts = append(parts, fmt.Sprintf("threshold %d", g.Threshold))
	}
	if g.Window != 0 {
		parts = append(parts, "window "+g.Window.String())
	}
	if g.Hold != 0 {
		parts = append(parts, "hold "+g.Hold.String())
	}
	return strings.Join(parts, ", ")
}

func (r *Recorder) environment(t gate.Tripped) environment {
	name, enrolled := r.Environment(t.Environment)
	e := environment{
		ID: t.Environment, Name: name, Count: t.Count, Threshold: t.Threshold,
		WindowMS: t.Window.Milliseconds(), HoldMS: t.Hold.Milliseconds(), Outcome: gate.Mollify.String(),
	}
	switch {
	case !enrolled: // it is counted for shadow mode only
		e.Outcome = gate.Shadow.String()
	case t.Force == gate.ForcePass:
		e.Outcome = gate.Pass.String()
	}
	return e
}

// storms reports what the environment's rate has done to it.
func (e *environment) storms() string {
	switch e.Outcome {
	case gate.Shadow.String():
		return "storms; it would be mollified if its organisation were enrolled"
	case gate.Pass.String():
		return "storms, but is forced to pass"
	}
	return "storms and is mollified"
}

// buffer lists the organisations with the most entries first.
func (r *Recorder) buffer(l drain.Levels) buffer {
	b := buffer{
		Entries: l.Total.Entries, Bytes: l.Total.Bytes, OldestMS: l.Total.Oldest.Milliseconds(),
		Stale: l.Stale, Dead: l.Dead, AgeMS: l.Age.Milliseconds(), Organisations: []organisation{},
	}
	if l.Age < 0 {
		b.AgeMS = -1
	}
	for id, level := range l.Organisations {
		b.Organisations = append(b.Organisations, organisation{
			ID: id, Entries: level.Entries, Bytes: level.Bytes, OldestMS: level.Oldest.Milliseconds(),
		})
	}
	slices.SortFunc(b.Organisations, func(x, y organisation) int {
		return cmp.Or(cmp.Compare(y.Entries, x.Entries), cmp.Compare(x.ID, y.ID))
	})
	if b.More = max(0, len(b.Organisations)-listed); b.More > 0 {
		b.Organisations = b.Organisations[:listed]
	}
	for i := range b.Organisations {
		b.Organisations[i].Name = r.Organisation(b.Organisations[i].ID)
	}
	return b
}

// since carries over when each environment was tripped.
func (s *state) since(before state, now time.Time) {
	for i := range s.Environments {
		e := &s.Environments[i]
		e.began = now
		for _, was := range before.Environments {
			if was.ID == e.ID && !was.began.IsZero() {
				e.began = was.began
			}
		}
		e.ForMS = now.Sub(e.began).Milliseconds()
	}
}

const (
	calm    = "calm"
	storm   = "storm"
	trouble = "trouble"
)

// headline says the worst thing that is true.
func (s *state) headline() headline {
	switch {
	case !s.Redis && !s.Postgres.Available:
		return headline{trouble, "Neither Redis nor Postgres answers: triggers are refused with 503."}
	case !s.Postgres.Available:
		return headline{trouble, "Postgres does not answer: triggers are diverted into the buffer, and the drain waits."}
	case !s.Redis:
		return headline{trouble, "Redis does not answer: Postgres decides alone, and answers are provisional."}
	case s.Pressure != "":
		return headline{trouble, "Postgres is in trouble (" + s.Pressure + "): every environment is mollified."}
	case s.Trips == 1 && len(s.Environments) == 1:
		return headline{storm, s.Environments[0].called() + " " + s.Environments[0].storms() + "."}
	case s.Trips > 0 && len(s.Environments) > 0:
		return headline{storm, fmt.Sprintf("%d environments storm. The most: %s %s.", s.Trips, s.Environments[0].called(), s.Environments[0].storms())}
	case s.Buffer.Entries > 0:
		return headline{storm, "No environment is mollified. What the storm has left in the buffer is drained."}
	}
	return headline{calm, "Calm: no environment is mollified, and the buffer is empty."}
}
