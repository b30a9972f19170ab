package soak

import (
	"slices"
	"time"
)

// Kind is a kind of thing that is measured.
type Kind struct {
	Unit    string
	Allowed float64 // growth that means nothing, in the unit
	// Shown: it grows by its nature, as a table does in which runs are kept. It is
	// reported, and not judged.
	Shown bool
}

// Sample is one measurement.
type Sample struct {
	At    time.Duration // since the soak began
	Value float64
}

// Series is one thing, measured again and again.
type Series struct {
	Name    string
	Kind    Kind
	Samples []Sample
}

// Judgement is what became of a series.
type Judgement string

// The judgements.
const (
	Flat     Judgement = "flat"
	Growing  Judgement = "GROWING"
	TooShort Judgement = "too short to say"
	Shown    Judgement = "not judged"
)

// Verdict is the judgement of a series, and what it was made from.
type Verdict struct {
	Judgement
	First, Median, Last float64 // of the part that is judged
	Growth              float64 // in the part that is judged
	PerHour             float64 // the slope
}

// leastSamples is how many samples must be left to be judged.
const leastSamples = 12

// Judge applies the rule.
func (s *Series) Judge() Verdict {
	if len(s.Samples) == 0 {
		return Verdict{Judgement: TooShort}
	}
	end := s.Samples[len(s.Samples)-1].At
	rest := s.Samples
	for len(rest) > 1 && rest[0].At < end/3 {
		rest = rest[1:]
	}
	values := make([]float64, len(rest))
	for i := range rest {
		values[i] = rest[i].Value
	}
	v := Verdict{First: values[0], Last: values[len(values)-1], Median: median(values)}
	slope := slopeOf(rest)
	quarter := (len(values) + 3) / 4
	v.Growth = max(slope*(end-rest[0].At).Seconds(), median(values[len(values)-quarter:])-median(values[:quarter]))
	v.PerHour = slope * 3600
	switch {
	case s.Kind.Shown:
		v.Judgement = Shown
	case len(rest) < leastSamples:
		v.Judgement = TooShort
	case v.Growth > max(v.Median/10, s.Kind.Allowed):
		v.Judgement = Growing
	default:
		v.Judgement = Flat
	}
	return v
}

// slopesMost is how many samples are compared with each other; of more, an even choice.
const slopesMost = 400

// slopeOf is the median slope between two samples, a second; 0 of fewer than two.
func slopeOf(samples []Sample) float64 {
	if step := len(samples)/slopesMost + 1; step > 1 {
		var some []Sample
		for i := 0; i < len(samples); i += step {
			some = append(some, samples[i])
		}
		samples = some
	}
	var slopes []float64
	for i := range samples {
		for j := range i {
			if d := (samples[i].At - samples[j].At).Seconds(); d > 0 {
				slopes = append(slopes, (samples[i].Value-samples[j].Value)/d)
			}
		}
	}
	return median(slopes)
}

// median of values, which it sorts; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
