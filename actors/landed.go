package actors

import (
	"context"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
)

const (
	// tellEvery is how often the buffer is told of runs that may be in both stores.
	tellEvery = time.Second
	// tellFor is how long: an accept whose reply was lost may be executed late, by a
	// Redis that hung, for as long as the claim it was made under has its record.
	tellFor = 70 * time.Second
	// maxLanded bounds what a node remembers of them; the oldest go first.
	maxLanded = 100_000
)

// landings are the runs that this node settled after the reply to their accept
// was lost: the buffer may have them as well, and must not answer them as if
// nothing could have happened to them.
type landings struct {
	mu   sync.Mutex
	list []landing
	news chan struct{} // has room for one
}

type landing struct {
	ref  buffer.Ref
	till time.Time
}

func (l *landings) add(ref buffer.Ref, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == maxLanded {
		l.list = l.list[1:]
	}
	l.list = append(l.list, landing{ref, now.Add(tellFor)})
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *landings) pending() []landing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]landing(nil), l.list...)
}

// told forgets those of a batch whose time has passed and that the buffer has
// heard of. What was added since stands behind them.
func (l *landings) told(batch []landing, errs []error, now time.Time) {
	heard := make(map[buffer.Ref]bool, len(batch))
	for i, x := range batch {
		heard[x.ref] = errs[i] == nil && now.After(x.till)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.list[:0]
	for _, x := range l.list {
		if !heard[x.ref] {
			kept = append(kept, x)
		}
	}
	l.list = kept
}

// landedLoop tells the buffer until the shards have stopped. A node that dies
// before it could leaves at most runs whose key is answered, until they are
// drained, although they have ended.
func (s *Shards) landedLoop() {
	for {
		select {
		case <-s.landed.news:
		case <-s.stopped:
			return
		}
		for batch := s.landed.pending(); len(batch) > 0; batch = s.landed.pending() {
			s.tellLanded(batch)
			again := time.NewTimer(tellEvery)
			select {
			case <-again.C:
			case <-s.landed.news:
				again.Stop()
			case <-s.stopped:
				again.Stop()
				return
			}
		}
	}
}

func (s *Shards) tellLanded(batch []landing) {
	refs := make([]buffer.Ref, len(batch))
	for i := range batch {
		refs[i] = batch[i].ref
	}
	var errs []error
	if err := s.bounded(s.cfg.RedisDeadline, func(ctx context.Context) {
		errs = s.stores.Buffer.Landed(ctx, refs)
	}); err == nil {
		s.landed.told(batch, errs, time.Now())
	}
}
