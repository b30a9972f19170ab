package main

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
)

const (
	// askEvery is how often the stores are asked past the links, and stalled how long
	// an answer takes on a machine that is too busy for the nodes' deadlines.
	askEvery = 20 * time.Millisecond
	stalled  = 120 * time.Millisecond
)

// stalls watches whether the machine itself keeps up: errors at instants at which a
// store took long to answer a trivial question, or nobody got to ask, are not put down
// to the program. It returns, once ctx ends, when that was.
func stalls(ctx context.Context, c *cluster.Cluster, now func() int64) func() []history.Window {
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		found []history.Window
	)
	watch := func(ask func()) {
		before := now()
		for cluster.Wait(ctx, askEvery) == nil {
			ask()
			at := now()
			if at-before > int64(askEvery+stalled) {
				mu.Lock()
				found = append(found, history.Window{From: before - int64(stalled), To: at})
				mu.Unlock()
			}
			before = at
		}
	}
	wait.Go(func() {
		watch(func() { _ = c.RedisDo(ctx, "SET", "chaos:stall", 1, "PX", 1000) }) // how long it took is all that is asked
	})
	wait.Go(func() {
		var conn *pgx.Conn
		watch(func() {
			if conn == nil {
				conn, _ = c.Connect(ctx) // it may be down: the next question will do
			}
			if conn == nil {
				return
			}
			if _, err := conn.Exec(ctx, "select pg_logical_emit_message(false, 'chaos', '')"); err != nil {
				_ = conn.Close(context.WithoutCancel(ctx)) // it is broken
				conn = nil
			}
		})
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // nothing was written
		}
	})
	return func() []history.Window {
		wait.Wait()
		return found
	}
}
