package drain

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// failure is what the owner of a run sees that can not be stored.
var failure = run.Failure{
	Name:    "MATERIALISATION_FAILED",
	Message: "The run was accepted, but the database refuses to store it.",
}

// refused sees to an entry whose row Postgres refuses: it waits and is tried
// again, until its attempts are spent.
func (d *Drainer) refused(e entry) {
	d.count.refused.Add(1)
	if e.attempts+1 < d.cfg.Attempts {
		d.giveBack([]entry{e}, d.delay(e.attempts, true), true)
		return
	}
	d.fail(e)
}

// fail keeps the exact bytes of a run among the dead letters, then writes its
// visible failure, and only then drops its entry.
func (d *Drainer) fail(e entry) {
	m := e.materialisation()
	f := failure
	m.Failed = &f
	began := time.Now()
	r := runstore.Materialised{Err: d.bury(&e)}
	if r.Err == nil {
		r = d.materialise([]runstore.Materialisation{m})[0]
	}
	switch {
	case r.Err == nil && (r.Outcome == runstore.Aliased || (r.Outcome == runstore.Replayed && r.Status != run.SystemFailure)):
		// It has a good row: its own from before, or another run's.
		d.ack(e.Environment, []acking{{&e, r}})
	case r.Err == nil || mutant.On("drops-the-only-copy"):
		d.drop(e)
	case poisonous(r.Err):
		d.log.Error("a buffered run can not be stored, nor its failure; it is kept", d.about(&e)...)
		d.giveBack([]entry{e}, jitter(d.cfg.Hold), false)
	default:
		d.outage(r.Err, began)
		d.giveBack([]entry{e}, d.delay(0, true), false)
	}
}

func (d *Drainer) bury(e *entry) error {
	if mutant.On("failure-without-dead-letter") {
		return nil
	}
	ctx, cancel := context.WithTimeout(d.work, d.cfg.Deadline)
	defer cancel()
	return d.runs.Bury(ctx, &e.snapshot, failure.Name)
}

// failedBefore reports whether a drainer has died between the failure's row and
// the entry's end.
func (d *Drainer) failedBefore(e *entry, r *runstore.Materialised) bool {
	return r.Outcome == runstore.Replayed && r.Status == run.SystemFailure && r.Canonical == e.ID &&
		e.attempts+1 >= d.cfg.Attempts
}

// drop ends an entry whose failure is in Postgres.
func (d *Drainer) drop(e entry) {
	ctx, cancel := d.lastWord()
	defer cancel()
	switch r := d.buffer.Fail(ctx, []buffer.Holding{e.Holding})[0]; {
	case r.Err != nil:
		d.redisFailed("drop a failed entry", r.Err) // leased again, it settles as a replay
		return
	case r.Held == buffer.HeldLost:
		d.count.leasesLost.Add(1) // who has it now finds the failure's row
	case r.Held == buffer.HeldDone:
		d.count.failed.Add(1)
		d.recent.note(OddFailed, &e, run.ID{})
		d.log.Error("a buffered run was refused by postgres and has failed", d.about(&e)...)
	}
	d.held.drop(e.Holding)
}

// unreadable reports an entry that this build can not read. The buffer has put
// it aside, where it stays until a node starts that can.
func (d *Drainer) unreadable(organisation string, l buffer.Lease) {
	d.count.unreadable.Add(1)
	e := entry{Holding: buffer.Holding{Ref: l.Ref}, organisation: organisation}
	d.recent.note(OddUnreadable, &e, run.ID{})
	if d.words.left() {
		d.log.Error("a buffered run can not be read and was put aside", append(d.about(&e), slog.Any("error", l.Err))...)
	}
}

func (d *Drainer) about(e *entry) []any {
	return []any{
		slog.String("run", e.ID.String()), slog.String("environment", e.Environment),
		slog.String("organisation", e.organisation), slog.Int("attempts", e.attempts),
	}
}

// words bounds what is logged of single entries between two sweeps: a storm
// must not flood the log.
type words struct{ n atomic.Int64 }

const wordsASweep = 100

func (w *words) left() bool { return w.n.Add(1) <= wordsASweep }

func (w *words) renew() { w.n.Store(0) }
