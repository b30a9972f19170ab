package mollifier

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// RetentionConfig says what is removed from Postgres, and when; by default nothing is.
// Give all nodes of a deployment the same. See docs/operate.md.
type RetentionConfig struct {
	// Runs is how long a run is kept after it has ended and its key's time is over; its
	// other names, its tombstones and its batch go with it. 0 keeps runs for ever; else at
	// least 1 min, and in earnest days: longer than any node may sleep and any backlog wait.
	Runs time.Duration
	// Of says it for one environment in place of Runs. It must answer from memory. Nil is
	// Runs for all.
	Of func(environment string) time.Duration
	// Audit is how long the record of what operators did is kept; 0 for ever.
	Audit time.Duration
}

// minRetention is the least that anything may be kept: longer than Redis remembers whose a
// key is, and than a trigger may be under way.
const minRetention = time.Minute

func (c RetentionConfig) of(environment string) time.Duration {
	keep := c.Runs
	if c.Of != nil {
		keep = c.Of(environment)
	}
	if keep <= 0 {
		return 0
	}
	return max(keep, minRetention)
}

const (
	retainEvery = time.Minute
	retainLimit = 500 // rows looked at by one step
	// retainLooks is for how long the buffer is looked at before what was found counts: what
	// Redis has lost is put back within that.
	retainLooks = 10 * time.Minute
	auditLimit  = 1000
)

// RetentionStats counts what this node has removed since it started.
type RetentionStats struct {
	runstore.Removed
	Audit int // lines of the audit
}

// RetentionStats returns what this node has removed.
func (e *Engine) RetentionStats() RetentionStats {
	e.retention.mu.Lock()
	defer e.retention.mu.Unlock()
	return e.retention.stats
}

// retention removes what is over, one pass a minute. Who removes what lies in the past of
// the buffer's oldest entry must know that entry, so a pass begins with a look at Redis,
// and without an answer there is none; see package runstore for why that is enough.
type retention struct {
	looks looks

	mu    sync.Mutex
	stats RetentionStats
}

// looks are what the buffer was found to hold of late.
type looks struct {
	list []lookedAt
}

type lookedAt struct {
	at     time.Time
	oldest run.Instant
}

// add notes a look, and returns the oldest acceptance that was found in span. ok is false
// until the looks cover it.
func (l *looks) add(at time.Time, oldest run.Instant, span time.Duration) (least run.Instant, ok bool) {
	l.list = append(l.list, lookedAt{at, oldest})
	for len(l.list) > 1 && at.Sub(l.list[1].at) >= span {
		l.list = l.list[1:]
	}
	for _, look := range l.list {
		if look.oldest > 0 && (least == 0 || look.oldest < least) {
			least = look.oldest
		}
	}
	return least, at.Sub(l.list[0].at) >= span
}

// retain removes what is over, again and again, until ctx ends. Of failures in a row the
// first is logged.
func (e *Engine) retain(ctx context.Context) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	failed := false
	for {
		err := e.retainOnce(ctx, time.Now(), retainLooks, runstore.HorizonStands)
		if err != nil && !failed && ctx.Err() == nil {
			e.cfg.Logger.Warn("retention removes nothing; it is tried again every minute", slog.Any("error", err))
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// retainOnce is one pass.
func (e *Engine) retainOnce(ctx context.Context, now time.Time, span, stands time.Duration) error {
	if err := e.trimAudit(ctx); err != nil {
		return err
	}
	environments, err := e.runs.Environments(ctx)
	if err != nil {
		return err
	}
	shortest := time.Duration(0)
	for _, environment := range environments {
		if keep := e.cfg.Retention.of(environment); keep > 0 && (shortest == 0 || keep < shortest) {
			shortest = keep
		}
	}
	if shortest == 0 {
		return nil
	}
	floor, err := e.buffer.Floor(ctx)
	switch {
	case err != nil:
		return err
	case floor.Dead > 0:
		return errUnreadableEntries
	}
	oldest, ok := e.retention.looks.add(now, floor.At, min(span, shortest))
	if !ok {
		return nil
	}
	horizon, err := e.runs.Advance(ctx, shortest, floor.Now, oldest, stands)
	if err != nil {
		return err
	}
	clock := min(horizon.Now, floor.Now)
	for _, environment := range environments {
		if keep := e.cfg.Retention.of(environment); keep > 0 {
			if busy, err := e.removeFrom(ctx, environment, min(horizon.Removable, clock.Add(-keep))); err != nil || busy {
				return err
			}
		}
	}
	return nil
}

// errUnreadableEntries: nobody can say how old they are.
var errUnreadableEntries = unreadableEntries{}

type unreadableEntries struct{}

func (unreadableEntries) Error() string {
	return "the buffer has entries that no node here can read; nothing is removed while they are there"
}

// removeFrom removes what lies before an instant in an environment, and rests after each
// step for as long as it took.
func (e *Engine) removeFrom(ctx context.Context, environment string, before run.Instant) (busy bool, err error) {
	for r := runstore.NewRemoval(environment, before); !r.Over(); {
		began := time.Now()
		done, busy, err := e.runs.Remove(ctx, r, retainLimit)
		if err != nil || busy {
			return busy, err
		}
		e.retention.mu.Lock()
		e.retention.stats.Add(done)
		e.retention.mu.Unlock()
		rest := time.NewTimer(time.Since(began))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return false, context.Cause(ctx)
		}
	}
	return false, nil
}

func (e *Engine) trimAudit(ctx context.Context) error {
	if e.cfg.Retention.Audit <= 0 {
		return nil
	}
	for {
		n, err := e.overrides.TrimAudit(ctx, max(e.cfg.Retention.Audit, minRetention), auditLimit)
		e.retention.mu.Lock()
		e.retention.stats.Audit += n
		e.retention.mu.Unlock()
		if err != nil || n < auditLimit {
			return err
		}
	}
}
