package actors

import "testing"

// However many environments want all places, each gets as much as the others, one more
// that comes gets in at once, and next to nothing is left unused.
func TestSharesAddUp(t *testing.T) {
	t.Parallel()
	const most = 10_000
	for greedy := 1; greedy <= 200; greedy++ {
		own, total := make([]int64, greedy), int64(0)
		for grew := true; grew; {
			grew = false
			for i := range own {
				if total+1 <= most && within(own[i]+1, 1, total+1, most) {
					own[i]++
					total++
					grew = true
				}
			}
		}
		fair := int64(most * shareOfRest / (1 + shareOfRest*greedy))
		for i, n := range own {
			if n < fair-1 || n > fair+2 {
				t.Fatalf("%d environments: the %dth has %d, want %d", greedy, i, n, fair)
			}
		}
		if total == most || !within(1, 1, total+1, most) {
			t.Fatalf("%d environments have %d and leave nothing", greedy, total)
		}
		if total < most*3/4 {
			t.Errorf("%d environments have only %d", greedy, total)
		}
	}
	// A bound of a few is not made smaller, and what is as large as the bound fits alone.
	for most := int64(1); most < shareOfRest; most++ {
		if !within(most, 1, most, most) {
			t.Errorf("of %d not all can be had", most)
		}
	}
	if !within(100, 100, 100, 100) {
		t.Error("one as large as the bound is refused")
	}
}
