package actors

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	// shareSlots is how many counts there are of what environments have waiting. Two that
	// fall into one slot have one share.
	shareSlots = 1024
	// shareOfRest is how many times as much as is left an environment may have. Alone
	// it may take seven eighths; two that both want all, seven fifteenths each.
	shareOfRest = 7
)

// shares keep one environment from taking all places: it is refused as soon as it has
// more than some times of what is left. So there is always something left for who comes
// with little, however many storm, and nobody has to say how many environments there are
// (the dynamic threshold of shared buffers, by Choudhury and Hahne).
type shares struct {
	seed  maphash.Seed
	slots [shareSlots]share
}

// share is what the environments of one slot have.
type share struct{ callers, bytes atomic.Int64 }

func (s *shares) of(environment string) *share {
	return &s.slots[maphash.String(s.seed, environment)%shareSlots]
}

// within reports whether an environment that has own now, the newcomer of that size
// included, may have it where all together have total of most.
func within(own, size, total, most int64) bool { return own <= shareOfRest*(most-total+size) }
