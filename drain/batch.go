package drain

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// batch is one turn: lease, materialise, acknowledge. until is over when nothing
// new may be begun; answered is called when the leases are known.
func (d *Drainer) batch(until context.Context, t turn, answered func(), granted *atomic.Int64) {
	defer answered()
	defer d.recovered("batch")
	if until.Err() != nil {
		return
	}
	entries, err := d.lease(until, t)
	granted.Add(int64(len(entries)))
	answered()
	d.count.leased.Add(int64(len(entries)))
	if err != nil {
		// What was lent all the same comes back when its lease ends.
		d.fits.spoiled(t.environment, t.entries())
		pause := d.redisFailed("lease", err)
		if len(entries) == 0 {
			d.sleep(until, pause, nil)
			return
		}
	} else {
		d.redis.served()
	}
	d.held.add(entries)
	defer func() {
		for i := range entries {
			d.held.drop(entries[i].Holding)
		}
	}()

	todo, bytes := make([]entry, 0, len(entries)), 0
	for i := range entries {
		if entries[i].attempts >= d.cfg.Attempts {
			d.fail(entries[i])
			continue
		}
		todo = append(todo, entries[i])
		bytes += entries[i].size()
	}
	d.fits.took(t.environment, len(todo), bytes)
	for len(todo) > 0 {
		n := fitting(todo, d.cfg.BatchBytes)
		if !d.transact(t.environment, todo[:n]) || (until.Err() != nil && n < len(todo)) {
			d.giveBack(todo[n:], 0, false)
			return
		}
		todo = todo[n:]
	}
}

// leaseCalls is how many queues of a turn are asked at the same time.
const leaseCalls = 4

// lease takes what a turn is for, in the order of its parts. An error of one
// part does not keep the entries of the others.
func (d *Drainer) lease(until context.Context, t turn) ([]entry, error) {
	token := buffer.NewToken()
	found, errs := make([][]buffer.Lease, len(t.parts)), make([]error, len(t.parts))
	var next atomic.Int64
	var calls sync.WaitGroup
	for range min(leaseCalls, len(t.parts)) {
		calls.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(t.parts) {
					return
				}
				found[i], errs[i] = d.leasePart(until, &t, t.parts[i], token)
			}
		})
	}
	calls.Wait()
	n := 0
	for _, leases := range found {
		n += len(leases)
	}
	entries := make([]entry, 0, n)
	leased := time.Now()
	for _, leases := range found {
		for i := range leases {
			l := &leases[i]
			if l.Err != nil {
				d.unreadable(t.organisation, *l)
				continue
			}
			entries = append(entries, entry{
				Holding: buffer.Holding{Ref: l.Ref, Token: l.Token}, organisation: t.organisation,
				snapshot: l.Entry.Snapshot, patches: l.Entry.Patches, ver: l.Entry.Ver, attempts: l.Entry.Attempts,
				dwell: dwell(l.Entry.Snapshot.AcceptedAt, l.Entry.Now), leased: leased,
			})
		}
	}
	for _, err := range errs {
		if err != nil {
			return entries, err
		}
	}
	return entries, nil
}

// leasePart asks until it is answered: a lost reply must not leave entries to
// nobody until their lease ends. The token makes the repeated call give what the lost one
// took. It gives up when that takes a third of a lease, or at a stop after one more
// try; from the second repetition on it asks for fewer, because a reply may be too large
// for its deadline.
func (d *Drainer) leasePart(until context.Context, t *turn, p part, token buffer.Token) (found []buffer.Lease, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.panicked("lease", p)
			err = errPanic
		}
	}()
	unsure, began := false, time.Now()
	for try := 0; ; try++ {
		found, err = d.buffer.Lease(d.work, p.partition, t.environment, p.n, token, d.cfg.Lease)
		unsure = unsure || redisdb.OutcomeUnknown(err)
		if err == nil || !unsure || d.work.Err() != nil || mutant.On("lost-lease-is-not-asked-for") {
			return found, err
		}
		d.fits.spoiled(t.environment, t.entries())
		pause := d.redisFailed("lease", err)
		if time.Since(began)+pause > d.cfg.Lease/3 || try > 0 && until.Err() != nil {
			return nil, err
		}
		if try > 0 {
			p.n = max(1, p.n/2)
		}
		d.count.leasesRepeated.Add(1)
		d.sleep(until, pause, nil)
	}
}

