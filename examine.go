package mollifier

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// examineEvery is how soon a setting of Redis is noticed that was changed while this
// node runs.
const examineEvery = 5 * time.Second

// examine asks Redis until ctx ends whether it can still be used. While it may evict,
// what is put into the buffer could vanish after it was acknowledged: nothing is put
// there, triggers pass, and while Postgres can not take them they are refused. What is in
// the buffer is drained as ever, and what vanishes of this node's is put back by its ring.
func (e *Engine) examine(ctx context.Context) {
	tick := time.NewTicker(examineEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		e.examineOnce(ctx)
	}
}

func (e *Engine) examineOnce(ctx context.Context) {
	was := e.redis.Unfit()
	err := e.redis.Examine(ctx)
	if errors.Is(err, run.ErrUnavailable) {
		return // others find out, and say so
	}
	e.gate.SetUnfit(err != nil)
	switch {
	case err != nil && was == nil:
		e.cfg.Logger.Error("redis can not be used as a buffer any more; triggers pass to postgres until it can", slog.Any("error", err))
	case err == nil && was != nil:
		e.cfg.Logger.Warn("redis can be used as a buffer again")
	}
}

// Unfit returns why nothing is put into the buffer now although Redis answers: a setting
// of Redis that a person must change, named; nil while there is none.
func (e *Engine) Unfit() error { return e.redis.Unfit() }
