package gate

// Outcome is what becomes of a trigger.
type Outcome uint8

// The outcomes. Pass is the zero value: whatever goes wrong in the gate, the
// trigger passes.
const (
	Pass    Outcome = iota // to Postgres
	Mollify                // into the buffer
	Shadow                 // to Postgres, but an enrolled organisation's would be mollified
	outcomes
)

var outcomeNames = [outcomes]string{"pass", "mollify", "shadow"}

// String returns the outcome's name, fit to be a metric label.
func (o Outcome) String() string { return outcomeNames[o] }

// Reason is why: which step of the cascade matched.
type Reason uint8

// The reasons, a closed set.
const (
	ReasonDebounce        Reason = iota // bypass: the trigger is debounced
	ReasonOneTimeToken                  // bypass: it came with a token that may be used once
	ReasonTriggerAndWait                // bypass: a parent run waits for it
	ReasonOff                           // the switch is off
	ReasonNotEnrolled                   // the organisation is not enrolled, and there is no shadow mode
	ReasonUnfit                         // Redis may evict what is put into the buffer
	ReasonForced                        // the environment is overridden to pass, or to mollify
	ReasonBelowRate                     // nothing tripped
	ReasonRate                          // the environment's rate
	ReasonPressureErrors                // Postgres fails
	ReasonPressurePool                  // connections to Postgres are waited for
	ReasonPressureLatency               // Postgres is slow
	reasons
	noReason = reasons // not tripped
)

var reasonNames = [reasons]string{
	"debounce", "one_time_token", "trigger_and_wait", "switched_off", "not_enrolled", "unfit", "forced", "below_rate",
	"rate", "pressure_errors", "pressure_pool", "pressure_latency",
}

// String returns the reason's name, fit to be a metric label.
func (r Reason) String() string {
	if r >= reasons {
		return ""
	}
	return reasonNames[r]
}

// Force overrides the rate and the pressure of one environment.
type Force uint8

// The ways to force. Force comes after the bypasses, the switch and
// enrolment: it never mollifies what may not be mollified.
const (
	ForceNone Force = iota
	ForcePass
	ForceMollify
)

// Input is everything that a decision depends on.
type Input struct {
	Debounce       bool // the trigger asks for debouncing
	OneTimeToken   bool // the trigger was authorised by a token that may be used once
	TriggerAndWait bool // it has a parent run and that is to be resumed; a parent alone is no reason
	Off            bool // the master switch is off
	Enrolled       bool // the organisation is
	Shadow         bool // shadow mode is on
	Unfit          bool // the buffer can not be relied on
	Force          Force
	Tripped        bool
	Why            Reason // of Tripped
}

// Decision is what the gate says of one trigger.
type Decision struct {
	Outcome Outcome
	Reason  Reason
	// Counts says that the trigger came as far as the rate, and so belongs to
	// the environment's count, whatever the outcome.
	Counts bool
}

// Mollify reports whether the trigger goes into the buffer.
func (d Decision) Mollify() bool { return d.Outcome == Mollify }

// Decide is the cascade. The first match wins.
func Decide(in Input) Decision {
	switch {
	case in.Debounce:
		return Decision{Outcome: Pass, Reason: ReasonDebounce}
	case in.OneTimeToken:
		return Decision{Outcome: Pass, Reason: ReasonOneTimeToken}
	case in.TriggerAndWait:
		return Decision{Outcome: Pass, Reason: ReasonTriggerAndWait}
	case in.Off:
		return Decision{Outcome: Pass, Reason: ReasonOff}
	case !in.Enrolled && !in.Shadow:
		return Decision{Outcome: Pass, Reason: ReasonNotEnrolled}
	}
	if in.Unfit {
		return Decision{Outcome: Pass, Reason: ReasonUnfit, Counts: true}
	}
	over := Mollify
	if !in.Enrolled {
		over = Shadow
	}
	switch {
	case in.Force == ForcePass:
		return Decision{Outcome: Pass, Reason: ReasonForced, Counts: true}
	case in.Force == ForceMollify:
		return Decision{Outcome: over, Reason: ReasonForced, Counts: true}
	case in.Tripped:
		return Decision{Outcome: over, Reason: in.Why, Counts: true}
	}
	return Decision{Outcome: Pass, Reason: ReasonBelowRate, Counts: true}
}
