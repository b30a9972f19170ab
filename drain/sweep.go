package drain

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// Level is how much is in the buffer, leased or not; what is materialised does
// not count. It is what the deployment has, as every node sees it: levels of
// several nodes must not be added up.
type Level struct {
	Entries, Bytes int64
	// Oldest is the dwell of the entry that was accepted first, 0 if there is
	// none. Of entries that are leased it counts those that dwell too long.
	Oldest time.Duration
}

// Levels is what was found when the drain, or a sweep, looked last. All is 0 when the buffer is empty.
type Levels struct {
	Total         Level
	Organisations map[string]Level // those that have something in the buffer
	Stale         int              // entries that dwell longer than Config.StaleAfter; see Config.StaleLimit
	Dead          int              // entries that were put aside because they can not be read
	// Age is how long ago that partition was looked at which was looked at
	// first; negative if some have not been yet. While Redis does not answer,
	// Age and the dwells grow and the rest stays as it was.
	Age time.Duration
}

// levels keeps what was found in each partition, as a whole, so that what is
// gone from a partition is gone from the levels.
type levels struct {
	mu         sync.Mutex
	partitions map[int]seen
}

type seen struct {
	at    time.Time
	found buffer.Partition
	stale []buffer.StaleRun
	swept time.Time // when stale was found
}

// Levels returns what is in the buffer, as far as this node has seen. It asks no
// store.
func (d *Drainer) Levels() Levels {
	now := time.Now()
	d.level.mu.Lock()
	defer d.level.mu.Unlock()
	out := Levels{Organisations: make(map[string]Level)}
	if len(d.level.partitions) < d.cfg.Partitions {
		out.Age = -1
	}
	add := func(organisation string, l Level) {
		out.Total = out.Total.and(l)
		out.Organisations[organisation] = out.Organisations[organisation].and(l)
	}
	for _, s := range d.level.partitions {
		since := now.Sub(s.at)
		if out.Age >= 0 {
			out.Age = max(out.Age, since)
		}
		out.Stale += len(s.stale)
		out.Dead += s.found.Dead
		for _, h := range s.found.Heads {
			l := Level{Entries: h.Usage.Entries, Bytes: h.Usage.Bytes}
			if h.AcceptedAt > 0 {
				l.Oldest = dwell(h.AcceptedAt, s.found.Now) + since
			}
			if l.Entries > 0 {
				add(h.Organisation, l)
			}
		}
		for _, r := range s.stale {
			add(r.Organisation, Level{Oldest: r.Dwell + now.Sub(s.swept)})
		}
	}
	return out
}

func (l Level) and(o Level) Level {
	return Level{l.Entries + o.Entries, l.Bytes + o.Bytes, max(l.Oldest, o.Oldest)}
}

// dwell is on Redis's clock.
func dwell(acceptedAt, now run.Instant) time.Duration {
	return max(0, time.Duration(now-acceptedAt)*time.Microsecond)
}

// sweep looks at what is in the buffer, and reports what dwells too long.
func (d *Drainer) sweep(ctx context.Context) {
	for cursor := 0; ; {
		cursor = d.sweepOnce(ctx, cursor)
		d.sleep(ctx, jitter(d.cfg.SweepEvery), nil)
		if ctx.Err() != nil {
			return
		}
	}
}

// sweepParts is how many partitions are asked for at once.
const sweepParts = 16

// sweepOnce is one pass: each partition once, or fewer if that takes longer than
// half the time between passes. It returns where the next one begins. An error
// leaves what was known of the partitions that it concerns.
func (d *Drainer) sweepOnce(ctx context.Context, cursor int) int {
	var stale []buffer.StaleRun
	dead := 0
	began := time.Now()
	for left := d.cfg.Partitions; left > 0 && time.Since(began) < d.cfg.SweepEvery/2; {
		asked := make([]int, 0, sweepParts)
		for len(asked) < min(left, sweepParts) {
			asked = append(asked, cursor)
			cursor = (cursor + 1) % d.cfg.Partitions
		}
		left -= len(asked)
		found, err := d.buffer.Heads(ctx, asked)
		for i := range found {
			var late []buffer.StaleRun
			if found[i].Usage.Entries > 0 {
				var failed error
				if late, failed = d.buffer.Sweep(ctx, found[i].Partition, d.cfg.StaleAfter, d.cfg.StaleLimit); failed != nil {
					err = failed
					continue
				}
			}
			stale = append(stale, late...)
			dead += found[i].Dead
			now := time.Now()
			d.level.put(seen{now, found[i], late, now})
		}
		if ctx.Err() != nil {
			return cursor
		}
		if err != nil {
			d.sleep(ctx, d.redisFailed("sweep", err), nil)
		}
	}
	d.words.renew()
	d.report(stale, dead)
	return cursor
}

// see takes over what a look has found. It says nothing of what dwells too long,
// which is kept as long as the partition holds anything.
func (l *levels) see(found []buffer.Partition) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range found {
		p := found[i].Partition
		if last, ok := l.partitions[p]; ok { // the sweep is the first that looks
			if found[i].Usage.Entries == 0 {
				last.stale = nil
			}
			l.partitions[p] = seen{now, found[i], last.stale, last.swept}
		}
	}
}

func (l *levels) put(s seen) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.partitions == nil {
		l.partitions = make(map[int]seen)
	}
	l.partitions[s.found.Partition] = s
}

// report logs the entries that dwell too long: the oldest, each once.
func (d *Drainer) report(stale []buffer.StaleRun, dead int) {
	d.count.stale.Add(int64(len(stale)))
	slices.SortFunc(stale, func(a, b buffer.StaleRun) int { return cmp.Compare(a.AcceptedAt, b.AcceptedAt) })
	for _, r := range stale[:min(len(stale), d.cfg.StaleLimit)] {
		d.log.Warn("a buffered run waits too long", slog.String("run", r.ID.String()), slog.String("environment", r.Environment),
			slog.String("organisation", r.Organisation), slog.Duration("dwell", r.Dwell), slog.String("status", r.Status.String()))
	}
	if more := len(stale) - d.cfg.StaleLimit; more > 0 {
		d.log.Warn("more buffered runs wait too long", slog.Int("runs", more))
	}
	if dead > 0 {
		d.log.Error("buffered runs are aside because they can not be read", slog.Int("runs", dead))
	}
}
