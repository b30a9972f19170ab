package drain

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// batch is one turn: lease, materialise, acknowledge. until is over when nothing
// new may be begun; answered is called when the leases are known.
func (d *Drainer) batch(until context.Context, t turn, answered func(), granted *atomic.Int64) {
	defer answered()
	if until.Err() != nil {
		return
	}
	asks, n := make([]Ask, len(t.parts)), 0
	for i, p := range t.parts {
		asks[i] = Ask{p.partition, t.organisation, t.environment, p.n}
		n += p.n
	}
	token := newToken()
	entries, err := d.buffer.Lease(d.work, asks, token, d.cfg.Lease)
	granted.Add(int64(len(entries)))
	answered()
	d.count.leased.Add(int64(len(entries)))
	if err != nil {
		// What was lent all the same comes back when its lease ends. A reply
		// that was too large for its deadline is smaller next time.
		d.fits.spoiled(t.environment, n)
		pause := d.redisFailed("lease", err)
		if len(entries) == 0 {
			d.sleep(until, pause, nil)
			return
		}
	} else {
		d.redis.served()
	}
	d.held.add(token, entries)
	defer d.held.end(token)

	readable := make([]Entry, 0, len(entries))
	bytes := 0
	for _, e := range entries {
		switch {
		case e.Err != nil:
			d.unreadable(e)
		case e.Attempts >= d.cfg.Attempts:
			d.fail(e)
		default:
			readable = append(readable, e)
			bytes += e.Snapshot.Trigger.Size()
		}
	}
	d.fits.took(t.environment, len(readable), bytes)
	for len(readable) > 0 {
		n := fitting(readable, d.cfg.BatchBytes)
		if !d.transact(t.environment, readable[:n]) || (until.Err() != nil && n < len(readable)) {
			d.giveBack(readable[n:], 0, false)
			return
		}
		readable = readable[n:]
	}
}

// fitting is how many entries go into one transaction: at least one.
func fitting(entries []Entry, most int) int {
	bytes := 0
	for i := range entries {
		if bytes += entries[i].Snapshot.Trigger.Size(); bytes > most && i > 0 {
			return i
		}
	}
	return len(entries)
}

func materialisation(e *Entry) runstore.Materialisation {
	return runstore.Materialisation{Snapshot: &e.Snapshot, Patches: e.Patches, Ver: e.Ver}
}

// transact materialises entries of one environment in one transaction, and sees
// to each as it deserves. It is false if Postgres as a whole did not serve.
func (d *Drainer) transact(environment string, entries []Entry) (served bool) {
	defer func() {
		if p := recover(); p != nil {
			// Only an entry that was alone can be blamed.
			d.panicked("batch", p)
			d.fits.spoiled(environment, len(entries))
			alone := len(entries) == 1
			d.giveBack(entries, d.delay(entries[0].Attempts, alone), alone)
			served = false
		}
	}()
	items := make([]runstore.Materialisation, len(entries))
	for i := range entries {
		items[i] = materialisation(&entries[i])
	}
	began := time.Now()
	results := d.materialise(items)
	var (
		written         []acking
		refused, failed []Entry
		outage          error
	)
	for i, r := range results {
		switch {
		case r.Err == nil && d.failedBefore(&entries[i], &r):
			d.drop(entries[i])
		case r.Err == nil:
			written = append(written, acking{entries[i], r})
		case poisonous(r.Err):
			refused = append(refused, entries[i])
		default:
			failed, outage = append(failed, entries[i]), r.Err
		}
	}
	switch {
	case len(failed) == 0:
		d.count.batches.Add(1)
		d.pace.succeeded(len(entries), began, time.Now())
		d.fits.fine(environment, len(entries))
	case len(failed) == len(entries):
		d.fits.spoiled(environment, len(entries))
		pause := d.outage(outage, began)
		if len(entries) == 1 {
			// It may be at fault itself: let others pass it.
			d.giveBack(failed, max(pause, d.delay(0, true)), false)
		} else {
			d.giveBack(failed, 0, false)
		}
	default:
		d.giveBack(failed, d.delay(0, true), false)
	}
	d.ack(environment, written)
	for _, e := range refused {
		d.refused(e)
	}
	return len(failed) < len(entries)
}

// materialise asks Postgres, within the deadline and no longer than the drainer
// may work.
func (d *Drainer) materialise(items []runstore.Materialisation) []runstore.Materialised {
	ctx, cancel := context.WithTimeout(d.work, d.cfg.Deadline)
	defer cancel()
	return d.runs.Materialise(ctx, items)
}

// poisonous reports whether an error is the row's own fault.
func poisonous(err error) bool {
	return errors.Is(err, runstore.ErrRejected) || errors.Is(err, run.ErrInvalid)
}

// outage begins a pause, unless it is only this drainer that ends.
func (d *Drainer) outage(err error, began time.Time) (pause time.Duration) {
	if d.work.Err() != nil {
		return 0
	}
	var refused *run.RefusedError
	after := time.Duration(0)
	if errors.As(err, &refused) {
		after = refused.RetryAfter
	}
	pause, first := d.pace.failed(began, time.Now(), after)
	if first {
		d.count.pauses.Add(1)
		d.log.Warn("the drain pauses: postgres is not available", slog.Any("error", err))
	}
	return pause
}

// giveBack returns entries to their queues: to the front, in their order, at
// once or after a delay. What can not be returned comes back when its lease
// ends.
func (d *Drainer) giveBack(entries []Entry, delay time.Duration, spent bool) {
	if len(entries) == 0 {
		return
	}
	back := make([]Return, len(entries))
	for i, e := range entries {
		back[i] = Return{e.Ref, e.Token, delay, spent}
	}
	ctx, cancel := d.lastWord()
	defer cancel()
	for i, err := range d.buffer.Requeue(ctx, back) {
		if err != nil {
			d.redisFailed("give an entry back", err)
			continue
		}
		d.held.drop(back[i].Token, back[i].ID)
		if !spent {
			d.count.givenBack.Add(1)
		}
	}
}

// lastWord is for what must be said to the buffer though the drainer may have
// been stopped.
func (d *Drainer) lastWord() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(d.work), giveBackWithin)
}

// delay is how long an entry waits that was tried so often before; 0 if it need not.
func (d *Drainer) delay(attempts int, wait bool) time.Duration {
	if !wait {
		return 0
	}
	pause := d.cfg.Retry
	for range attempts {
		pause = min(2*pause, max(d.cfg.Hold, d.cfg.Retry))
	}
	return jitter(pause)
}
