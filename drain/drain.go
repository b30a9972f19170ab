package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Drainer moves buffered runs into Postgres. Its methods are safe for concurrent
// use. Make it with [New], and begin with [Drainer.Start] on nodes that drain.
type Drainer struct {
	cfg    Config
	buffer Buffer
	runs   Runs
	log    *slog.Logger

	pace  *pace
	rates rates
	count counters
	held  held
	fits  fits
	redis trouble
	level levels
	words words

	recent recents

	woken    chan struct{} // has room for one
	stopping chan struct{} // closed by Stop: nothing is leased after that
	work     context.Context
	cancel   context.CancelFunc // of work: what is under way is given back
	ended    chan struct{}      // closed when all goroutines have ended
	mu       sync.Mutex         // guards started and stopped
	started  bool
	stopped  bool
}

// New checks the configuration, by the names of its fields. It starts nothing
// and asks no store.
func New(cfg Config, buffer Buffer, runs Runs) (*Drainer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Drainer{
		cfg: cfg, buffer: buffer, runs: runs, log: cfg.Logger, pace: newPace(&cfg),
		woken: make(chan struct{}, 1), stopping: make(chan struct{}), ended: make(chan struct{}),
	}
	d.work, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// Start begins to drain. A second call, and one after [Drainer.Stop], does nothing.
func (d *Drainer) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started || d.stopped {
		return
	}
	d.started = true
	// until ends when Stop is called; work only when its patience ends.
	until, cancel := context.WithCancel(d.work)
	go func() {
		select {
		case <-d.stopping:
		case <-d.work.Done():
		}
		cancel()
	}()
	var loops, keeper sync.WaitGroup
	working, done := context.WithCancel(context.Background())
	keeper.Go(func() { d.guard(working, "renew", d.renew) })
	for name, loop := range map[string]func(context.Context){"drain": d.loop, "reap": d.reap, "sweep": d.sweep} {
		loops.Go(func() { d.guard(until, name, loop) })
	}
	go func() {
		loops.Wait()
		done() // leases are renewed as long as there is work
		keeper.Wait()
		cancel()
		close(d.ended)
	}()
}

// guard runs a loop until its context ends, whatever happens inside.
func (d *Drainer) guard(ctx context.Context, name string, loop func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer d.recovered(name)
			loop(ctx)
		}()
		d.sleep(ctx, jitter(d.cfg.PauseMax), nil)
	}
}

// recovered, deferred, ends a panic and reports it.
func (d *Drainer) recovered(where string) {
	if p := recover(); p != nil {
		d.panicked(where, p)
	}
}

func (d *Drainer) panicked(where string, p any) {
	d.count.panics.Add(1)
	// The value may hold a payload; the type and the place say enough.
	d.log.Error("panic in the drain", slog.String("in", where), slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
}

// Notify says that something was put into the buffer: an idle drain looks at
// once. It never blocks, and may be called at any time and rate.
func (d *Drainer) Notify() {
	signal(d.woken)
}

var errPanic = errors.New("recovered from a panic")

// ErrStuck means that a stop's deadline passed while batches were still under
// way. Their leases will run out, and another drainer takes their entries.
var ErrStuck = errors.New("drain: batches are still under way")

// Stop leases nothing more, lets what is under way finish, and shortly before
// ctx ends gives back to the front of the queues what is not finished by then,
// without having spent an attempt. It returns nil when everything has ended, and
// otherwise [ErrStuck] when ctx has. It may be called again, to wait on.
func (d *Drainer) Stop(ctx context.Context) error {
	d.mu.Lock()
	if !d.stopped {
		d.stopped = true
		close(d.stopping)
		if !d.started {
			d.cancel()
			close(d.ended)
		}
	}
	d.mu.Unlock()
	finish := ctx
	if end, ok := ctx.Deadline(); ok {
		left := time.Until(end)
		var cancel context.CancelFunc
		finish, cancel = context.WithTimeout(ctx, left-min(left/4, giveBackWithin))
		defer cancel()
	}
	select {
	case <-d.ended:
		d.cancel()
		return nil
	case <-finish.Done():
	}
	d.cancel()
	select {
	case <-d.ended:
		return nil
	case <-ctx.Done():
		select {
		case <-d.ended:
			return nil
		default:
			return ErrStuck
		}
	}
}

// giveBackWithin bounds how long entries are given back that were not finished.
const giveBackWithin = time.Second

// sleep waits for the time, a signal on woken or the end of ctx. Zero waits for
// the other two.
func (d *Drainer) sleep(ctx context.Context, t time.Duration, woken <-chan struct{}) {
	var timeout <-chan time.Time
	if t > 0 {
		timer := time.NewTimer(t)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
	case <-timeout:
	case <-woken:
	}
}

// Stats counts what this drainer has done since it was made. Levels are in
// [Drainer.Levels].
type Stats struct {
	Leased       int64 // entries
	Materialised int64 // entries whose row was written or found
	Aliased      int64 // of these, the ones whose key another run had
	Overtaken    int64 // of these, the ones whose key's run was accepted after them
	Dirty        int64 // entries that changed while they were materialised
	Batches      int64 // transactions that Postgres answered
	Refused      int64 // attempts that Postgres refused
	Failed       int64 // entries that became a SYSTEM_FAILURE
	Unreadable   int64 // entries of an unknown version or form, which were put aside
	GivenBack    int64 // entries returned without having spent an attempt
	Reaped       int64 // entries whose lease had run out
	LeasesLost   int64 // entries that were lent to another while they were worked on
	Repeated     int64 // calls for a lease that were made again because the reply was lost
	Pauses       int64 // because Postgres was not available
	RedisErrors  int64
	Stale        int64 // entries found to dwell too long: each counts again in each sweep
	Revived      int64 // entries that had been put aside because they could not be read
	Panics       int64
}

type counters struct {
	leased, materialised, aliased, overtaken, dirty, batches, refused, failed, unreadable,
	givenBack, reaped, leasesLost, leasesRepeated, pauses, redisErrors, stale, revived, panics atomic.Int64
}

// Stats returns the counts.
func (d *Drainer) Stats() Stats {
	c := &d.count
	return Stats{
		Leased: c.leased.Load(), Materialised: c.materialised.Load(), Aliased: c.aliased.Load(), Overtaken: c.overtaken.Load(), Dirty: c.dirty.Load(),
		Batches: c.batches.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(), Unreadable: c.unreadable.Load(),
		GivenBack: c.givenBack.Load(), Reaped: c.reaped.Load(), LeasesLost: c.leasesLost.Load(), Repeated: c.leasesRepeated.Load(), Pauses: c.pauses.Load(),
		RedisErrors: c.redisErrors.Load(), Stale: c.stale.Load(), Revived: c.revived.Load(), Panics: c.panics.Load(),
	}
}

// Rate returns how many entries a second this node has lately drained, of one
// environment and of all, over the time in which there was something to drain.
// Zero means that it is not known. Other nodes drain besides.
func (d *Drainer) Rate(environment string) (ofEnvironment, total float64) {
	now := time.Now()
	d.rates.mu.Lock()
	defer d.rates.mu.Unlock()
	if r := d.rates.envs[environment]; r != nil {
		ofEnvironment = r.read(now)
	}
	return ofEnvironment, d.rates.total.read(now)
}

// Paused reports whether the drain waits for Postgres to be available.
func (d *Drainer) Paused() bool { return d.pace.paused() || !d.runs.Available() }
