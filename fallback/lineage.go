package fallback

import (
	"context"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// Lineages says where runs stand that are triggered now and name these parents,
// each named once: below the nearest ancestor that the buffer does not hold, or
// the root above the parent if the buffer holds them all. A parent that is not in the map
// has them right below itself, wherever it is; also if the buffer gives no
// answer while patience lasts. See "The lineage of a run" in the package's text.
func (r *Reader) Lineages(ctx context.Context, environment string, parents []run.ID) map[run.ID]run.Lineage {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	entries, _ := r.entries(ctx, environment, parents...)
	below := make(map[run.ID]run.Lineage, len(entries))
	for parent, e := range entries {
		if l := lineageOf(&e); e.Status != buffer.Materialised && !l.Ancestor.IsZero() {
			l.Distance++
			below[parent] = l
		}
	}
	return below
}

// lineageOf is where an entry's run stands.
func lineageOf(e *buffer.Entry) run.Lineage {
	return e.Snapshot.Lineage.Of(e.Snapshot.Trigger.ParentRun)
}

// ancestry is what a run's row takes from its ancestor.
type ancestry struct {
	root  run.ID
	depth int
}

// ancestryOf is what a row takes from its ancestor, which may have no row.
func ancestryOf(l run.Lineage, row run.Run, found bool) ancestry {
	switch {
	case l.Ancestor.IsZero():
		return ancestry{}
	case !found:
		return ancestry{l.Ancestor, l.Distance}
	case !row.RootRun.IsZero():
		return ancestry{row.RootRun, row.Depth + l.Distance}
	}
	return ancestry{row.Canonical, row.Depth + l.Distance}
}

// ancestry is what the entry's row is going to take from its ancestor. One that
// can not be read now counts as one without a row.
func (r *Reader) ancestry(ctx context.Context, e *buffer.Entry) ancestry {
	stands := lineageOf(e)
	if stands.Ancestor.IsZero() {
		return ancestry{}
	}
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	row, err := one(ctx, r.Rows, e.Snapshot.Trigger.Environment, stands.Ancestor)
	return ancestryOf(stands, row, err == nil)
}
