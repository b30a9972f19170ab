package override

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/e0ff5a15/mollifier/run"
)

// Kind is what an override is about.
type Kind string

// The kinds. Of the drain there is one thing to say: that it is paused.
const (
	KindGate  Kind = "gate"
	KindDrain Kind = "drain"
)

// Gate replaces settings of an environment's gate where they are not zero.
type Gate struct {
	Window    time.Duration // whole microseconds
	Threshold int
	Hold      time.Duration // whole microseconds
	Force     string        // "pass", "mollify", or "" for neither
}

// Override is one thing that is in force, for one environment.
type Override struct {
	Environment string // its id; "" is all environments, with KindDrain only
	Kind        Kind
	Gate        Gate // with KindGate

	// For is how long it holds from when it is put in force, 1 s to 30 d; zero is until
	// it is cleared. Of one that was read, how much longer it held then.
	For time.Duration
	// Ends is when that is, by the clock of who has read it; zero is never.
	Ends  time.Time
	SetAt time.Time // by Postgres's clock
	By    Author    // who put it in force
}

// Author is who changes something, and why.
type Author struct {
	Name   string // required, at most 128 characters
	Reason string // at most 500 characters
}

// State is what is in force on a node. It is not to be changed.
type State struct {
	Version   int64
	Overrides []Override // by environment and kind
}

// Of returns an environment's override of a kind.
func (s *State) Of(environment string, k Kind) (Override, bool) {
	for i := range s.Overrides {
		if o := &s.Overrides[i]; o.Environment == environment && o.Kind == k {
			return *o, true
		}
	}
	return Override{}, false
}

const (
	maxOverrides = 10_000
	maxName      = 128
	maxReason    = 500
	shortest     = time.Second
	longest      = 30 * 24 * time.Hour
)

// check refuses what can not be stored. What the gate makes of it, the gate knows.
func (o *Override) check() error {
	wrong := func(field, rule string) error { return &run.InvalidError{Field: field, Rule: rule} }
	switch {
	case o.Kind != KindGate && o.Kind != KindDrain:
		return wrong("kind", "must be gate or drain")
	case len(o.Environment) > maxName || !printable(o.Environment):
		return wrong("environment", fmt.Sprintf("at most %d characters, none of them a control character", maxName))
	case o.Kind == KindGate && o.Environment == "":
		return wrong("environment", "must not be empty")
	case o.Kind == KindGate && o.Gate == Gate{}:
		return wrong("override", "must set window, threshold, hold or force")
	case o.Kind == KindDrain && o.Gate != Gate{}:
		return wrong("override", "has settings of the gate")
	case o.Gate.Window < 0:
		return wrong("window", "must not be negative")
	case o.Gate.Hold < 0:
		return wrong("hold", "must not be negative")
	case o.Gate.Threshold < 0 || o.Gate.Threshold > 1_000_000:
		return wrong("threshold", "must be 1 to 1000000, or 0 for as configured")
	case o.Gate.Force != "" && o.Gate.Force != "pass" && o.Gate.Force != "mollify":
		return wrong("force", "one of none, pass, mollify")
	case o.For != 0 && (o.For < shortest || o.For > longest):
		return wrong("for", "must be 1s to 720h")
	}
	return o.By.check()
}

func (a Author) check() error {
	switch {
	case a.Name == "" || utf8.RuneCountInString(a.Name) > maxName || !printable(a.Name):
		return &run.InvalidError{Field: "author", Rule: fmt.Sprintf("1 to %d characters, none of them a control character", maxName)}
	case utf8.RuneCountInString(a.Reason) > maxReason || !printable(a.Reason):
		return &run.InvalidError{Field: "reason", Rule: fmt.Sprintf("at most %d characters, none of them a control character", maxReason)}
	}
	return nil
}

func printable(s string) bool {
	for _, c := range s {
		if c == utf8.RuneError || unicode.IsControl(c) {
			return false
		}
	}
	return true
}
