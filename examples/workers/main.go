// Workers take runs from the engine and say what became of them. Any number of them may do
// so in any number of processes: Take hands each run to one of them (SKIP LOCKED, in
// Postgres), and to nobody twice.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// Pool is a number of workers.
type Pool struct {
	Engine *mollifier.Engine
	// Do is the work. Its error, or its panic, is the run's failure.
	Do func(ctx context.Context, r run.Run) (output []byte, err error)
	// Workers is how many runs are worked at once.
	Workers int
	// Idle is the pause after there was nothing to take.
	Idle time.Duration
	// Lost is how long a run may execute before its worker counts as dead: more than
	// any task takes.
	Lost time.Duration
}

// Run works until ctx ends, and returns when the last run has been reported.
func (p *Pool) Run(ctx context.Context) {
	var all sync.WaitGroup
	for range p.Workers {
		all.Go(func() { p.work(ctx) })
	}
	all.Wait()
}

func (p *Pool) work(ctx context.Context) {
	for ctx.Err() == nil {
		runs, err := p.Engine.Take(ctx, run.TakeRequest{Most: 1})
		if err != nil {
			slog.Warn("take", "error", err)
		}
		if len(runs) == 0 {
			p.pause(ctx)
			continue
		}
		// What was taken is worked to its end, though the pool is to stop.
		p.one(context.WithoutCancel(ctx), runs[0])
	}
}

func (p *Pool) pause(ctx context.Context) {
	timer := time.NewTimer(p.Idle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (p *Pool) one(ctx context.Context, r run.Run) {
	finish := run.Finish{Status: run.Completed}
	var err error
	if finish.Output, err = p.safely(ctx, r); err != nil {
		// FAILED gives the key up: the next trigger of it is a new run.
		finish = run.Finish{Status: run.Failed, Failure: &run.Failure{Message: err.Error()}}
	}
	for {
		_, err := p.Engine.Finish(ctx, r.Trigger.Environment, r.ID, finish)
		switch {
		case err == nil:
			return
		case errors.Is(err, run.ErrUnavailable):
			p.pause(ctx) // it may be repeated
			continue
		}
		slog.Error("not recorded", "run", r.ID, "error", err) // ErrConflict: it was cancelled meanwhile
		return
	}
}

func (p *Pool) safely(ctx context.Context, r run.Run) (output []byte, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = fmt.Errorf("panic: %v", recovered)
		}
	}()
	return p.Do(ctx, r)
}

// Recover hands back the runs of an environment whose workers have died. Call it now and
// then, on any node.
func (p *Pool) Recover(ctx context.Context, environment string) (back int, err error) {
	var page mollifier.Page
	for {
		page.Limit = 100
		found, err := p.Engine.List(ctx, environment, mollifier.Filter{Statuses: []run.Status{run.Executing}}, page)
		if err != nil {
			return back, err
		}
		for _, r := range found.Runs {
			if time.Since(r.StartedAt) < p.Lost {
				continue
			}
			// A worker that lives all the same now gets ErrConflict, or reports what
			// another one works on: do not set Lost too short.
			if _, err := p.Engine.Finish(ctx, environment, r.ID, run.Finish{Status: run.Queued}); err != nil {
				return back, err
			}
			back++
		}
		if found.Next.IsZero() {
			return back, nil
		}
		page.After = found.Next
	}
}

func main() {
	if err := work(); err != nil {
		slog.Error("workers", "error", err)
		os.Exit(1)
	}
}

func work() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	engine, err := mollifier.New(ctx, mollifier.Config{
		Redis: os.Getenv("REDIS_URL"), Postgres: os.Getenv("DATABASE_URL"), Migrate: true, Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	pool := &Pool{Engine: engine, Workers: 4, Idle: 100 * time.Millisecond, Lost: 10 * time.Minute}
	pool.Do = func(_ context.Context, r run.Run) ([]byte, error) {
		fmt.Printf("%s %s: %s\n", r.ID, r.Trigger.Task, r.Trigger.Payload)
		return nil, nil
	}
	var upkeep sync.WaitGroup
	upkeep.Go(func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-second.C:
			case <-ctx.Done():
				return
			}
			if _, err := pool.Recover(ctx, "prod"); err != nil {
				slog.Warn("recover", "error", err)
			}
		}
	})
	pool.Run(ctx)
	upkeep.Wait()
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return engine.Close(end)
}
