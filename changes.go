package mollifier

import (
	"context"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/shard"
)

// The changes of a run work wherever it is, in the buffer or in Postgres, and
// the caller can not tell the difference. Their errors: run.ErrNotFound, also
// for another environment's run; run.ErrInvalid; run.ErrConflict where the
// run's status does not allow the change; run.ErrUnavailable, after which the
// change may have taken effect and may be repeated.

// Run reads one run of an environment by any id that was ever handed out for
// it, wherever it is. A run of another environment is run.ErrNotFound, as is an
// id that does not exist; run.ErrUnavailable means that nobody knows.
func (e *Engine) Run(ctx context.Context, environment string, id run.ID) (run.Run, error) {
	if id.IsZero() || environment == "" {
		return run.Run{}, run.ErrNotFound
	}
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.Run(ctx, environment, id)
}

// inTime bounds what a caller waits for besides its own context: a server that
// hangs keeps no statement timeout of its own.
func (e *Engine) inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.cfg.postgresBudget())
}

// Filter narrows a list of runs; see [runstore.Filter].
type Filter = runstore.Filter

// Page says which part of a list is wanted; see [runstore.Page].
type Page = runstore.Page

// Runs is a part of a list; see [fallback.Page].
type Runs = fallback.Page

// List reads a part of an environment's runs, the newest first, wherever they are.
func (e *Engine) List(ctx context.Context, environment string, f Filter, p Page) (Runs, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.List(ctx, environment, f, p)
}

// Children reads the runs that were triggered in a run; see [fallback.Reader.Children].
func (e *Engine) Children(ctx context.Context, environment string, names ...run.ID) (children []run.Run, partial bool, err error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.Children(ctx, environment, names...)
}

// Cancel cancels a run. One that has ended stays as it is and is answered so.
func (e *Engine) Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.Cancel(ctx, environment, id, reason)
}

// AddTags adds tags to a run's set, all or none, and says how many were new.
func (e *Engine) AddTags(ctx context.Context, environment string, id run.ID, tags []string) (run.Run, int, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.AddTags(ctx, environment, id, tags)
}

// SetMetadata replaces a run's metadata or applies operations to it.
func (e *Engine) SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.SetMetadata(ctx, environment, id, c)
}

// Reschedule moves the delay of a DELAYED run.
func (e *Engine) Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.reader.Reschedule(ctx, environment, id, until)
}

// Replay triggers again what a run did, whatever became of it, as a new run
// without the old one's key. edit may change the trigger before; its error ends
// the replay. It may be nil.
func (e *Engine) Replay(ctx context.Context, environment string, id run.ID, edit func(*run.Trigger) error) (run.Result, error) {
	t, err := e.reader.Replay(ctx, environment, id)
	if err != nil {
		return run.Result{}, err
	}
	if edit != nil {
		if err := edit(&t); err != nil {
			return run.Result{}, err
		}
	}
	return e.Trigger(ctx, t)
}

// Reset ends the interval of an idempotency key on every node at once: the
// next trigger of the key makes a new run. It returns the id of the run that
// held the key, or run.ErrNotFound when none did. For an enrolled organisation
// it needs both stores; run.ErrUnavailable means that it may have taken effect
// in part, and is safe to repeat.
func (e *Engine) Reset(ctx context.Context, r run.ResetRequest) (run.ID, error) {
	t := run.Trigger{Organisation: r.Organisation, Environment: r.Environment, Task: r.Task, IdempotencyKey: r.IdempotencyKey}
	if err := t.Validate(); err != nil {
		return run.ID{}, err
	}
	key := t.Key()
	if key.Kind != run.KindIdempotency {
		return run.ID{}, &run.InvalidError{Field: "idempotencyKey", Rule: "must not be empty"}
	}
	hash, enrolled := key.Hash(), e.enrolment.claims(r.Organisation)
	partition := shard.Partition(key, e.cfg.Partitions)
	var cut run.Instant // zero: Postgres's clock
	var err error
	if enrolled {
		if cut, err = e.claims.Clock(ctx, partition, hash); err != nil {
			return run.ID{}, err
		}
	}
	inTime, cancel := e.inTime(ctx)
	defer cancel()
	cut, cleared, err := e.runs.Reset(inTime, r.Environment, hash, cut)
	if err != nil {
		return run.ID{}, err
	}
	if enrolled {
		if cleared, err = e.lift(ctx, r.Environment, partition, hash, cut, cleared); err != nil {
			return run.ID{}, err
		}
	}
	if cleared.IsZero() {
		return run.ID{}, run.ErrNotFound
	}
	return cleared, nil
}

// lift is the last step of a reset: it ends what Redis still knows of the key
// from before the cut, and answers the run that lost it, whichever store knew.
func (e *Engine) lift(
	ctx context.Context, environment string, partition int, hash run.Hash, cut run.Instant, cleared run.ID,
) (run.ID, error) {
	found, err := e.claims.Reset(ctx, partition, hash, cut)
	switch {
	case err != nil:
		return run.ID{}, err
	case !cleared.IsZero():
		return cleared, nil
	case found.Run.IsZero() || !found.Published:
		return found.Run, nil
	}
	// It may have been drained since Postgres was asked: then its interval was
	// written to end at this cut. One that had ended before ends elsewhere.
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	rows, err := e.runs.Runs(ctx, environment, []run.ID{found.Run})
	if err != nil {
		return run.ID{}, err
	}
	if row, ok := rows[found.Run]; ok && run.InstantOf(row.KeyUntil) == cut && !row.Status.ClearsKey() {
		return found.Run, nil
	}
	return run.ID{}, nil
}
