package fallback

import (
	"context"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// Runs reads many runs of an environment at once, each as [Reader.Run] answers
// it. One that is nowhere is not in the map. With an error the map has those
// that could be read all the same: what is not in it is then not known.
func (r *Reader) Runs(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	if environment == "" || len(ids) == 0 {
		return map[run.ID]run.Run{}, nil
	}
	began := r.Now()
	rows, failed := r.Rows.Runs(ctx, environment, ids)
	entries, hidden := r.entries(ctx, environment, withCanonicals(ids, rows)...)
	took := r.Now().Sub(began)

	if failed == nil {
		var again []run.ID
		for _, id := range ids {
			row, there := rows[id]
			own, buffered := entries[id]
			if there && r.behind(&row, entriesOf(entries, &row), hidden, took) ||
				!there && (!buffered || own.Status == buffer.Materialised) {
				again = append(again, id)
			}
		}
		if len(again) > 0 {
			var late map[run.ID]run.Run
			if late, failed = r.Rows.Runs(ctx, environment, again); failed == nil {
				for id, row := range late {
					rows[id] = row
				}
			}
		}
	}

	out := make(map[run.ID]run.Run, len(ids))
	for _, id := range ids {
		row, there := rows[id]
		own, buffered := entries[id]
		switch {
		case there:
			out[id] = laidOver(row, entriesOf(entries, &row))
		case buffered:
			out[id] = synthetic(&own, r.ancestry(ctx, &own))
		case hidden != nil && failed == nil:
			failed = hidden
		case failed == nil && r.Kept(environment, id):
			failed = r.unlessKept(environment, id, run.ErrNotFound)
		}
	}
	return out, failed
}

// withCanonicals are ids, and the runs that aliases among them stand for.
func withCanonicals(ids []run.ID, rows map[run.ID]run.Run) []run.ID {
	all := append(make([]run.ID, 0, len(ids)), ids...)
	for _, row := range rows {
		if row.Canonical != row.ID {
			all = append(all, row.Canonical)
		}
	}
	return all
}

// entriesOf are those that bear on one row.
func entriesOf(entries map[run.ID]buffer.Entry, row *run.Run) map[run.ID]buffer.Entry {
	own := make(map[run.ID]buffer.Entry, 2)
	for _, id := range [...]run.ID{row.ID, row.Canonical} {
		if e, ok := entries[id]; ok {
			own[id] = e
		}
	}
	return own
}
