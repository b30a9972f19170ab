package fallback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

// Cancel cancels a run. One that has ended already stays as it is and is
// answered as it is. The reason is cut to run.MaxReason bytes; it may be empty.
//
// Errors of all changes: run.ErrNotFound, run.ErrInvalid, run.ErrConflict where
// the run's status does not allow the change, and run.ErrUnavailable, after
// which the change may have taken effect. An ID of the answered run is the one
// that was asked for.
func (r *Reader) Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error) {
	return r.change(ctx, environment, id, change{
		entry: func(p *run.Patched, at run.Instant) (run.Patch, error) { return p.Cancel(at, reason), nil },
		row: func(ctx context.Context, id run.ID) (run.Run, error) {
			return r.Rows.Cancel(ctx, environment, id, reason)
		},
		settled: func(row *run.Run) (bool, error) { return row.Status.Final(), nil },
		grows:   true,
	})
}

// AddTags adds tags to a run's set and says how many of them it did not have
// before. All or none: one that is not a tag, or more than run.MaxTags in total,
// is an [*run.InvalidError]. The number is what this call saw; of calls at the
// same time with the same tag, each may count it.
func (r *Reader) AddTags(ctx context.Context, environment string, id run.ID, tags []string) (run.Run, int, error) {
	added := 0
	count := func(have []string) error {
		missing, err := run.NewTags(have, tags)
		added = len(missing)
		return err
	}
	changed, err := r.change(ctx, environment, id, change{
		entry: func(p *run.Patched, at run.Instant) (run.Patch, error) {
			patch, err := p.Tag(at, tags)
			added = len(patch.AddTags)
			return patch, err
		},
		row: func(ctx context.Context, id run.ID) (run.Run, error) {
			return r.Rows.AddTags(ctx, environment, id, tags)
		},
		settled: func(*run.Run) (bool, error) { return false, nil },
		before:  func(row *run.Run) error { return count(row.Trigger.Tags) },
		grows:   true,
	})
	if err != nil {
		return run.Run{}, 0, err
	}
	return changed, added, nil
}

// SetMetadata replaces a run's metadata or applies operations to it; no change
// made at the same time is overwritten by operations that did not see it. A run
// that has ended is run.ErrConflict; see [run.MetadataChange] for what else is
// refused.
func (r *Reader) SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error) {
	return r.change(ctx, environment, id, change{
		entry: func(p *run.Patched, at run.Instant) (run.Patch, error) { return p.SetMetadata(at, c) },
		row: func(ctx context.Context, id run.ID) (run.Run, error) {
			return r.Rows.SetMetadata(ctx, environment, id, c)
		},
		settled: func(row *run.Run) (bool, error) {
			if row.Status.Final() {
				return false, fmt.Errorf("the metadata of a run that is %s can not change: %w", row.Status, run.ErrConflict)
			}
			return false, nil
		},
	})
}

// Reschedule moves the delay of a run. One that is not DELAYED is run.ErrConflict.
func (r *Reader) Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error) {
	return r.change(ctx, environment, id, change{
		entry: func(p *run.Patched, at run.Instant) (run.Patch, error) { return p.Reschedule(at, until) },
		row: func(ctx context.Context, id run.ID) (run.Run, error) {
			return r.Rows.Reschedule(ctx, environment, id, until)
		},
		settled: func(row *run.Run) (bool, error) {
			if row.Status != run.Delayed {
				return false, fmt.Errorf("a run that is %s can not be rescheduled: %w", row.Status, run.ErrConflict)
			}
			return false, nil
		},
	})
}

// change is one change, in the forms that it takes.
type change struct {
	entry func(p *run.Patched, at run.Instant) (run.Patch, error)
	row   func(ctx context.Context, id run.ID) (run.Run, error)
	// settled judges the change by the status of a row whose entry is leased:
	// that there is nothing to do, or that it is refused.
	settled func(*run.Run) (done bool, err error)
	// before looks at a row that is about to be changed. May be nil.
	before func(*run.Run) error
	// grows: no patch that is still on its way can undo it.
	grows bool
}

// errLook ends a patch whose entry says too little.
var errLook = errors.New("the row has to be looked at")

// maxHops is how many names of a run are followed: an alias and its run, and
// one more look at each for a row that appears in between.
const maxHops = 4

func (r *Reader) change(ctx context.Context, environment string, id run.ID, c change) (run.Run, error) {
	if environment == "" || id.IsZero() {
		return run.Run{}, run.ErrNotFound
	}
	name := id // whose turn it is: id, then the run that it stands for
	for range maxHops {
		changed, next, err := r.changeOne(ctx, environment, name, c)
		if err != nil {
			return run.Run{}, err
		}
		if next.IsZero() {
			changed.ID = id
			return changed, nil
		}
		name = next
	}
	return run.Run{}, &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres", Err: errors.New("aliases of aliases")}
}

// changeOne makes the change where the run of that very name is. next is the run
// that the name stands for, if the change is that one's.
func (r *Reader) changeOne(ctx context.Context, environment string, id run.ID, c change) (changed run.Run, next run.ID, err error) {
	var row *run.Run // if the entry is leased and it has one
	looked := false
	for {
		ref := buffer.Ref{Environment: environment, ID: id}
		entry, outcome, err := r.Entries.Patch(ctx, ref, func(e *buffer.Entry) (run.Patch, error) {
			switch {
			case !is(e, environment, id):
				return run.Patch{}, run.ErrNotFound
			case e.Status != buffer.Queued && !looked && !mutant.On("changes-without-the-row"):
				return run.Patch{}, errLook
			case row != nil:
				if done, err := c.settled(row); done || err != nil {
					return run.Patch{}, err
				}
			}
			p := patched(e)
			return c.entry(&p, e.Now)
		})
		switch {
		case errors.Is(err, errLook):
			looked = true
			if row, next = r.glance(ctx, environment, id); !next.IsZero() {
				return run.Run{}, next, nil
			}
		case errors.Is(err, run.ErrUnavailable):
			return r.changeBlind(ctx, environment, id, c, err)
		case errors.Is(err, run.ErrUnknownVersion):
			return run.Run{}, run.ID{}, unavailable(err) // it is there, and another build's to change
		case err != nil:
			return run.Run{}, run.ID{}, err
		case outcome == buffer.Applied && row != nil:
			return overlay(*row, &entry, false), run.ID{}, nil
		case outcome == buffer.Applied:
			return synthetic(&entry, r.ancestry(ctx, &entry)), run.ID{}, nil
		default:
			return r.changeRow(ctx, environment, id, c, outcome)
		}
	}
}

// glance looks for the row of a leased entry, while patience lasts. If there is
// none, or nobody can tell, the entry alone decides.
func (r *Reader) glance(ctx context.Context, environment string, id run.ID) (row *run.Run, next run.ID) {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	switch found, err := one(ctx, r.Rows, environment, id); {
	case err != nil:
		return nil, run.ID{}
	case found.Canonical != id:
		return nil, found.Canonical
	default:
		return &found, run.ID{}
	}
}

// changeRow makes the change in Postgres, where everything else of the run is.
func (r *Reader) changeRow(ctx context.Context, environment string, id run.ID, c change, outcome buffer.Outcome) (run.Run, run.ID, error) {
	row, err := one(ctx, r.Rows, environment, id)
	switch {
	case errors.Is(err, run.ErrNotFound) && outcome == buffer.InPostgres:
		// Postgres lost what it had committed. The entry is drained again.
		return run.Run{}, run.ID{}, &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres", Err: err}
	case err != nil:
		return run.Run{}, run.ID{}, r.unlessKept(environment, id, err)
	case row.Canonical != id:
		return run.Run{}, row.Canonical, nil
	}
	if c.before != nil {
		if err := c.before(&row); err != nil {
			return run.Run{}, run.ID{}, err
		}
	}
	changed, err := c.row(ctx, id)
	return changed, run.ID{}, err
}

// changeBlind makes a change that the buffer did not answer to.
func (r *Reader) changeBlind(ctx context.Context, environment string, id run.ID, c change, hidden error) (run.Run, run.ID, error) {
	row, err := one(ctx, r.Rows, environment, id)
	if err != nil {
		return run.Run{}, run.ID{}, hidden
	}
	if done, err := c.settled(&row); done || err != nil {
		return row, run.ID{}, err
	}
	if !c.grows && r.Buffers(row.Trigger.Organisation) && !mutant.On("changes-past-the-buffer") {
		return run.Run{}, run.ID{}, hidden
	}
	if c.before != nil {
		if err := c.before(&row); err != nil {
			return run.Run{}, run.ID{}, err
		}
	}
	changed, err := c.row(ctx, id)
	return changed, run.ID{}, err
}
