//go:build unix

package mollifiertest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/mollifiertest/link"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

func order(key string) run.Trigger {
	return run.Trigger{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: key, Payload: []byte(`{}`)}
}

func trigger(t *testing.T, n *mollifiertest.Node, tr run.Trigger) run.Result {
	t.Helper()
	r, err := n.Trigger(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verdict runs f against a test that records its failure.
type verdict struct {
	testing.TB
	failed string
}

func (v *verdict) Helper() {}

func (v *verdict) Fatalf(format string, args ...any) {
	v.failed = fmt.Sprintf(format, args...)
	panic(v)
}

func fails(t *testing.T, f func(testing.TB)) (failed string) {
	t.Helper()
	v := &verdict{TB: t}
	defer func() {
		if p := recover(); p != nil && p != any(v) {
			panic(p)
		}
		failed = v.failed
	}()
	f(v)
	return ""
}

// A burst on two nodes is one run, buffered or not, and the requirements say so; they
// refuse what is not so.
func TestRequirements(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	idle := func(c *mollifier.Config) { c.NoDrain = true }
	a, b := stores.Start(t, idle), stores.Start(t, idle)
	var mu sync.Mutex
	var results []run.Result
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			r, err := []*mollifiertest.Node{a, b}[i%2].Trigger(t.Context(), order("one"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			results = append(results, r)
		})
	}
	wg.Wait()
	one := mollifiertest.RequireOneRun(t, a, "prod", results...)
	if one.Canonical != results[0].Canonical() {
		t.Errorf("%s", one.Canonical)
	}
	if fails(t, func(t testing.TB) { mollifiertest.RequireBuffered(t, results[0]) }) == "" {
		t.Error("a run in Postgres passes for buffered")
	}
	a.Mollify(t, "prod")
	other := trigger(t, a, order("two"))
	mollifiertest.RequireBuffered(t, other)
	mollifiertest.RequireOneRun(t, b, "prod", other, trigger(t, b, order("two")))
	if fails(t, func(t testing.TB) { mollifiertest.RequireOneRun(t, a, "prod", other, results[0]) }) == "" {
		t.Error("two runs pass for one")
	}
	if fails(t, func(t testing.TB) { mollifiertest.RequireOneRun(t, a, "prod", other, other) }) == "" {
		t.Error("two makers pass for one")
	}
	if n := stores.Count(t, "select count(*) from runs"); n != 1 {
		t.Errorf("%d rows before the drain", n)
	}
	stores.Start(t)
	stores.RequireDrained(t)
	if n := stores.Count(t, "select count(*) from runs"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// Delays become due and times to live pass when Postgres's clock is moved.
func TestAdvance(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	node := stores.Start(t)
	later := order("later")
	later.DelayUntil = time.Now().Add(time.Hour)
	short := order("short")
	short.TTL = 3 * time.Hour
	delayed, expiring := trigger(t, node, later), trigger(t, node, short)
	status := func(id run.ID) run.Status {
		t.Helper()
		if _, _, err := node.Sweep(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		r, err := node.Run(t.Context(), "prod", id)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	for _, step := range []struct {
		ahead             time.Duration
		delayed, expiring run.Status
	}{
		{0, run.Delayed, run.Queued},
		{2 * time.Hour, run.Queued, run.Queued},
		{2 * time.Hour, run.Queued, run.Expired},
	} {
		stores.Advance(t, step.ahead)
		if a, b := status(delayed.ID()), status(expiring.ID()); a != step.delayed || b != step.expiring {
			t.Errorf("after %s more: %s, %s", step.ahead, a, b)
		}
	}
}

// A slow Postgres, and one whose replies are lost: the caller repeats with the same key,
// and there is one run.
func TestFaultsOfALink(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	node := stores.Start(t, func(c *mollifier.Config) { c.NoDivert, c.PostgresDeadline = true, 500*time.Millisecond })
	node.Postgres.SetWeather(link.Weather{Latency: 20 * time.Millisecond})
	slow := trigger(t, node, order("slow"))
	node.Postgres.SetWeather(link.Weather{CutReplies: 1})
	if _, err := node.Trigger(t.Context(), order("lost")); !errors.Is(err, run.ErrUnavailable) {
		t.Errorf("without replies: %v", err)
	}
	node.Postgres.SetWeather(link.Weather{})
	var r run.Result
	err := context.DeadlineExceeded
	for err != nil && t.Context().Err() == nil { // until the engine has found out
		r, err = node.Trigger(t.Context(), order("lost"))
	}
	if n := stores.Count(t, "select count(*) from runs"); n != 2 || r.ID() == slow.ID() {
		t.Errorf("%d rows", n)
	}
}

// What a crashed node had acknowledged, another one has; its key is not lost with it.
func TestCrash(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	doomed := stores.Start(t, func(c *mollifier.Config) { c.NoDrain = true })
	doomed.Mollify(t, "prod")
	acked := trigger(t, doomed, order("k"))
	mollifiertest.RequireBuffered(t, acked)
	doomed.Crash()
	if _, err := doomed.Trigger(t.Context(), order("other")); err == nil {
		t.Error("a crashed node acknowledges")
	}
	survivor := stores.Start(t)
	mollifiertest.RequireOneRun(t, survivor, "prod", acked, trigger(t, survivor, order("k")))
	stores.RequireDrained(t)
}

// Servers of the test's own are killed and come back.
func TestPrivateServers(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewPrivate(t)
	node := stores.Start(t)
	before := trigger(t, node, order("before"))
	if err := stores.PostgresServer.Kill(); err != nil {
		t.Fatal(err)
	}
	during := trigger(t, node, order("during"))
	mollifiertest.RequireBuffered(t, during)
	if err := stores.PostgresServer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stores.RequireDrained(t)
	for _, r := range []run.Result{before, during} {
		if found, err := node.Run(t.Context(), "prod", r.ID()); err != nil || found.Status != run.Queued {
			t.Errorf("%s: %s, %v", r.ID(), found.Status, err)
		}
	}
}
