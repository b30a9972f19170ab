package runstore

import (
	"context"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	outlineSQL     = statementOf("runs", "outline")
	outlineListSQL = listOf("outline")
)

// Outlines is a store whose reads leave out the customer's bytes: payload,
// metadata, context, output and error are empty, everything else is there. It is
// for who looks often at many runs, and wants to know only whether they changed.
type Outlines struct{ *Store }

// Runs is as [Store.Runs], in outline.
func (o Outlines) Runs(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	return o.runs(ctx, outlineSQL, environment, ids)
}

// List is as [Store.List], in outline.
func (o Outlines) List(ctx context.Context, environment string, f Filter, p Page) ([]run.Run, error) {
	return o.list(ctx, &outlineListSQL, environment, f, p)
}
