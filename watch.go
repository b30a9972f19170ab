package mollifier

import (
	"context"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/watch"
)

// Watcher tells what became of runs since somebody looked last, wherever they
// are; see package watch. It ends with the engine.
func (e *Engine) Watcher() *watch.Hub { return e.watch }

// watched is what the hub looks at: runs wherever they are, whole or in outline.
type watched struct{ outlines, whole *fallback.Reader }

func newWatched(e *Engine) watched {
	return watched{
		outlines: fallback.New(fallback.Config{Rows: runstore.Outlines{Store: e.runs}, Entries: e.buffer}),
		whole:    e.reader,
	}
}

// Outlines implements [watch.Source].
func (w watched) Outlines(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	return w.outlines.Runs(ctx, environment, ids)
}

// Runs implements [watch.Source].
func (w watched) Runs(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	return w.whole.Runs(ctx, environment, ids)
}

// List implements [watch.Source]. Without the buffer it has the rows: what it
// lacks is found again when the buffer answers.
func (w watched) List(ctx context.Context, environment string, f runstore.Filter, p runstore.Page) ([]run.Run, run.ID, error) {
	found, err := w.outlines.List(ctx, environment, f, p)
	return found.Runs, found.Next, err
}
