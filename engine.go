package mollifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/explain"
	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/fleet"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/gate/recording"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/ring"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/watch"
)

// Engine is the mollifier of one node. Its methods are safe for concurrent
// use. Make one with [New] and end it with [Engine.Close].
type Engine struct {
	cfg       Config
	redis     *redisdb.DB
	claims    *claim.Store
	buffer    *buffer.Store
	ring      *ring.Ring // nil if nothing is kept
	gate      *gate.Gate
	recorded  *recording.Recorder // nil if nothing is recorded
	runs      *runstore.Store
	reader    *fallback.Reader
	drain     *drain.Drainer
	watch     *watch.Hub
	shards    *actors.Shards
	quotas    *quotas
	enrolment *enrolment
	board     *fleet.Board
	announced atomic.Bool // on the board
	overrides *override.Store
	recent    *explain.Ring
	pauses    pauses
	retention retention
	telemetry *telemetry.Telemetry // nil for none
	refusals  telemetry.Refusals
	fsync     atomic.Bool // Redis syncs before it answers

	stopLoops context.CancelFunc
	loops     sync.WaitGroup
	closeOnce sync.Once
	closed    error // of the close
}

// New connects to both stores, checks that they are fit and that this
// deployment's partitions agree with what they remember, and starts the
// shards. ctx bounds the start only. The error names the field of cfg that is
// wrong, or the store that can not be used and why.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Migrate {
		if err := schema.Migrate(ctx, cfg.Postgres); err != nil {
			return nil, fmt.Errorf("mollifier: migrate: %w", err)
		}
	}
	e := &Engine{cfg: cfg}
	if err := e.open(ctx); err != nil {
		e.closeStores()
		return nil, err
	}
	e.watch = watch.New(watch.Config{Source: newWatched(e)})
	loops, stop := context.WithCancel(context.Background())
	e.stopLoops = stop
	if e.ring != nil {
		e.ring.Start(e.redis, e.buffer, e.runs, cfg.Logger)
	}
	e.loops.Go(func() { e.listen(loops) })
	e.loops.Go(func() { _ = e.gate.Report(loops) })
	e.loops.Go(func() { e.gate.Log(loops) })
	if e.recorded != nil {
		e.loops.Go(func() { e.recorded.Run(loops) })
	}
	e.loops.Go(func() { e.quotas.watch(loops) })
	e.loops.Go(func() { e.examine(loops) })
	e.loops.Go(func() { e.enrolment.watch(loops) })
	if !e.cfg.NoSweep {
		e.loops.Go(func() { e.sweep(loops) })
		e.loops.Go(func() { e.retain(loops) })
	}
	if !e.cfg.NoDrain {
		e.drain.Start()
	}
	return e, nil
}

// Trigger starts a run, or answers the live run of the trigger's key.
//
// The result always carries a run id. The errors to branch on:
// run.ErrInvalid (nothing was stored; an [*run.InvalidError] names the field),
// run.ErrRejected (Postgres or the hook refuses this one; do not retry),
// run.ErrOverloaded, run.ErrQuota, run.ErrClosed (nothing was stored), run.ErrClaimTimeout,
// run.ErrUnavailable (a retry with the same key is safe), or the cause of ctx,
// whose end stops the wait but not the trigger: it may still take effect.
func (e *Engine) Trigger(ctx context.Context, t run.Trigger) (result run.Result, err error) {
	if e.telemetry == nil {
		result, err = e.trigger(ctx, t)
		e.refusals.Count(err)
		return result, err
	}
	began := time.Now()
	ctx, span := e.telemetry.Trigger(ctx, t.TraceParent, t.TraceState, 1)
	t.TraceParent, t.TraceState = span.Carry(t.TraceParent, t.TraceState)
	result, err = e.trigger(ctx, t)
	e.refusals.Count(err)
	e.telemetry.Answered(result, err)
	e.telemetry.Took(result, err, time.Since(began))
	span.End(result, err)
	return result, err
}

func (e *Engine) trigger(ctx context.Context, t run.Trigger) (run.Result, error) {
	if err := t.Validate(); err != nil {
		return run.Result{}, err
	}
	claims := e.enrolment.claims(t.Organisation)
	return e.shards.Trigger(ctx, &t, claims, func() run.Snapshot {
		s := [1]run.Snapshot{snapshot(t)}
		e.lineages(ctx, claims, s[:])
		return s[0]
	})
}

