package fallback

import (
	"slices"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// passes reports whether a run passes a filter, by the rules of a list of rows.
func passes(f *runstore.Filter, r *run.Run) bool {
	t := &r.Trigger
	switch {
	case !among(f.Statuses, r.Status),
		!among(f.Tasks, t.Task),
		!among(f.Versions, t.LockToVersion),
		!among(f.Regions, t.Region),
		!among(f.Queues, t.Queue),
		!among(f.Machines, t.Machine),
		f.Test != nil && *f.Test != t.Test,
		!f.From.IsZero() && run.InstantOf(r.CreatedAt) < run.InstantOf(f.From),
		!f.To.IsZero() && run.InstantOf(r.CreatedAt) > run.InstantOf(f.To),
		f.Batch != "" && f.Batch != t.BatchItem.Batch,
		f.BulkAction != "" && f.BulkAction != t.BulkAction:
		return false
	}
	if len(f.Tags) == 0 {
		return true
	}
	return slices.ContainsFunc(t.Tags, func(tag string) bool { return slices.Contains(f.Tags, tag) })
}

// among: an empty list allows everything.
func among[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }
