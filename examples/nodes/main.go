// Nodes runs several engines on one Redis and one Postgres, as several processes would,
// and storms all of them over few keys: one run for each key, whoever was asked.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// Storm triggers each key times times, round the nodes and at once, and returns what each
// key was answered with.
func Storm(ctx context.Context, nodes []*mollifier.Engine, keys, times int) (map[string][]run.Result, error) {
	var (
		mu      sync.Mutex
		answers = make(map[string][]run.Result, keys)
		failed  error
		all     sync.WaitGroup
	)
	for i := range keys * times {
		all.Go(func() {
			key := fmt.Sprint("order-", i%keys)
			result, err := persist(ctx, nodes[i%len(nodes)], run.Trigger{
				Organisation: "acme", Environment: "prod", Task: "send-invoice", IdempotencyKey: key,
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, err)
				return
			}
			answers[key] = append(answers[key], result)
		})
	}
	all.Wait()
	return answers, failed
}

// persist repeats what may be repeated. With the same key that makes no second run.
func persist(ctx context.Context, node *mollifier.Engine, t run.Trigger) (run.Result, error) {
	for {
		result, err := node.Trigger(ctx, t)
		refused, ok := errors.AsType[*run.RefusedError](err)
		if !ok {
			return result, err
		}
		timer := time.NewTimer(max(refused.RetryAfter, 50*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return run.Result{}, context.Cause(ctx)
		}
	}
}

func main() {
	if err := storm(); err != nil {
		slog.Error("nodes", "error", err)
		os.Exit(1)
	}
}

func storm() (err error) {
	ctx := context.Background()
	var nodes []*mollifier.Engine
	defer func() {
		end, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		for _, n := range nodes {
			err = errors.Join(err, n.Close(end))
		}
	}()
	for range 3 {
		n, err := mollifier.New(ctx, mollifier.Config{
			Redis: os.Getenv("REDIS_URL"), Postgres: os.Getenv("DATABASE_URL"), Migrate: true,
		})
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	const keys, times = 20, 500
	answers, err := Storm(ctx, nodes, keys, times)
	if err != nil {
		return err
	}
	for key, results := range answers {
		ids := map[run.ID]int{}
		for _, r := range results {
			ids[r.Canonical()]++
		}
		fmt.Printf("%s: %d answers, %d run\n", key, len(results), len(ids))
	}
	for i, n := range nodes {
		s := n.Stats()
		fmt.Printf("node %d: %d triggers, %d claims, %d settles, %d mollified\n", i, s.Triggers, s.Claims, s.Settles, s.Mollified)
	}
	return nil
}