// fitting is how many entries go into one transaction: at least one.
func fitting(entries []entry, most int) int {
	bytes := 0
	for i := range entries {
		if bytes += entries[i].size(); bytes > most && i > 0 {
			return i
		}
	}
	return len(entries)
}

// transact materialises entries of one environment in one transaction, and sees
// to each as it deserves. It is false if Postgres as a whole did not serve.
func (d *Drainer) transact(environment string, entries []entry) (served bool) {
	defer func() {
		if p := recover(); p != nil {
			// Only an entry that was alone can be blamed.
			d.panicked("batch", p)
			d.fits.spoiled(environment, len(entries))
			alone := len(entries) == 1
			d.giveBack(entries, d.delay(entries[0].attempts, alone), alone)
			served = false
		}
	}()
	items := make([]runstore.Materialisation, len(entries))
	for i := range entries {
		items[i] = entries[i].materialisation()
	}
	began := time.Now()
	var (
		written         []acking
		refused, failed []entry
		outage          error
	)
	for i, r := range d.materialise(items) {
		switch {
		case r.Err == nil && d.failedBefore(&entries[i], &r):
			d.drop(entries[i])
		case r.Err == nil:
			written = append(written, acking{&entries[i], r})
		case poisonous(r.Err):
			refused = append(refused, entries[i])
		default:
			failed, outage = append(failed, entries[i]), r.Err
		}
	}
	d.tell(began, len(entries), written)
	switch {
	case len(failed) == 0:
		d.count.batches.Add(1)
		d.pace.succeeded(len(entries), began, time.Now())
		d.fits.fine(environment, len(entries))
	case len(failed) == len(entries) && ofHook(outage) && len(entries) == 1:
		d.giveBack(failed, d.delay(0, true), false) // it alone: others go on
	case len(failed) == len(entries):
		if !ofHook(outage) { // which was called for each of them alone
			d.fits.spoiled(environment, len(entries))
		}
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
	return errors.Is(err, run.ErrRejected) || errors.Is(err, run.ErrInvalid)
}

// ofHook reports whether it was the hook that took no runs, and not Postgres.
func ofHook(err error) bool {
	refused, ok := errors.AsType[*run.RefusedError](err)
	return ok && refused.Part == runstore.PartHook
}

// outage begins a pause, unless it is only this drainer that ends.
func (d *Drainer) outage(err error, began time.Time) (pause time.Duration) {
	if d.work.Err() != nil {
		return 0
	}
	after := time.Duration(0)
	if refused, ok := errors.AsType[*run.RefusedError](err); ok {
		after = refused.RetryAfter
	}
	pause, first := d.pace.failed(began, time.Now(), after)
	if first {
		d.count.pauses.Add(1)
		why := "postgres is not available"
		if ofHook(err) {
			why = "the hook takes no runs"
		}
		d.log.Warn("the drain pauses: "+why, slog.Any("error", err))
	}
	return pause
}

// giveBack returns entries to their queues: to the front, in their order, at
// once or after a delay. What can not be returned comes back when its lease ends.
func (d *Drainer) giveBack(entries []entry, delay time.Duration, spent bool) {
	if len(entries) == 0 {
		return
	}
	back := make([]buffer.Requeue, len(entries))
	for i := range entries {
		back[i] = buffer.Requeue{Ref: entries[i].Ref, Token: entries[i].Token, Delay: delay, Count: spent || mutant.On("outage-spends-attempts")}
	}
	ctx, cancel := d.lastWord()
	defer cancel()
	for i, r := range d.buffer.Requeue(ctx, back) {
		switch {
		case r.Err != nil:
			d.redisFailed("give an entry back", r.Err)
			continue
		case r.Held == buffer.HeldLost:
			d.count.leasesLost.Add(1)
		case !spent:
			d.count.givenBack.Add(1)
		}
		d.held.drop(entries[i].Holding)
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
