package buffer

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

const (
	// oldestLooks is how many of the first ids of an environment in a partition are
	// looked at.
	oldestLooks = 100
	// nodesDisagree is how far apart the clocks of nodes may be, which make the ids.
	nodesDisagree = 10 * time.Minute
)

// Floor is before what the buffer holds nothing.
type Floor struct {
	// At lies before every acceptance that is not materialised, by ten minutes at
	// least; 0 if the buffer is empty. The entries are looked at in the order of their
	// ids, so it is that exact only as long as the nodes' clocks agree within those ten minutes.
	At   run.Instant
	Now  run.Instant // Redis's TIME, of the partition that is behind
	Dead int         // entries that can not be read: nothing is known of them
}

// Floor looks at all partitions, the oldest ids of each. An error of one of them is the
// error of the call.
func (s *Store) Floor(ctx context.Context) (f Floor, err error) {
	partitions := make([]int, s.db.Partitions())
	for p := range partitions {
		partitions[p] = p
	}
	found, err := s.Heads(ctx, partitions)
	if err != nil {
		return Floor{}, err
	}
	lower := func(at run.Instant) {
		if at > 0 && (f.At == 0 || at < f.At) {
			f.At = at
		}
	}
	for i := range found {
		p := &found[i]
		f.Dead += p.Dead
		if f.Now == 0 || p.Now < f.Now {
			f.Now = p.Now
		}
		if p.Usage.Entries == 0 && len(p.Heads) == 0 {
			continue
		}
		for _, h := range p.Heads {
			lower(h.AcceptedAt)
		}
		entries, err := s.Sweep(ctx, p.Partition, 0, oldestLooks)
		if err != nil {
			return Floor{}, err
		}
		for _, e := range entries {
			lower(e.AcceptedAt)
			if minted, ok := e.ID.Time(); ok {
				lower(run.InstantOf(minted))
			}
		}
	}
	if f.At > 0 {
		f.At = max(1, f.At.Add(-nodesDisagree))
	}
	return f, nil
}
