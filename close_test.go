package mollifier_test

import (
	"context"
	"errors"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// A closed engine refuses everything in the same words, at once, and may be closed again.
func TestClosedEngineRefuses(t *testing.T) {
	t.Parallel()
	e, err := mollifier.New(t.Context(), shared(t))
	if err != nil {
		t.Fatal(err)
	}
	id := trigger(t, e, order("k")).ID()
	for range 2 {
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"trigger": func() error { _, err := e.Trigger(ctx, order("k")); return err },
		"batch": func() error {
			_, err := e.TriggerBatch(ctx, "b", []run.Trigger{{Organisation: "acme", Environment: "prod", Task: "send"}})
			return err
		},
		"run":    func() error { _, err := e.Run(ctx, "prod", id); return err },
		"list":   func() error { _, err := e.List(ctx, "prod", mollifier.Filter{}, mollifier.Page{Limit: 10}); return err },
		"cancel": func() error { _, err := e.Cancel(ctx, "prod", id, ""); return err },
		"tags":   func() error { _, _, err := e.AddTags(ctx, "prod", id, []string{"a"}); return err },
		"reset": func() error {
			_, err := e.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "k"})
			return err
		},
		"replay": func() error { _, err := e.Replay(ctx, "prod", id, nil); return err },
		"take":   func() error { _, err := e.Take(ctx, run.TakeRequest{Most: 1}); return err },
		"finish": func() error { _, err := e.Finish(ctx, "prod", id, run.Finish{Status: run.Completed}); return err },
		"sweep":  func() error { _, _, err := e.Sweep(ctx, 1); return err },
		"ready":  func() error { return e.Ready(ctx) },
	} {
		if err := call(); !errors.Is(err, run.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A close that is cut off says so each time.
func TestCloseCutOff(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	then := outbox(t, &cfg)
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := mollifier.Hook(func(ctx context.Context, _ mollifier.Tx, _ []run.Landed) error {
		close(entered)
		<-leave
		return ctx.Err()
	})
	then.Store(&slow)
	e, err := mollifier.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { _, err := e.Trigger(context.Background(), order("k")); answered <- err }()
	<-entered
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	time.AfterFunc(100*time.Millisecond, func() { close(leave) })
	if err := e.Close(ctx); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if err := e.Close(t.Context()); !errors.Is(err, enough) {
		t.Errorf("again: %v", err)
	}
	if err := <-answered; !errors.Is(err, run.ErrClosed) {
		t.Errorf("who waited was told %v", err)
	}
}

// Delayed runs are released without anybody's doing.
func TestEngineSweepsByItself(t *testing.T) {
	t.Parallel()
	e := open(t, shared(t))
	soon := order("soon")
	soon.DelayUntil = time.Now().Add(time.Second)
	id := trigger(t, e, soon).ID()
	waitFor(t, "the run is released", func() bool {
		r, err := e.Run(t.Context(), "prod", id)
		return err == nil && r.Status == run.Queued
	})
}
