package fallback

import (
	"context"
	"errors"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

// Config is what a [Reader] works with.
type Config struct {
	Rows    Rows    // required
	Entries Entries // required
	Records Records // for [Reader.Key]; nil: keys are looked up in Postgres alone
	// Replica is asked before the primary for a run by its id. Nil: there is none.
	Replica Replica
	// Partitions of the deployment; required with Records.
	Partitions int
	// Patience is how long the first look into Postgres may take before the
	// buffer is asked without it, and the look at a leased run's row before its
	// change goes on without it. Default 1 s.
	Patience time.Duration
	// Buffers says whether runs of an organisation are ever buffered. Nil: all are.
	Buffers func(organisation string) bool
	// Kept says, from memory, that a run was acknowledged here and may be nowhere for
	// a moment, because Redis lost it: it is then unavailable, not unknown. Nil: none is.
	Kept func(environment string, id run.ID) bool
	// Now is the node's clock, used for spans only. Default time.Now.
	Now func() time.Time
}

// Reader answers for runs wherever they are, and changes them. Its methods are
// safe for concurrent use.
type Reader struct{ Config }

// New returns a reader. It panics without Rows or Entries.
func New(c Config) *Reader {
	if c.Rows == nil || c.Entries == nil {
		panic("fallback: Config.Rows and Config.Entries are required")
	}
	if c.Patience == 0 {
		c.Patience = time.Second
	}
	if c.Buffers == nil {
		c.Buffers = func(string) bool { return true }
	}
	if c.Kept == nil {
		c.Kept = func(string, run.ID) bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Reader{c}
}

// Run reads a run by any id that was ever handed out for it. The result's ID is
// the id that was asked for, and Canonical the run that executes: everything
// else is that one's. Errors: run.ErrNotFound, also for a run of another
// environment; run.ErrUnavailable if a store that may hold it gave no answer.
func (r *Reader) Run(ctx context.Context, environment string, id run.ID) (run.Run, error) {
	if environment == "" || id.IsZero() {
		return run.Run{}, run.ErrNotFound
	}
	began := r.Now()
	row, rowErr := r.firstLook(ctx, environment, id)
	entries, hidden := r.entries(ctx, environment, id, row.Canonical)
	if rowErr == nil {
		if !r.behind(&row, entries, hidden, r.Now().Sub(began)) {
			return laidOver(row, entries), nil
		}
		last, err := one(ctx, r.Rows, environment, id)
		if err != nil {
			return run.Run{}, err
		}
		return laidOver(last, entries), nil
	}
	own, buffered := entries[id]
	again := r.Replica != nil || errors.Is(rowErr, run.ErrNotFound) // else the primary was just asked in vain
	if again && !mutant.On("no-last-look-at-postgres") && (!buffered || own.Status == buffer.Materialised || own.Status != buffer.Queued && r.Replica != nil) {
		last, err := one(ctx, r.Rows, environment, id)
		if err == nil {
			if last.Canonical != id {
				entries, _ = r.entries(ctx, environment, id, last.Canonical)
			}
			return laidOver(last, entries), nil
		}
		rowErr = err
	}
	switch {
	case buffered && (own.Status != buffer.Materialised || errors.Is(rowErr, run.ErrNotFound)):
		return synthetic(&own, r.ancestry(ctx, &own)), nil
	case hidden != nil && errors.Is(rowErr, run.ErrNotFound) && !mutant.On("hidden-is-not-found"):
		return run.Run{}, hidden
	}
	return run.Run{}, r.unlessKept(environment, id, rowErr)
}

// unlessKept is an error of a run that neither store has, if that is what err says.
func (r *Reader) unlessKept(environment string, id run.ID, err error) error {
	if errors.Is(err, run.ErrNotFound) && r.Kept(environment, id) {
		return &run.RefusedError{Reason: run.ErrUnavailable, Part: "redis", RetryAfter: time.Second, Err: errLost}
	}
	return err
}

// errLost is a run that Redis has lost and that is about to be put back.
var errLost = errors.New("the run is being put back")

// firstLook reads the row that any Postgres has, while patience lasts.
func (r *Reader) firstLook(ctx context.Context, environment string, id run.ID) (run.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	if r.Replica != nil {
		return one(ctx, r.Replica, environment, id)
	}
	return one(ctx, r.Rows, environment, id)
}

// one reads one row.
func one(ctx context.Context, rows Replica, environment string, id run.ID) (run.Run, error) {
	found, err := rows.Runs(ctx, environment, []run.ID{id})
	if err != nil {
		return run.Run{}, err
	}
	row, ok := found[id]
	if !ok {
		return run.Run{}, run.ErrNotFound
	}
	return row, nil
}

// entries reads entries. One that is not of this
// environment or run, whatever put it there, is not there. The error is that of
// an entry that could not be read; the others are in the map.
func (r *Reader) entries(ctx context.Context, environment string, ids ...run.ID) (map[run.ID]buffer.Entry, error) {
	refs := make([]buffer.Ref, 0, len(ids))
	for i, id := range ids {
		if !id.IsZero() && !(i > 0 && id == ids[0]) {
			refs = append(refs, buffer.Ref{Environment: environment, ID: id})
		}
	}
	entries := make(map[run.ID]buffer.Entry, len(refs))
	var hidden error
	for i, got := range r.Entries.Get(ctx, refs) {
		switch {
		case got.Err != nil:
			hidden = unavailable(got.Err)
		case got.Found && is(&got.Entry, environment, refs[i].ID):
			entries[refs[i].ID] = got.Entry
		}
	}
	return entries, hidden
}

// is reports whether an entry is what it was found as.
func is(e *buffer.Entry, environment string, id run.ID) bool {
	return e.Snapshot.ID == id && e.Snapshot.Trigger.Environment == environment || mutant.On("foreign-entry-is-shown")
}

// behind reports whether a row may lack patches that were acknowledged before
// it was read and that the entries do not tell of any more.
func (r *Reader) behind(row *run.Run, entries map[run.ID]buffer.Entry, hidden error, took time.Duration) bool {
	for _, e := range entries {
		if e.Status == buffer.Materialised && len(e.Patches) > 0 {
			return true
		}
	}
	_, there := entries[row.Canonical]
	return hidden == nil && !there && took > buffer.Grace/2
}

// laidOver is the row with what its entries know better.
func laidOver(row run.Run, entries map[run.ID]buffer.Entry) run.Run {
	if e, ok := entries[row.Canonical]; ok {
		row = overlay(row, &e, false)
	}
	if e, ok := entries[row.ID]; ok && row.ID != row.Canonical {
		row = overlay(row, &e, true)
	}
	return row
}

// unavailable is what a buffer that gave no answer means to who asked. An entry
// that can not be read is one, too: it is there.
func unavailable(err error) error {
	if errors.Is(err, run.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &run.RefusedError{Reason: run.ErrUnavailable, Part: "redis", Err: err}
}
