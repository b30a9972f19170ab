package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
	"github.com/e0ff5a15/mollifier/test/chaos/load"
)

// backlog compares how fast a full buffer drains when all was well all the time, and
// after an outage of Postgres; and sees that the outage cost no attempt, failed no run
// and lost none, and that another environment does not wait behind the backlog.
func backlog(ctx context.Context, s settings, out io.Writer) (err error) {
	dir := filepath.Join(s.dir, "backlog")
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Program: s.program, Nodes: s.nodes, Flags: nodeFlags, AOF: s.aof})
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, c.Close()); err == nil {
			err = os.RemoveAll(dir)
		}
	}()
	record, err := history.NewRecorder(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		return err
	}
	defer record.Close()
	l := &load.Load{Cluster: c, Record: record, Task: "backlog", Keys: 1, Epoch: time.Hour}
	for _, e := range c.Nodes[0].Info().Environments {
		l.Envs = append(l.Envs, load.Env{ID: e.ID, Key: e.Key})
	}
	l.Open()
	defer l.Close()

	// All is well: the gate is told to mollify, and nobody drains until it is full.
	if err := drainOn(ctx, c, false); err != nil {
		return err
	}
	if err := force(ctx, c, l.Envs[0].ID); err != nil {
		return err
	}
	filled := time.Now()
	if err := fill(ctx, l, s.backlog); err != nil {
		return err
	}
	fmt.Fprintf(out, "filled with %d in %s while all is well\n", s.backlog, time.Since(filled).Round(time.Millisecond))
	if err := drainOn(ctx, c, true); err != nil {
		return err
	}
	healthy, _, err := drainTime(ctx, c, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "drained in %s: %.0f/s\n", healthy.Round(time.Millisecond), float64(s.backlog)/healthy.Seconds())

	// The outage: everything is diverted, and drained when Postgres is back.
	if err := c.Postgres.Kill(); err != nil {
		return err
	}
	filled = time.Now()
	if err := fill(ctx, l, s.backlog); err != nil {
		return err
	}
	attempts, err := c.Attempts(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "filled with %d in %s without Postgres; attempts counted: %d\n", s.backlog, time.Since(filled).Round(time.Millisecond), attempts)
	if err := c.Postgres.Start(ctx); err != nil {
		return err
	}
	after, other, err := drainTime(ctx, c, func() (time.Duration, error) { return trickle(ctx, c, l) })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "drained in %s from the moment Postgres answers: %.0f/s, %.0f%% of the rate when all is well; 10 runs of another environment arrived in %s\n",
		after.Round(time.Millisecond), float64(s.backlog)/after.Seconds(), 100*float64(healthy)/float64(after), other.Round(time.Millisecond))

	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := rowsOf(ctx, conn, l.Task)
	if err != nil {
		return err
	}
	lost, failed := 0, 0
	for _, op := range record.Ops() {
		if op.Kind != history.Trigger || op.Outcome != history.OK {
			continue
		}
		switch row, there := rows[op.Run]; {
		case !there:
			lost++
		case row.Status == "SYSTEM_FAILURE":
			failed++
		}
	}
	fmt.Fprintf(out, "%d lost, %d failed\n", lost, failed)
	if lost+failed+attempts > 0 {
		return errors.New("the outage cost runs or attempts")
	}
	return nil
}

// drainOn starts all nodes anew, those that drain with or without their drain.
func drainOn(ctx context.Context, c *cluster.Cluster, on bool) error {
	for _, n := range c.Nodes {
		if err := n.Stop(40 * time.Second); err != nil {
			return err
		}
		n.Drain(on)
	}
	for _, n := range c.Nodes {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// force has every node mollify an environment.
func force(ctx context.Context, c *cluster.Cluster, env string) error {
	for _, n := range c.Nodes {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.Info().Admin+"/admin/v1/environments/"+env+"/gate", strings.NewReader(`{"force":"mollify"}`))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+n.Info().AdminToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the gate of %s: status %d, %v", n.Name, resp.StatusCode, err)
		}
	}
	return nil
}

// fill triggers n runs without keys.
func fill(ctx context.Context, l *load.Load, n int) error {
	var (
		wait sync.WaitGroup
		left atomic.Int64
	)
	left.Store(int64(n))
	for w := range 64 {
		r := rand.New(rand.NewPCG(1, uint64(w)))
		wait.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				for !l.Trigger(ctx, r, 0, "", 0) && ctx.Err() == nil {
					_ = cluster.Wait(ctx, 10*time.Millisecond) // the loop looks at ctx
				}
			}
		})
	}
	wait.Wait()
	return ctx.Err()
}

// drainTime waits until the buffer is empty; beside runs meanwhile.
func drainTime(ctx context.Context, c *cluster.Cluster, beside func() (time.Duration, error)) (took, besides time.Duration, err error) {
	var (
		wait      sync.WaitGroup
		besideErr error
		began     = time.Now()
	)
	if beside != nil {
		wait.Go(func() { besides, besideErr = beside() })
	}
	for {
		left, err := c.Waiting(ctx)
		if err == nil && left == 0 {
			took = time.Since(began)
			wait.Wait()
			return took, besides, besideErr
		}
		if err := cluster.Wait(ctx, 20*time.Millisecond); err != nil {
			wait.Wait()
			return 0, 0, err
		}
	}
}

// trickle triggers ten runs of another environment and sees when the last of them
// is in Postgres.
func trickle(ctx context.Context, c *cluster.Cluster, l *load.Load) (time.Duration, error) {
	r := rand.New(rand.NewPCG(2, 2))
	if err := force(ctx, c, l.Envs[1].ID); err != nil {
		return 0, err
	}
	from := len(l.Record.Ops())
	began := time.Now()
	for range 10 {
		for !l.Trigger(ctx, r, 1, "", 0) && ctx.Err() == nil {
			_ = cluster.Wait(ctx, 10*time.Millisecond) // the loop looks at ctx
		}
	}
	var ids []string
	for _, op := range l.Record.Ops()[from:] {
		if op.Kind == history.Trigger && op.Outcome == history.OK && op.Env == 1 {
			ids = append(ids, op.Run)
		}
	}
	conn, err := c.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var n int
		if err := conn.QueryRow(ctx, `
			select count(*) from environments as e join runs as r on r.env_id = e.id where r.id = any($1)`, ids).Scan(&n); err != nil {
			return 0, err
		}
		if n == len(ids) {
			return time.Since(began), nil
		}
		if err := cluster.Wait(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
}
