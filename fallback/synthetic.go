package fallback

import (
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// synthetic is the run as its row is going to be. That its ttl has passed shows
// only once it is materialised: until then its row may be there already, and
// with a worker.
func synthetic(e *buffer.Entry, a ancestry) run.Run {
	p := patched(e)
	t := p.Trigger
	t.DelayUntil = sane(t.DelayUntil)
	t.TTL, t.Priority = e.Snapshot.Trigger.TTL.Truncate(time.Microsecond), t.Priority.Truncate(time.Microsecond)
	if len(t.Tags) == 0 {
		t.Tags = nil
	}
	r := run.Run{
		ID: p.ID, Canonical: p.ID, Trigger: t, Status: p.Status(e.Now),
		CreatedAt: moment(p.AcceptedAt), UpdatedAt: moment(p.UpdatedAt), KeyUntil: moment(p.KeyUntil),
		RootRun: a.root, Depth: a.depth,
		PayloadHash: p.PayloadHash, RequestHash: p.RequestHash,
	}
	switch {
	case t.Failed != nil:
		r.Error, r.FinishedAt = t.Failed, r.CreatedAt
	case p.Cancelled != nil:
		r.Error, r.FinishedAt = p.Cancelled.Failure(), moment(p.CancelledAt)
	}
	return r
}

// patched is the entry with its patches applied, without its ttl: whether a run
// has expired is decided where it is materialised, not here.
func patched(e *buffer.Entry) run.Patched {
	p := e.Snapshot.Apply(e.Patches...)
	p.Trigger.TTL = 0
	if sane(p.Trigger.DelayUntil).IsZero() {
		p.Trigger.DelayUntil = time.Time{}
	}
	return p
}

// moment is an instant, or no time if nothing happened then or no date is that far.
func moment(i run.Instant) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return sane(i.Time())
}

// sane is t in whole microseconds, as the stores keep it, or no time if it is
// none that can be written as a date.
func sane(t time.Time) time.Time {
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return run.InstantOf(t).Time()
}

// overlay lays what the run's owner changed in its entry over its row. alias
// says that the entry is that of another name of the run: its tags and its
// cancellation reach the run, its metadata and delay do not.
func overlay(r run.Run, e *buffer.Entry, alias bool) run.Run {
	if e.Status == buffer.Materialised || len(e.Patches) == 0 {
		return r
	}
	patches := run.InOrder(e.Patches)
	news := run.Snapshot{Trigger: run.Trigger{Tags: r.Trigger.Tags}}
	p := news.Apply(patches...)
	r.Trigger.Tags = p.Trigger.Tags
	if at := moment(p.UpdatedAt); at.After(r.UpdatedAt) {
		r.UpdatedAt = at
	}
	if !alias {
		for i := range patches {
			patch := &patches[i]
			if m := patch.Metadata; m != nil {
				r.Trigger.Metadata, r.Trigger.MetadataType = m.Bytes, m.Type
			}
			if d := moment(patch.Delay); !d.IsZero() && r.Status == run.Delayed {
				r.Trigger.DelayUntil = d
				if patch.Delay <= e.Now {
					r.Status = run.Queued
				}
			}
		}
	}
	if p.Cancelled != nil && !r.Status.Final() {
		r.Status, r.Error, r.FinishedAt = run.Canceled, p.Cancelled.Failure(), moment(p.CancelledAt)
	}
	return r
}
