package fallback

import (
	"context"
	"errors"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/run"
)

// CancelBuffered cancels a run only while the buffer alone has it: it stays there, shown
// as CANCELED, and is written as such when it is drained. A run that has a row, or may
// have one because a drain works on it and Postgres gives no answer, is left as it is,
// as is one that has ended. It reports whether it cancelled. Between the look for a row
// and the patch a drain may write one, and a worker take the run: then it is cancelled
// as anybody could cancel it then. Errors are those of the buffer.
func (r *Reader) CancelBuffered(ctx context.Context, environment string, id run.ID, reason string) (cancelled bool, err error) {
	looked := false
	for {
		_, outcome, err := r.Entries.Patch(ctx, buffer.Ref{Environment: environment, ID: id}, func(e *buffer.Entry) (run.Patch, error) {
			if e.Status != buffer.Queued && !looked {
				return run.Patch{}, errLook
			}
			p := patched(e)
			patch := p.Cancel(e.Now, reason)
			cancelled = !patch.Empty()
			return patch, nil
		})
		if !errors.Is(err, errLook) {
			return cancelled && err == nil && outcome == buffer.Applied, err
		}
		if _, err := one(ctx, r.Rows, environment, id); !errors.Is(err, run.ErrNotFound) {
			return false, nil
		}
		looked = true
	}
}
