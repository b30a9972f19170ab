package mollifier

import (
	"context"
	"time"
)

// SpendToken takes a token that may be used once for one use; both are named by
// their SHA-256. It answers nil for that use, as often and on as many nodes as it
// is asked, and run.ErrConflict for every other use, until the given time.
// Whoever repeats a call after its answer was lost names the same use, and gets
// the run of the first one.
//
// Postgres alone remembers it: what Redis loses in a failover would be a second
// use. So while Postgres does not answer no such token can be used, and the error
// is run.ErrUnavailable: then the token may be spent on this use.
func (e *Engine) SpendToken(ctx context.Context, environment string, token, use [32]byte, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.postgresBudget())
	defer cancel()
	return e.runs.Spend(ctx, environment, token, use, until)
}

// BindToken notes which batch a token that may be used once, and was, has opened: its
// items come under the same token. It may be repeated; the first batch stays.
func (e *Engine) BindToken(ctx context.Context, environment string, token [32]byte, batch string) error {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.runs.BindToken(ctx, environment, token, batch)
}

// TokenOpened reports whether a token that may be used once has opened the batch.
func (e *Engine) TokenOpened(ctx context.Context, environment string, token [32]byte, batch string) (bool, error) {
	ctx, cancel := e.inTime(ctx)
	defer cancel()
	return e.runs.TokenOpened(ctx, environment, token, batch)
}
