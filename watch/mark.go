package watch

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/e0ff5a15/mollifier/run"
)

// Mark stands for one state of one run: two states of a run have different
// marks, and all nodes agree on them. It is never zero.
type Mark uint64

// MarkOf is the mark of the state that a run was read in, in outline or whole.
func MarkOf(r *run.Run) Mark {
	b := make([]byte, 0, 160)
	for _, text := range [...]string{r.ID.String(), r.Canonical.String(), string(r.Status)} {
		b = append(append(b, text...), 0) // no name holds a NUL
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.UpdatedAt.UnixMicro()))
	sum := sha256.Sum256(b)
	return max(1, Mark(binary.BigEndian.Uint64(sum[:])))
}

// Member is a run of a set and the state that it was last seen in. A mark of
// zero is no state: whoever compares it finds it new.
type Member struct {
	ID   run.ID
	Mark Mark
}

// class is which of the [MaxExact] sums a run is counted in.
func (m Member) class() int {
	sum := sha256.Sum256([]byte(m.ID.String()))
	return int(sum[0]) % MaxExact
}
