package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

// ledger counts what was worked.
type ledger struct {
	mu   sync.Mutex
	done map[run.ID]int
	each chan run.ID
}

func (l *ledger) do(_ context.Context, r run.Run) ([]byte, error) {
	l.mu.Lock()
	l.done[r.ID]++
	l.mu.Unlock()
	l.each <- r.ID
	if string(r.Trigger.Payload) == "bad" {
		return nil, errors.New("bad payload")
	}
	return []byte(`"sent"`), nil
}

func start(t *testing.T) (*Service, *mollifiertest.Stores, *ledger) {
	t.Helper()
	stores := mollifiertest.NewStores(t)
	l := &ledger{done: map[run.ID]int{}, each: make(chan run.ID, 1000)}
	s, err := Start(t.Context(), mollifier.Config{
		Redis: stores.Redis, Prefix: stores.Prefix, Postgres: stores.Postgres, Migrate: true,
		Partitions: 16, RedisDeadline: 5 * time.Second,
	}, l.do)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.WithoutCancel(t.Context())) })
	return s, stores, l
}

func order(key string) run.Trigger {
	return run.Trigger{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: key, Payload: []byte(`{}`)}
}

// Runs that passed and runs that came out of the buffer are worked by River, each once,
// however often they were triggered.
func TestEveryRunIsWorkedOnce(t *testing.T) {
	t.Parallel()
	s, stores, l := start(t)
	ids := map[run.ID]bool{}
	trigger := func(tr run.Trigger) run.Result {
		t.Helper()
		r, err := s.Engine.Trigger(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i := range 60 {
		if i == 30 {
			storm := override.Override{Environment: "prod", Gate: override.Gate{Force: "mollify"}, By: override.Author{Name: "test"}}
			if _, err := s.Engine.SetGate(t.Context(), storm); err != nil {
				t.Fatal(err)
			}
		}
		ids[trigger(order(fmt.Sprint(i/3))).ID()] = true
	}
	if len(ids) != 20 {
		t.Fatalf("%d runs of 20 keys", len(ids))
	}
	for range ids {
		<-l.each
	}
	stores.RequireDrained(t)
	for id := range ids {
		if r := settled(t, s, id); r.Status != run.Completed || string(r.Output) != `"sent"` {
			t.Errorf("%s: %s %s", id, r.Status, r.Output)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.done {
		if n != 1 || !ids[id] {
			t.Errorf("%s was worked %d times", id, n)
		}
	}
}

// settled waits for the worker's report.
func settled(t *testing.T, s *Service, id run.ID) run.Run {
	t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for {
		r, err := s.Engine.Run(t.Context(), "prod", id)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status.Final() {
			return r
		}
		<-ticks.C
	}
}

// A run that fails for good gives its key up; one that is cancelled is not worked; one
// that is delayed is River's to wait for.
func TestOtherEnds(t *testing.T) {
	t.Parallel()
	s, stores, l := start(t)
	bad := order("bad")
	bad.Payload, bad.MaxAttempts = []byte("bad"), 1
	first, err := s.Engine.Trigger(t.Context(), bad)
	if err != nil {
		t.Fatal(err)
	}
	<-l.each
	if r := settled(t, s, first.ID()); r.Status != run.Failed || r.Error == nil || r.Error.Message != "bad payload" {
		t.Errorf("%s, %+v", r.Status, r.Error)
	}
	if second, err := s.Engine.Trigger(t.Context(), bad); err != nil || second.Cached() {
		t.Errorf("the failed run holds its key: %v", err)
	}
	later := order("later")
	later.DelayUntil = time.Now().Add(time.Hour)
	delayed, err := s.Engine.Trigger(t.Context(), later)
	if err != nil {
		t.Fatal(err)
	}
	if n := stores.Count(t, "select count(*) from river_job where args->>'run' = $1 and state = 'scheduled'", delayed.ID().String()); n != 1 {
		t.Errorf("%d jobs are scheduled for the delayed run", n)
	}
	if _, err := s.Engine.Cancel(t.Context(), "prod", delayed.ID(), "enough"); err != nil {
		t.Fatal(err)
	}
	stores.Exec(t, "update river_job set scheduled_at = now(), state = 'available' where args->>'run' = $1", delayed.ID().String())
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for stores.Count(t, "select count(*) from river_job where args->>'run' = $1 and state = 'completed'", delayed.ID().String()) == 0 {
		<-ticks.C
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done[delayed.ID()] != 0 {
		t.Error("a cancelled run was worked")
	}
}
