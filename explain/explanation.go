package explain

import (
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
)

// Explanation is why a run, or a key, is what it is, as one node can tell.
type Explanation struct {
	Summary string `json:"summary"` // one sentence, for people
	Node    string `json:"node"`    // whose memory this is
	Run     *Run   `json:"run,omitzero"`
	Key     *Key   `json:"key,omitzero"`
	// States are what the run has been, the earliest first.
	States []State `json:"states"`
	// Decisions are those that this node remembers, the earliest first.
	Decisions []Decision `json:"decisions"`
	// Trips are the times in which the run's environment was mollified, as this node
	// saw them: those around its acceptance, or without a run the last ones.
	Trips []Trip `json:"trips"`
	// Unknown says what is not known any more, or is not this node's to know.
	Unknown []string `json:"unknown"`
}

// Run is what the stores have of a run. It has no payload.
type Run struct {
	ID           string `json:"id"`
	Canonical    string `json:"canonical"` // the run that executes, if this is another name of it
	Environment  string `json:"environment"`
	Organisation string `json:"organisation"`
	Task         string `json:"task"`
	Status       string `json:"status"`
	Where        string `json:"where"` // buffer or postgres
	Attempts     int    `json:"attempts,omitzero"`
}

// Key is a key and who holds it.
type Key struct {
	Kind   string    `json:"kind"` // idempotency, request or batch-item
	Text   string    `json:"key,omitzero"`
	Holder string    `json:"holder,omitzero"`
	Until  time.Time `json:"until,omitzero"` // when the interval of the run's key ends
}

// State is one thing that a run has been.
type State struct {
	State string    `json:"state"`
	At    time.Time `json:"at,omitzero"`
	Text  string    `json:"text,omitzero"`
}

// Decision is one that a node remembers.
type Decision struct {
	At      time.Time `json:"at"`
	Last    time.Time `json:"last,omitzero"` // of several callers
	What    What      `json:"what"`
	Reason  string    `json:"reason,omitzero"`
	Text    string    `json:"text"`
	Run     string    `json:"run,omitzero"` // the trigger's own, or the one that answered
	Callers int       `json:"callers,omitzero"`
	// Of a rate: the count that was over the threshold, and what was in force.
	Count     int    `json:"count,omitzero"`
	Threshold int    `json:"threshold,omitzero"`
	Window    string `json:"window,omitzero"`
	Hold      string `json:"hold,omitzero"` // left, then
}

// Trip is a time in which an environment was mollified.
type Trip struct {
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"`
	Reason    string    `json:"reason"`
	All       bool      `json:"all,omitzero"` // all environments: Postgres was in trouble
	Count     int64     `json:"count,omitzero"`
	Threshold int       `json:"threshold,omitzero"`
	Window    string    `json:"window,omitzero"`
	Text      string    `json:"text"`
}

// Of returns what is remembered of a run, or a key, and says since when everything is.
func (r *Ring) Of(id run.ID, hash run.Hash) (list []Decision, since time.Time) {
	events, since := r.find(id, hash)
	list = make([]Decision, 0, len(events))
	for i := range events {
		list = append(list, events[i].decision())
	}
	return list, since
}

func (e *event) decision() Decision {
	d := Decision{At: e.at.UTC(), What: e.what, Callers: e.callers, Text: e.text()}
	if !e.run.IsZero() {
		d.Run = e.run.String()
	}
	if e.last.After(e.at) {
		d.Last = e.last.UTC()
	}
	switch e.what {
	case Mollified, Passed, Shadowed:
		d.Reason = e.reason.String()
	case Refused:
		d.Reason = e.why
	}
	if e.limits.Threshold > 0 {
		d.Count, d.Threshold, d.Window, d.Hold = e.count, e.limits.Threshold, e.limits.Window.String(), e.hold.String()
	}
	return d
}

var reasonTexts = map[gate.Reason]string{
	gate.ReasonDebounce:        "it is debounced, which passes the gate",
	gate.ReasonOneTimeToken:    "it came with a token that may be used once, which passes the gate",
	gate.ReasonTriggerAndWait:  "its parent waits for it, which passes the gate",
	gate.ReasonUnfit:           "Redis may evict what is put into the buffer",
	gate.ReasonForced:          "the gate was overridden for the environment",
	gate.ReasonPressureErrors:  "Postgres failed calls, which mollifies all environments",
	gate.ReasonPressurePool:    "connections to Postgres were waited for, which mollifies all environments",
	gate.ReasonPressureLatency: "Postgres was slow, which mollifies all environments",
}

// Because says a gate's reason in words.
func (e *event) because() string {
	if e.reason != gate.ReasonRate {
		return reasonTexts[e.reason]
	}
	if e.count > e.limits.Threshold {
		return fmt.Sprintf("%d triggers of the environment in a window of %s, over the threshold of %d", e.count, e.limits.Window, e.limits.Threshold)
	}
	return fmt.Sprintf("the environment was held for %s more, since it had been over the threshold of %d triggers in %s",
		e.hold.Round(time.Millisecond), e.limits.Threshold, e.limits.Window)
}

var refusalTexts = map[string]string{
	"over-quota":    "the environment's share of the buffer was used up",
	"overloaded":    "too much was waiting on this node, or in the buffer",
	"claim-timeout": "another trigger of the key was under way for longer than the wait budget",
	"in-flight":     "another trigger of the key was in flight, and the caller had asked for a conflict then",
	"stopping":      "the node was stopping",
	"invalid":       "it was invalid",
	"unavailable":   "a store gave no answer",
}

func (e *event) text() string {
	switch e.what {
	case Mollified:
		return "mollified: " + e.because()
	case Passed:
		return "passed: " + e.because()
	case Shadowed:
		return "passed, but in shadow mode it would have been mollified: " + e.because()
	case ToBuffer:
		return "diverted into the buffer: Postgres could not take it"
	case ToPostgres:
		return "sent to Postgres: the buffer gave no answer, so the run may be in either"
	case Deduplicated:
		text := fmt.Sprintf("deduplicated: %d callers were answered with %s, which was there before", e.callers, e.run)
		if e.callers == 1 {
			text = fmt.Sprintf("deduplicated: a caller was answered with %s, which was there before", e.run)
		}
		if e.unsure {
			text += "; a store could not be asked, so the answer was provisional"
		}
		return text
	}
	text := refusalTexts[e.why]
	if text == "" {
		text = "of an error"
	}
	return fmt.Sprintf("refused, %d times: %s", e.callers, text)
}

// TripsOf says trips in words.
func TripsOf(trips []gate.Trip) []Trip {
	list := make([]Trip, 0, len(trips))
	for _, t := range trips {
		v := Trip{Began: t.Began.UTC(), Ended: t.Ended.UTC(), Reason: t.Reason.String(), All: t.Environment == ""}
		if v.All {
			v.Text = reasonTexts[t.Reason]
		} else {
			v.Count, v.Threshold, v.Window = t.Counted, t.Limits.Threshold, t.Limits.Window.String()
			v.Text = fmt.Sprintf("%d triggers in a window of %s, over the threshold of %d; each one over it holds the gate for %s",
				t.Counted, t.Limits.Window, t.Limits.Threshold, t.Limits.Hold)
		}
		list = append(list, v)
	}
	return list
}
