package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	goclient "github.com/e0ff5a15/mollifier/client"
)

// Everything that the Go client offers, against a node, with a run that passed
// through and with one that is mollified.
func TestGoClient(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data := folder(t)
	startNode(t, data, stores...)
	stack := info(t, data)
	env := stack.Environments[0]
	c, err := goclient.New(goclient.Config{URL: stack.HTTP, Key: env.Key})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	users := client(t)
	admin := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, stack.Admin+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if a, err := send(users, req, stack.AdminToken); err != nil || a.status != http.StatusOK {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	for _, force := range []string{"pass", "mollify"} {
		admin(http.MethodPost, "/admin/v1/environments/"+env.ID+"/gate", `{"force":"`+force+`"}`)
		trigger := goclient.Trigger{Task: "send/" + force, Payload: json.RawMessage(`{"a":9007199254740993}`), Options: goclient.Options{
			IdempotencyKey: "k/1", Tags: []string{"go"}, Metadata: json.RawMessage(`{"m":1}`), Delay: "1h",
		}}
		h, err := c.Trigger(ctx, trigger)
		if err != nil || h.IsCached {
			t.Fatal(force, h, err)
		}
		again, err := c.Trigger(ctx, trigger)
		if err != nil || !again.IsCached || again.ID != h.ID || again.PayloadMatch == nil || !*again.PayloadMatch {
			t.Errorf("%s, again: %+v, %v", force, again, err)
		}
		if err := c.AddTags(ctx, h.ID, "more"); err != nil {
			t.Error(force, err)
		}
		if err := c.SetMetadata(ctx, h.ID, json.RawMessage(`{"m":2}`)); err != nil {
			t.Error(force, err)
		}
		if r, err := c.Reschedule(ctx, h.ID, "2h"); err != nil || r.DelayedUntil == nil || time.Until(*r.DelayedUntil) < time.Hour {
			t.Errorf("%s, rescheduled: %+v, %v", force, r, err)
		}
		r, err := c.Run(ctx, h.ID)
		if err != nil || r.Status != "DELAYED" || string(r.Payload) != `{"a":9007199254740993}` || fmt.Sprint(r.Tags) != "[go more]" || string(r.Metadata) != `{"m":2}` || r.IdempotencyKey != "k/1" {
			t.Errorf("%s: %+v, %v", force, r, err)
		}
		if err := c.ResetKey(ctx, trigger.Task, "k/1"); err != nil {
			t.Error(force, err)
		}
		if err := c.ResetKey(ctx, trigger.Task, "k/1"); !errors.Is(err, goclient.KeyNotFound) {
			t.Error(force, err)
		}
		replayed, err := c.Replay(ctx, h.ID)
		if err != nil || replayed == h.ID {
			t.Error(force, replayed, err)
		}
		ended := make(chan error, 1)
		go func() {
			r, err := c.Wait(ctx, h.ID)
			if err == nil && (r.Status != "CANCELED" || r.FinishedAt == nil || r.Error == nil) {
				err = fmt.Errorf("%+v", r)
			}
			ended <- err
		}()
		if err := c.Cancel(ctx, h.ID); err != nil {
			t.Error(force, err)
		}
		if err := <-ended; err != nil {
			t.Error(force, "waited for:", err)
		}
		if _, err := c.Reschedule(ctx, h.ID, "2h"); !errors.Is(err, goclient.NotDelayed) {
			t.Error(force, err)
		}
		batch := goclient.Batch{IdempotencyKey: "b/" + force}
		for n := range 30 {
			batch.Items = append(batch.Items, goclient.Trigger{Task: "item/" + force, Payload: fmt.Append(nil, n)})
		}
		batch.Items[7].Options.IdempotencyKey, batch.Items[8].Options.IdempotencyKey = "same", "same"
		handle, err := c.TriggerBatch(ctx, batch)
		if err != nil || handle.IsCached || handle.RunCount != 30 {
			t.Fatal(force, handle, err)
		}
		if again, err := c.TriggerBatch(ctx, batch); err != nil || !again.IsCached || again.ID != handle.ID {
			t.Errorf("%s, again: %+v, %v", force, again, err)
		}
		b, err := c.Batch(ctx, handle.ID)
		if err != nil || len(b.Runs) != 30 || b.Runs[7] != b.Runs[8] || b.Processing.CompletedAt == nil || len(b.Processing.Errors) != 0 {
			t.Errorf("%s: %+v, %v", force, b, err)
		}
		if r, err := c.Run(ctx, b.Runs[3]); err != nil || string(r.Payload) != "3" || r.BatchID != handle.ID {
			t.Errorf("%s: %+v, %v", force, r, err)
		}
		conflicting := goclient.Trigger{Task: trigger.Task, Options: goclient.Options{IdempotencyKey: "k/2"}, InFlight: "conflict"}
		if h, err := c.Trigger(ctx, conflicting); err != nil || h.IsCached {
			t.Errorf("%s: nobody else is in flight: %+v, %v", force, h, err)
		}
		if h, err := c.Trigger(ctx, conflicting); err != nil || !h.IsCached {
			t.Errorf("%s: it is not in flight any more: %+v, %v", force, h, err)
		}
		seen := 0
		for r, err := range c.List(ctx, goclient.Filter{Tasks: []string{trigger.Task}, PageSize: 1}) {
			if err != nil {
				t.Fatal(force, err)
			}
			if r.ID == h.ID || r.ID == replayed {
				seen++
			}
		}
		if seen != 2 {
			t.Errorf("%s: %d runs listed", force, seen)
		}
	}
	if _, err := c.Run(ctx, "run_nowhere"); !errors.Is(err, goclient.NotFound) {
		t.Error(err)
	}
	var refused *goclient.Error
	if _, err := c.Trigger(ctx, goclient.Trigger{Task: "t", Options: goclient.Options{TTL: "soon"}}); !errors.Is(err, goclient.Invalid) || !errors.As(err, &refused) || refused.Field != "options.ttl" {
		t.Error(err)
	}
	if _, err := c.Batch(ctx, "batch_nowhere"); !errors.Is(err, goclient.NoBatch) {
		t.Error(err)
	}
	wrong := goclient.Batch{Items: []goclient.Trigger{{Task: "t"}, {Task: "t", Options: goclient.Options{TTL: "soon"}}}}
	if h, err := c.TriggerBatch(ctx, wrong); h.ID == "" || !errors.Is(err, goclient.Unprocessable) || !errors.As(err, &refused) || refused.Field != "items[1].options.ttl" {
		t.Error(h, err)
	}
	stranger, err := goclient.New(goclient.Config{URL: stack.HTTP, Key: "tr_dev_nobody"})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Run(ctx, "run_nowhere"); !errors.Is(err, goclient.Unauthorized) {
		t.Error(err)
	}
}
