package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

func order(key string) run.Trigger {
	return run.Trigger{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: key, Payload: []byte(key)}
}

// Two pools on two nodes work each run once; one that fails gives its key up.
func TestEachRunOnce(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	nodes := []*mollifiertest.Node{stores.Start(t), stores.Start(t)}
	const runs = 40
	ids := map[string]run.ID{}
	for i := range runs {
		key := fmt.Sprint("k", i)
		r, err := nodes[i%2].Trigger(t.Context(), order(key))
		if err != nil {
			t.Fatal(err)
		}
		ids[key] = r.ID()
	}
	var mu sync.Mutex
	worked := map[run.ID]int{}
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	do := func(_ context.Context, r run.Run) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		worked[r.ID]++
		if len(worked) == runs {
			enough()
		}
		switch string(r.Trigger.Payload) {
		case "k7":
			return nil, errors.New("no such customer")
		case "k8":
			panic("of the task")
		}
		return []byte(`true`), nil
	}
	var pools sync.WaitGroup
	for _, n := range nodes {
		p := &Pool{Engine: n.Engine, Do: do, Workers: 3, Idle: time.Millisecond, Lost: time.Hour}
		pools.Go(func() { p.Run(ctx) })
	}
	pools.Wait()
	for key, id := range ids {
		r, err := nodes[0].Run(t.Context(), "prod", id)
		want := run.Completed
		if key == "k7" || key == "k8" {
			want = run.Failed
		}
		if err != nil || r.Status != want || worked[id] != 1 {
			t.Errorf("%s: %s, worked %d times, %v", key, r.Status, worked[id], err)
		}
	}
	if r, err := nodes[1].Trigger(t.Context(), order("k7")); err != nil || r.Cached() {
		t.Errorf("the failed run holds its key: %v", err)
	}
}

// What a dead worker had taken is handed back, and worked by another.
func TestRecover(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	node := stores.Start(t)
	lost, err := node.Trigger(t.Context(), order("k"))
	if err != nil {
		t.Fatal(err)
	}
	if taken, err := node.Take(t.Context(), run.TakeRequest{Most: 1}); err != nil || len(taken) != 1 {
		t.Fatalf("%v, %v", taken, err)
	}
	p := &Pool{Engine: node.Engine, Lost: time.Hour}
	if back, err := p.Recover(t.Context(), "prod"); err != nil || back != 0 {
		t.Errorf("%d handed back too soon, %v", back, err)
	}
	p.Lost = 0
	if back, err := p.Recover(t.Context(), "prod"); err != nil || back != 1 {
		t.Errorf("%d handed back, %v", back, err)
	}
	if taken, err := node.Take(t.Context(), run.TakeRequest{Most: 1}); err != nil || len(taken) != 1 || taken[0].ID != lost.ID() {
		t.Errorf("%v, %v", taken, err)
	}
}
