package drain

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Stored is how much one environment has in one partition of the buffer, leased
// or not; what is materialised does not count.
type Stored struct {
	Partition                 int
	Organisation, Environment string
	Entries, Bytes            int64
	Oldest                    run.ID // by the time it was minted
}

// Level is how much is in the buffer. It is what the deployment has, as every
// node sees it: levels of several nodes must not be added up.
type Level struct {
	Entries, Bytes int64
	Oldest         time.Duration // the dwell of the oldest entry; 0 if there is none
}

// Levels is what the last sweeps found.
type Levels struct {
	Total         Level
	Organisations map[string]Level // those that have something in the buffer
	// Stale is how many entries the last sweep has reported for dwelling too
	// long, at most Config.StaleLimit.
	Stale int
	// Age is how long ago the partition was looked at that was not for the
	// longest time; negative if some have not been looked at yet. While Redis
	// does not answer, it and the dwells grow and the rest stays as it was.
	Age time.Duration
}

// levels keeps what was found in each partition, as a whole, so that what is
// gone from a partition is gone from the levels.
type levels struct {
	mu         sync.Mutex
	partitions map[int]seen
	stale      int
}

type seen struct {
	at   time.Time
	envs []Stored
}

func (l *levels) put(partitions []int, found []Stored, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.partitions == nil {
		l.partitions = make(map[int]seen)
	}
	for _, p := range partitions {
		l.partitions[p] = seen{at: at}
	}
	for _, s := range found {
		if part, asked := l.partitions[s.Partition]; asked && s.Entries > 0 {
			part.envs = append(part.envs, s)
			l.partitions[s.Partition] = part
		}
	}
}

// Levels returns what is in the buffer, as far as this node has seen. It asks no
// store.
func (d *Drainer) Levels() Levels {
	now := d.cfg.Now()
	d.level.mu.Lock()
	defer d.level.mu.Unlock()
	out := Levels{Organisations: make(map[string]Level), Stale: d.level.stale}
	if len(d.level.partitions) < d.cfg.Partitions {
		out.Age = -1
	}
	for _, part := range d.level.partitions {
		if out.Age >= 0 {
			out.Age = max(out.Age, now.Sub(part.at))
		}
		for _, s := range part.envs {
			dwell := dwellOf(s.Oldest, now)
			out.Total = out.Total.with(s, dwell)
			out.Organisations[s.Organisation] = out.Organisations[s.Organisation].with(s, dwell)
		}
	}
	return out
}

func (l Level) with(s Stored, dwell time.Duration) Level {
	return Level{l.Entries + s.Entries, l.Bytes + s.Bytes, max(l.Oldest, dwell)}
}

func dwellOf(id run.ID, now time.Time) time.Duration {
	at, ok := id.Time()
	if !ok {
		return 0
	}
	return max(0, now.Sub(at))
}

// sweepParts is how many partitions are asked for at once.
const sweepParts = 16

// sweep looks at what is in the buffer, and reports what dwells too long.
func (d *Drainer) sweep(ctx context.Context) {
	for cursor := 0; ; {
		cursor = d.sweepOnce(ctx, cursor)
		d.words.renew()
		d.sleep(ctx, jitter(d.cfg.SweepEvery), nil)
		if ctx.Err() != nil {
			return
		}
	}
}

// sweepOnce is one pass: each partition once, or fewer if that takes longer than
// half the time between passes. It returns where the next one begins. An error
// leaves what was known of the partitions that it concerns.
func (d *Drainer) sweepOnce(ctx context.Context, cursor int) int {
	began := time.Now()
	for left := d.cfg.Partitions; left > 0 && time.Since(began) < d.cfg.SweepEvery/2; {
		asked := make([]int, 0, sweepParts)
		for len(asked) < min(left, sweepParts) {
			asked = append(asked, cursor)
			cursor = (cursor + 1) % d.cfg.Partitions
		}
		left -= len(asked)
		found, err := d.buffer.Stored(ctx, asked)
		if ctx.Err() != nil {
			return cursor
		}
		if err != nil {
			d.sleep(ctx, d.redisFailed("sweep", err), nil)
			continue
		}
		d.level.put(asked, found, d.cfg.Now())
	}
	d.report(ctx)
	return cursor
}

// report logs the entries that dwell too long: the oldest, each once.
func (d *Drainer) report(ctx context.Context) {
	now := d.cfg.Now()
	var late []Stored
	d.level.mu.Lock()
	for _, part := range d.level.partitions {
		for _, s := range part.envs {
			if dwellOf(s.Oldest, now) > d.cfg.StaleAfter {
				late = append(late, s)
			}
		}
	}
	d.level.mu.Unlock()
	slices.SortFunc(late, func(a, b Stored) int { return cmp.Compare(a.Oldest.String(), b.Oldest.String()) })

	reported := 0
	asked := make(map[string]bool)
	for _, s := range late {
		if asked[s.Environment] || reported >= d.cfg.StaleLimit {
			continue
		}
		asked[s.Environment] = true
		ids, err := d.buffer.List(ctx, s.Environment, d.cfg.StaleLimit-reported)
		if err != nil {
			if ctx.Err() == nil {
				d.redisFailed("list what is stale", err)
			}
			ids = []run.ID{s.Oldest} // that much is known
		}
		for _, id := range ids {
			dwell := dwellOf(id, now)
			if dwell <= d.cfg.StaleAfter {
				break
			}
			reported++
			d.log.Warn("a buffered run waits too long", slog.String("run", id.String()), slog.String("environment", s.Environment),
				slog.String("organisation", s.Organisation), slog.Duration("dwell", dwell))
		}
	}
	d.count.stale.Add(int64(reported))
	d.level.mu.Lock()
	d.level.stale = reported
	d.level.mu.Unlock()
}
