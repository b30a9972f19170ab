package mollifier

import (
	"context"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// quotas keeps the buffer within its bounds: each environment's share, the
// whole, and the age of what waits. It decides from memory, on the last reading
// of the buffer plus what this node has put in since; readings are a second
// apart, so each further node may overshoot by what it takes in a second. The
// hard ceiling of a partition is the buffer's own, inside accept.
type quotas struct {
	cfg    BufferConfig
	usage  func(ctx context.Context, environment string) (buffer.Usage, error)
	total  func(ctx context.Context) (buffer.Usage, error)
	oldest func() time.Duration
	rate   func(environment string) (ofEnvironment, total float64)

	mu   sync.Mutex
	all  level
	aged bool // the oldest entry was older than MaxAge at the last reading
	envs map[string]*level
	news chan struct{} // has room for one: something was put in
}

// level is what is known of an environment's part of the buffer, or of the whole.
type level struct {
	read  buffer.Usage
	since buffer.Usage // put in by this node after the reading
}

func (l *level) entries() int64 { return l.read.Entries + l.since.Entries }
func (l *level) bytes() int64   { return l.read.Bytes + l.since.Bytes }

func (l *level) add(bytes int64) {
	l.since.Entries++
	l.since.Bytes += bytes
}

const readQuotasEvery = time.Second

// admit takes a run that is to be buffered into account, or says why not: nil,
// or a *run.RefusedError that wraps run.ErrQuota (the environment's share) or
// run.ErrOverloaded (the buffer as a whole).
func (q *quotas) admit(environment string, size int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.envs[environment]
	if e == nil {
		e = &level{}
		q.envs[environment] = e
	}
	switch {
	case e.entries() >= int64(q.cfg.MaxEntries) || e.bytes()+int64(size) > q.cfg.MaxBytes:
		rate, _ := q.rate(environment)
		return &run.RefusedError{Reason: run.ErrQuota, Part: "buffer", RetryAfter: room(e.entries(), rate)}
	case q.all.entries() >= int64(q.cfg.TotalEntries) || q.all.bytes()+int64(size) > q.cfg.TotalBytes, q.aged:
		_, rate := q.rate(environment)
		return &run.RefusedError{Reason: run.ErrOverloaded, Part: "buffer", RetryAfter: room(q.all.entries(), rate)}
	}
	e.add(int64(size))
	q.all.add(int64(size))
	select {
	case q.news <- struct{}{}:
	default:
	}
	return nil
}

// The bounds of a Retry-After.
const (
	minRetryAfter     = time.Second
	maxRetryAfter     = 10 * time.Second
	unknownRetryAfter = 5 * time.Second
)

// room is when the drain, at its rate of late, will have taken a twentieth of
// what waits.
func room(entries int64, rate float64) time.Duration {
	if rate <= 0 {
		return unknownRetryAfter
	}
	wait := time.Duration(float64(entries) / 20 / rate * float64(time.Second))
	return min(max(wait, minRetryAfter), maxRetryAfter)
}

// watch reads the levels again while something is, or may be, in the buffer.
func (q *quotas) watch(ctx context.Context) {
	tick := time.NewTicker(readQuotasEvery)
	defer tick.Stop()
	for {
		select {
		case <-q.news:
		case <-ctx.Done():
			return
		}
		for q.read(ctx) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// read takes a reading of every environment that something is known of, and
// forgets those that are empty. It reports whether there is more to watch. An error
// keeps what was known: the bounds hold without Redis's word, too.
func (q *quotas) read(ctx context.Context) (more bool) {
	q.mu.Lock()
	names := make([]string, 0, len(q.envs))
	for name := range q.envs {
		names = append(names, name)
	}
	q.mu.Unlock()
	for _, name := range names {
		before := q.taken(name)
		if u, err := q.usage(ctx, name); err == nil {
			q.replace(name, u, before)
		}
	}
	q.mu.Lock()
	before := q.all.since
	q.mu.Unlock()
	u, err := q.total(ctx)
	aged := q.oldest() > q.cfg.MaxAge
	q.mu.Lock()
	defer q.mu.Unlock()
	q.aged = aged
	if err == nil {
		q.all = level{read: u, since: minus(q.all.since, before)}
	}
	return len(q.envs) > 0 || q.aged
}

func (q *quotas) taken(name string) buffer.Usage {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.envs[name].since
}

// replace puts a reading in place. What was put in before the reading was asked
// for is part of it; what came while it was under way may be counted twice.
func (q *quotas) replace(name string, u buffer.Usage, before buffer.Usage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	since := minus(q.envs[name].since, before)
	if u.Entries == 0 && since.Entries == 0 {
		delete(q.envs, name)
		return
	}
	*q.envs[name] = level{read: u, since: since}
}

func minus(a, b buffer.Usage) buffer.Usage {
	return buffer.Usage{Entries: a.Entries - b.Entries, Bytes: a.Bytes - b.Bytes}
}
