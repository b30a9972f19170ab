package gate

import (
	"testing"
)

// The rules once more, each by itself: a list of what excludes what, without
// an order of evaluation.
func naive(in Input) Decision {
	bypass := in.Debounce || in.OneTimeToken || in.TriggerAndWait
	asked := in.Enrolled || in.Shadow
	counts := !bypass && !in.Off && asked
	over := counts && !in.Unfit && (in.Force == ForceMollify || (in.Force == ForceNone && in.Tripped))

	want := Decision{Counts: counts}
	if over && in.Enrolled {
		want.Outcome = Mollify
	}
	if over && !in.Enrolled {
		want.Outcome = Shadow
	}
	why := map[Reason]bool{
		ReasonDebounce:       in.Debounce,
		ReasonOneTimeToken:   in.OneTimeToken && !in.Debounce,
		ReasonTriggerAndWait: in.TriggerAndWait && !in.OneTimeToken && !in.Debounce,
		ReasonOff:            in.Off && !bypass,
		ReasonNotEnrolled:    !asked && !in.Off && !bypass,
		ReasonUnfit:          counts && in.Unfit,
		ReasonForced:         counts && !in.Unfit && in.Force != ForceNone,
		ReasonBelowRate:      counts && !in.Unfit && in.Force == ForceNone && !in.Tripped,
	}
	if counts && !in.Unfit && in.Force == ForceNone && in.Tripped {
		why[in.Why] = true
	}
	for reason, holds := range why {
		if holds {
			want.Reason = reason
		}
	}
	return want
}

func TestTruthTable(t *testing.T) {
	t.Parallel()
	rows := 0
	for bits := range 1 << 8 {
		is := func(i int) bool { return bits>>i&1 == 1 }
		for force := ForceNone; force <= ForceMollify; force++ {
			for _, why := range []Reason{ReasonRate, ReasonPressureErrors, ReasonPressurePool, ReasonPressureLatency} {
				in := Input{
					Debounce: is(0), OneTimeToken: is(1), TriggerAndWait: is(2), Off: is(3),
					Enrolled: is(4), Shadow: is(5), Tripped: is(6), Unfit: is(7), Force: force, Why: why,
				}
				if got, want := Decide(in), naive(in); got != want {
					t.Errorf("%+v: %s %s %t, want %s %s %t", in,
						got.Outcome, got.Reason, got.Counts, want.Outcome, want.Reason, want.Counts)
				}
				rows++
			}
		}
	}
	if rows != 256*3*4 {
		t.Errorf("%d rows", rows)
	}
}

// Names become label values: all there, all different.
func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for r := range reasons {
		if r.String() == "" || seen[r.String()] {
			t.Errorf("reason %d is named %q", r, r)
		}
		seen[r.String()] = true
	}
	for o := range outcomes {
		if o.String() == "" || seen[o.String()] {
			t.Errorf("outcome %d is named %q", o, o)
		}
		seen[o.String()] = true
	}
}
