package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
)

// Traffic is how much is asked at a time.
type Traffic struct {
	Clients, Workers int
	// Burst triggers come at once, half of them over the keys in use, every so
	// often: enough to trip the gate.
	Burst int
	Every time.Duration
}

// key returns one of the keys in use. They change every epoch, so that no key's
// history grows too long to judge. Even ones are short-lived.
func (l *Load) key(r *rand.Rand) (env int, key string, ttl time.Duration) {
	i := r.IntN(l.Keys)
	epoch := l.Record.Now() / int64(l.Epoch)
	ttl = time.Hour
	if i%2 == 0 {
		ttl = 2 * time.Second
	}
	return i % len(l.Envs), fmt.Sprintf("k%d-%d", i, epoch), ttl
}

// Run sends traffic until ctx ends, and returns when all of it was answered.
func (l *Load) Run(ctx context.Context, t Traffic, seed uint64) {
	var wait sync.WaitGroup
	// What was begun is waited for, within its patience.
	asking := context.WithoutCancel(ctx)
	for i := range t.Clients {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		wait.Go(func() {
			for ctx.Err() == nil {
				l.act(asking, r)
			}
		})
	}
	for i := range t.Workers {
		r := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		wait.Go(func() {
			for ctx.Err() == nil {
				if l.work(asking, r) == 0 {
					_ = cluster.Wait(ctx, 20*time.Millisecond) // the loop looks at ctx
				}
			}
		})
	}
	wait.Go(func() {
		r := rand.New(rand.NewPCG(seed, 5000))
		for cluster.Wait(ctx, t.Every/2+rand.N(t.Every)) == nil {
			l.burst(asking, r, t.Burst)
		}
	})
	wait.Wait()
}

// act does one thing, as often as its weight says.
func (l *Load) act(ctx context.Context, r *rand.Rand) {
	env, key, ttl := l.key(r)
	switch p := r.IntN(100); {
	case p < 58:
		l.refused(ctx, l.Trigger(ctx, r, env, key, ttl))
	case p < 68:
		l.refused(ctx, l.Trigger(ctx, r, r.IntN(len(l.Envs)), "", 0))
	case p < 72:
		l.reset(ctx, r, env, key)
	case p < 76:
		l.change(ctx, r, history.Cancel)
	case p < 81:
		l.change(ctx, r, history.Tag)
	case p < 86:
		l.change(ctx, r, history.Bump)
	case p < 87:
		l.change(ctx, r, history.Foreign)
	case p < 88:
		l.list(ctx, r, env)
	default:
		if of, ok := l.some(r); ok {
			l.get(ctx, l.node(r), of)
		}
	}
}

// refused keeps a client that is refused at once from asking in a hot loop.
func (l *Load) refused(ctx context.Context, ok bool) {
	if !ok {
		_ = cluster.Wait(ctx, 10*time.Millisecond) // the caller's loop looks at ctx
	}
}

func (l *Load) burst(ctx context.Context, r *rand.Rand, n int) {
	env := r.IntN(len(l.Envs))
	var wait sync.WaitGroup
	for i := range n {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
		wait.Go(func() {
			if i%2 == 0 {
				e, key, ttl := l.key(own)
				l.Trigger(ctx, own, e, key, ttl)
				return
			}
			l.Trigger(ctx, own, env, "", 0)
		})
	}
	wait.Wait()
}

// work takes some runs and reports what became of them; it returns how many.
func (l *Load) work(ctx context.Context, r *rand.Rand) int {
	op := history.Op{Kind: history.Take}
	a := l.do(ctx, l.node(r), true, "", http.MethodPost, "/admin/v1/runs/take?n=10", nil, &op)
	for _, taken := range a.Runs {
		op.Runs = append(op.Runs, taken.ID)
	}
	l.Record.Add(op)
	for _, taken := range a.Runs {
		status := "COMPLETED"
		if r.IntN(3) == 0 {
			status = "FAILED"
		}
		body := map[string]any{"status": status}
		if status == "FAILED" {
			body["error"] = map[string]string{"message": "by design"}
		}
		for range 20 {
			op := history.Op{Kind: history.Finish, Run: taken.ID, Arg: status}
			l.do(ctx, l.node(r), true, "", http.MethodPost,
				"/admin/v1/environments/"+taken.Environment+"/runs/"+taken.ID+"/finish", body, &op)
			l.Record.Add(op)
			if op.Outcome == history.OK || op.Outcome == history.No || cluster.Wait(ctx, 100*time.Millisecond) != nil {
				break
			}
		}
	}
	return len(a.Runs)
}

// Probe triggers a new key until a node answers, and returns when it did.
func (l *Load) Probe(ctx context.Context, r *rand.Rand) int64 {
	for ctx.Err() == nil {
		if l.Trigger(ctx, r, 0, "", 0) {
			return l.Record.Now()
		}
		_ = cluster.Wait(ctx, 5*time.Millisecond) // the loop looks at ctx
	}
	return -1
}
