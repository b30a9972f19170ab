package mollifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Tx is pgx.Tx: what a [Hook] writes with.
type Tx = runstore.Tx

// Hook receives runs as they land; see [Config.OnMaterialised]. tx
// can be neither committed nor rolled back.
type Hook = runstore.Hook

var errHookPanicked = errors.New("recovered from a panic")

// hook is Config.OnMaterialised, whose panic is an error of the runs it was given.
func (e *Engine) hook() Hook {
	call := e.cfg.OnMaterialised
	if call == nil {
		return nil
	}
	return func(ctx context.Context, tx Tx, runs []run.Landed) (err error) {
		defer func() {
			if p := recover(); p != nil {
				e.cfg.Logger.Error("panic in Config.OnMaterialised",
					slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
				err = errHookPanicked
			}
		}()
		return call(ctx, tx, runs)
	}
}