// Full says whether a trigger of an environment that came now would be refused with
// run.ErrOverloaded, for want of a place to wait; see [Config.MaxCallers]. A server that
// asks before it reads a request's body spends little on what it must refuse.
// It counts as a trigger that was refused.
func (e *Engine) Full(environment string) error {
	err := e.shards.Full(environment)
	if err != nil && e.telemetry != nil {
		e.telemetry.Answered(run.Result{}, err)
	}
	return err
}

// lineages places the runs of one environment that name a parent; see
// [fallback.Reader.Lineages]. It asks nobody if the buffer can hold none of them.
func (e *Engine) lineages(ctx context.Context, claims bool, snapshots []run.Snapshot) {
	if !claims || !e.redis.Available() {
		return
	}
	var parents []run.ID
	for i := range snapshots {
		if p := snapshots[i].Trigger.ParentRun; !p.IsZero() && !slices.Contains(parents, p) {
			parents = append(parents, p)
		}
	}
	if len(parents) == 0 {
		return
	}
	below := e.reader.Lineages(ctx, snapshots[0].Trigger.Environment, parents)
	for i := range snapshots {
		snapshots[i].Lineage = below[snapshots[i].Trigger.ParentRun]
	}
}

// snapshot is what the shards are given of a valid trigger.
func snapshot(t run.Trigger) run.Snapshot {
	if t.Debounce != nil {
		// Postgres's clock decides; this is for a run that it can not be asked about.
		t.DelayUntil = time.Now().Add(t.Debounce.Delay)
	}
	key := t.Key()
	var hash run.Hash
	if !key.IsZero() {
		hash = key.Hash()
	}
	return run.NewSnapshot(run.ID{}, key, hash, t)
}

// mollifies reports whether triggers of an organisation may be buffered at all.
func (e *Engine) mollifies(organisation string) bool {
	return !e.cfg.Gate.Off && e.cfg.Enrolled(organisation)
}

// Take hands queued runs to a worker, at most as many as it asks for, oldest turn
// first, and marks them EXECUTING. Runs that another worker is taking are skipped, so any number
// of workers may call it at once, on any node.
func (e *Engine) Take(ctx context.Context, r run.TakeRequest) ([]run.Run, error) {
	if r.Most <= 0 {
		return nil, &run.InvalidError{Field: "Most", Rule: "at least 1"}
	}
	return e.runs.Take(ctx, r.Most)
}

// Finish records what became of a run. The transition table is
// [run.Status.CanBecome]; run.ErrConflict means that the run is in a status
// that does not allow it. A status that clears the key lets the next trigger
// of the key make a new run.
func (e *Engine) Finish(ctx context.Context, environment string, id run.ID, f run.Finish) (run.Run, error) {
	if id.IsZero() || environment == "" {
		return run.Run{}, run.ErrNotFound
	}
	if !f.Status.Valid() {
		return run.Run{}, &run.InvalidError{Field: "status", Rule: "must be one of the run statuses"}
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	return e.runs.Finish(ctx, environment, id, f)
}

// Ready returns nil while the engine takes triggers and at least one of its
// stores answers.
func (e *Engine) Ready(ctx context.Context) error {
	if e.redis.Available() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return e.runs.Ready(ctx)
}

// Close refuses new triggers, answers those that wait, ends their flights,
// finishes what is being drained and closes the stores, in that order. What is
// in the buffer stays there, for other nodes or the next start. When ctx ends
// first, whoever still waits is answered with run.ErrClosed, and Close returns
// the cause of ctx. Every further call returns what the first one did, when that is
// over. Nothing of the engine runs after it: no goroutine, no connection.
func (e *Engine) Close(ctx context.Context) error {
	e.closeOnce.Do(func() {
		e.closed = errors.Join(e.shards.Stop(ctx), e.drain.Stop(ctx))
		e.ring.Stop()
		e.stopLoops()
		e.loops.Wait()
		e.watch.Close()
		if e.announced.Load() {
			_ = e.board.Leave(ctx) // or the others see it fall silent
		}
		e.closed = errors.Join(e.closed, e.telemetry.Close())
		e.closeStores()
	})
	return e.closed
}

func (e *Engine) closeStores() {
	if e.overrides != nil {
		e.overrides.Close()
	}
	if e.redis != nil {
		_ = e.redis.Close() // nothing is under way any more
	}
	if e.runs != nil {
		e.runs.Close()
	}
}
