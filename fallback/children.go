package fallback

import (
	"context"
	"slices"
	"strings"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// MaxChildren is the most runs that [Reader.Children] answers, and the most entries of
// the buffer that it looks at.
const MaxChildren = 100

// Children reads the runs that were triggered in a run, the newest first, which is
// named by any of its ids: as they are shown beside it, without payload and output.
// partial says that there may be more: of rows the newest MaxChildren are read, and
// of the environment's buffer the newest MaxChildren entries are looked at, for it has
// no index by parent; or that the buffer gave no answer. The error is
// run.ErrUnavailable without Postgres.
func (r *Reader) Children(ctx context.Context, environment string, names ...run.ID) (children []run.Run, partial bool, err error) {
	// As for a list the buffer comes first: what has left it by then has its row.
	ids, hidden := r.Entries.List(ctx, environment, buffer.Page{Limit: MaxChildren})
	entries := map[run.ID]buffer.Entry{}
	if len(ids) > 0 {
		var lost error
		if entries, lost = r.entries(ctx, environment, ids...); lost != nil {
			hidden = lost
		}
	}
	rows, err := r.Rows.Children(ctx, environment, names, MaxChildren)
	if err != nil {
		return nil, false, err
	}
	listed := make(map[run.ID]bool, len(rows))
	for i := range rows {
		id := rows[i].ID
		listed[id] = true
		if e, buffered := entries[id]; buffered {
			rows[i] = overlay(rows[i], &e, false)
		}
	}
	children = rows
	for id, e := range entries {
		if listed[id] || e.Status == buffer.Materialised || !slices.Contains(names, e.Snapshot.Trigger.ParentRun) {
			continue
		}
		child, err := r.Run(ctx, environment, id) // its row, if it has one behind those that are listed
		switch {
		case err != nil:
			hidden = err
		case child.Canonical == id:
			children = append(children, child)
		}
	}
	slices.SortFunc(children, func(a, b run.Run) int { return strings.Compare(b.ID.String(), a.ID.String()) })
	partial = hidden != nil || len(ids) == MaxChildren || len(rows) == MaxChildren || len(children) > MaxChildren
	return children[:min(len(children), MaxChildren)], partial, nil
}
