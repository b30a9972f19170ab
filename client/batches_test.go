package client_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/e0ff5a15/mollifier/client"
)

const opened = `{"id":"batch_1","runCount":2,"isCached":false}`

func twoItems() client.Batch {
	return client.Batch{IdempotencyKey: "b", Items: []client.Trigger{
		{Task: "a", Payload: json.RawMessage(`"<é>"`), Options: client.Options{IdempotencyKey: "k"}}, {Task: "b/c"},
	}}
}

const twoLines = `{"index":0,"task":"a","payload":"<é>","options":{"idempotencyKey":"k"}}` + "\n" + `{"index":1,"task":"b/c","options":{}}` + "\n"

// Both phases are repeated as a whole until their answers are in: the first under one
// request key, the second also while items are missing.
func TestTriggerBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, answers: []answer{
			{lost: true},
			{status: 202, body: opened},
			{lost: true},
			{status: 503, body: `{}`},
			{status: 200, body: `{"id":"batch_1","sealed":false,"enqueuedCount":1,"expectedCount":2}`},
			{status: 200, body: `{"id":"batch_1","sealed":true,"itemsAccepted":1,"itemsDeduplicated":1}`},
		}}
		h, err := newClient(t, n).TriggerBatch(t.Context(), twoItems())
		if err != nil || h.ID != "batch_1" || h.RunCount != 2 || h.IsCached {
			t.Fatal(h, err)
		}
		if one := n.requests[0].Header; one.Get("X-Trigger-Request-Idempotency-Key") == "" ||
			one.Get("X-Trigger-Request-Idempotency-Key") != n.requests[1].Header.Get("X-Trigger-Request-Idempotency-Key") {
			t.Error("two request keys for one call")
		}
		for i, r := range n.requests {
			path, kind, body := "/api/v3/batches", "application/json", `{"runCount":2,"idempotencyKey":"b"}`+"\n"
			if i >= 2 {
				path, kind, body = "/api/v3/batches/batch_1/items", "application/x-ndjson", twoLines
			}
			if r.URL.Path != path || r.Header.Get("Content-Type") != kind || n.bodies[i] != body || i >= 2 && r.ContentLength > 0 {
				t.Errorf("request %d: %s %s %q", i, r.URL, r.Header.Get("Content-Type"), n.bodies[i])
			}
		}
	})
}

// A batch that is complete gets no items; one that is refused has the field, and an
// id if it is open.
func TestTriggerBatchEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []answer
		id      string
		err     error
		field   string
	}{
		"complete": {[]answer{{status: 202, body: `{"id":"batch_1","runCount":2,"isCached":true}`}}, "batch_1", nil, ""},
		"refused":  {[]answer{{status: 400, body: `{"error":"x","type":"urn:mollifier:problem:invalid","field":"runCount"}`}}, "", client.Invalid, "runCount"},
		"an item": {[]answer{{status: 202, body: opened}, {
			status: 422, body: `{"error":"x","type":"urn:mollifier:problem:unprocessable","field":"items[1].options.ttl"}`,
		}}, "batch_1", client.Unprocessable, "items[1].options.ttl"},
		"gone": {[]answer{{status: 202, body: opened}, {
			status: 422, body: `{"error":"x","type":"urn:mollifier:problem:batch-not-found"}`,
		}}, "batch_1", client.NoBatch, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &node{t: t, answers: c.answers}
			h, err := newClient(t, n).TriggerBatch(t.Context(), twoItems())
			var refused *client.Error
			if h.ID != c.id || !errors.Is(err, c.err) || errors.As(err, &refused) && refused.Field != c.field {
				t.Error(h, err)
			}
			if len(n.requests) != len(c.answers) {
				t.Errorf("%d requests", len(n.requests))
			}
		})
	}
}

// What is wrong with a batch is said before anything is sent.
func TestTriggerBatchRefuses(t *testing.T) {
	t.Parallel()
	c := newClient(t, &node{t: t})
	for want, b := range map[string]client.Batch{
		"1 to 1000":         {},
		"must be 1":         {Items: make([]client.Trigger, client.MaxBatchItems+1)},
		"Items[1].Task":     {Items: []client.Trigger{{Task: "a"}, {}}},
		"Items[0].InFlight": {Items: []client.Trigger{{Task: "a", InFlight: "wait"}}},
		"Items[0].Payload":  {Items: []client.Trigger{{Task: "a", Payload: json.RawMessage(`{`)}}},
		"Options.Metadata":  {Items: []client.Trigger{{Task: "a", Options: client.Options{Metadata: json.RawMessage(`{`)}}}},
	} {
		if _, err := c.TriggerBatch(t.Context(), b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestReadBatch(t *testing.T) {
	t.Parallel()
	n := &node{t: t, answers: []answer{{status: 200, body: `{"id":"batch_1","status":"PARTIAL_FAILED","createdAt":"2026-01-02T03:04:05.678Z",
		"updatedAt":"2026-01-02T03:04:05.678Z","runCount":2,"runs":["run_1"],
		"processing":{"completedAt":"2026-01-02T03:04:06Z","errors":[{"index":1,"taskIdentifier":"t","error":"no","errorCode":"INVALID"}]}}`}}}
	b, err := newClient(t, n).Batch(t.Context(), "batch_1")
	if err != nil || b.Status != "PARTIAL_FAILED" || len(b.Runs) != 1 || b.Processing.CompletedAt == nil ||
		len(b.Processing.Errors) != 1 || b.Processing.Errors[0] != (client.ItemFailed{Index: 1, Task: "t", Error: "no", Code: "INVALID"}) {
		t.Errorf("%+v, %v", b, err)
	}
}
