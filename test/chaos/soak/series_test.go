package soak

import (
	"math"
	"testing"
	"time"
)

// made is a series of a sample each ten seconds.
func made(kind Kind, n int, value func(i int) float64) *Series {
	s := &Series{Kind: kind}
	for i := range n {
		s.Samples = append(s.Samples, Sample{time.Duration(i) * 10 * time.Second, value(i)})
	}
	return s
}

func TestTheRule(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	memory := Kind{Unit: "B", Allowed: 8 * mib}
	for name, c := range map[string]struct {
		series *Series
		want   Judgement
	}{
		"level":                     {made(memory, 180, func(int) float64 { return 100 * mib }), Flat},
		"saw-tooth":                 {made(memory, 180, func(i int) float64 { return float64(100+i%17) * mib }), Flat},
		"fills up, then level":      {made(memory, 180, func(i int) float64 { return float64(min(i, 55)) * 2 * mib }), Flat},
		"falls":                     {made(memory, 180, func(i int) float64 { return float64(500-i) * mib }), Flat},
		"a leak":                    {made(memory, 180, func(i int) float64 { return (100 + float64(i)/4) * mib }), Growing},
		"a leak under a saw-tooth":  {made(memory, 180, func(i int) float64 { return (100 + float64(i)/4 + float64(i%17)) * mib }), Growing},
		"a leak of what is allowed": {made(memory, 180, func(i int) float64 { return (20 + float64(i)/30) * mib }), Flat},
		"a spike at the end":        {made(memory, 180, func(i int) float64 { return float64(100+i/175*900) * mib }), Flat},
		"a step in the last third":  {made(memory, 180, func(i int) float64 { return float64(100+i/130*100) * mib }), Growing},
		"few":                       {made(memory, 14, func(i int) float64 { return float64(i) * 100 * mib }), TooShort},
		"none":                      {made(memory, 0, nil), TooShort},
		"grows by its nature":       {made(Kind{Shown: true}, 180, func(i int) float64 { return float64(i) }), Shown},
		"very many":                 {made(memory, 9000, func(i int) float64 { return (100 + float64(i)/100) * mib }), Growing},
	} {
		if got := c.series.Judge(); got.Judgement != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

func TestWhatIsSaidOfASeries(t *testing.T) {
	t.Parallel()
	v := made(Kind{}, 91, func(i int) float64 { return 1000 + float64(i) }).Judge() // 900 s, one each ten seconds
	if v.First != 1030 || v.Last != 1090 || v.Median != 1060 || math.Abs(v.Growth-60) > 1e-6 || math.Abs(v.PerHour-360) > 1e-6 {
		t.Errorf("%+v", v)
	}
}
