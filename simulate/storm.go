package simulate

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Storm describes triggers: a steady stream, and a burst on top of it at its begin.
// Both come about evenly, each trigger somewhere in its own share of the time.
type Storm struct {
	Rate      float64       // triggers a second of the stream, 0 to 10,000,000
	Duration  time.Duration // of the stream, 0 to 30 d
	Burst     int           // triggers of the burst, 0 to 100,000,000
	BurstOver time.Duration // in which they come, 0 to 30 d

	Environments int     // 1 to 100,000
	Hot          float64 // share of triggers of the first environment, 0 to 1; 0 is as many as any
	Keys         int     // keys of an environment, one of which a trigger has; 0 is a key of its own
	Payload      int     // bytes of each trigger's payload, 0 to 3 MiB
	Seed         uint64  // of what is left to chance
}

const (
	longestStorm = 30 * 24 * time.Hour
	mostTriggers = 100_000_000
)

// Validate reports the first field that describes no storm, by name.
func (s Storm) Validate() error {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"Rate", s.Rate >= 0 && s.Rate <= 10_000_000, "must be 0 to 10000000"},
		{"Duration", s.Duration >= 0 && s.Duration <= longestStorm, "must be 0 to 720h"},
		{"Burst", s.Burst >= 0 && s.Burst <= mostTriggers, "must be 0 to 100000000"},
		{"BurstOver", s.BurstOver >= 0 && s.BurstOver <= longestStorm, "must be 0 to 720h"},
		{"Rate", s.Rate*s.Duration.Seconds() <= mostTriggers, "makes more than 100000000 triggers within Duration"},
		{"Environments", s.Environments >= 1 && s.Environments <= 100_000, "must be 1 to 100000"},
		{"Hot", s.Hot >= 0 && s.Hot <= 1, "must be 0 to 1"},
		{"Keys", s.Keys >= 0, "must be at least 0"},
		{"Payload", s.Payload >= 0 && s.Payload <= run.MaxPayload, fmt.Sprintf("must be 0 to %d", run.MaxPayload)},
	} {
		if !rule.ok {
			return fmt.Errorf("simulate: Storm.%s %s", rule.field, rule.limit)
		}
	}
	return nil
}

// Triggers are the triggers of a valid storm, the same each time.
func (s Storm) Triggers() iter.Seq2[Trigger, error] {
	return func(yield func(Trigger, error) bool) {
		chance := rand.New(rand.NewPCG(s.Seed, 0))
		names := make([]string, s.Environments)
		for i := range names {
			names[i] = "env-" + strconv.Itoa(i+1)
		}
		stream := spread{n: int(s.Rate * s.Duration.Seconds()), over: s.Duration, chance: chance}
		burst := spread{n: s.Burst, over: s.BurstOver, chance: chance}
		stream.step()
		burst.step()
		for own := uint64(1); !stream.done() || !burst.done(); own++ {
			first := &stream
			if stream.done() || !burst.done() && burst.at < stream.at {
				first = &burst
			}
			t := Trigger{At: first.at, Environment: names[s.environment(chance)], Key: own, Payload: s.Payload}
			if s.Keys > 0 {
				t.Key = 1 + chance.Uint64N(uint64(s.Keys))
			}
			first.step()
			if !yield(t, nil) {
				return
			}
		}
	}
}

func (s Storm) environment(chance *rand.Rand) int {
	switch {
	case s.Environments == 1 || s.Hot > 0 && chance.Float64() < s.Hot:
		return 0
	case s.Hot > 0:
		return 1 + chance.IntN(s.Environments-1)
	}
	return chance.IntN(s.Environments)
}

// spread is n moments, each by chance within its n-th part of a time.
type spread struct {
	n, i   int // i have been stepped to
	over   time.Duration
	at     time.Duration
	chance *rand.Rand
}

func (s *spread) step() {
	s.at = time.Duration((float64(s.i) + s.chance.Float64()) / float64(max(s.n, 1)) * float64(s.over))
	s.i++
}

func (s *spread) done() bool { return s.i > s.n }
