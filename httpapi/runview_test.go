package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

func plainRun() run.Run {
	created := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	return run.Run{
		ID: id1, Canonical: id1, Status: run.Queued, CreatedAt: created, UpdatedAt: created,
		Trigger: run.Trigger{
			Organisation: "org_1", Environment: "env_prod", Task: "send-email", TriggerFunction: run.FunctionTrigger,
			PayloadType: "application/super+json", Payload: []byte(`{"json":{"to":"x@y.z"},"meta":{}}`),
		},
	}
}

func (w *wire) put(r run.Run) { w.engine.runs["env_prod/"+r.ID.String()] = r }

func (w *wire) get(r run.Run) (map[string]json.RawMessage, http.Header) {
	w.t.Helper()
	w.put(r)
	rec := w.do(request(http.MethodGet, "/api/v3/runs/"+r.ID.String(), prodKey, ""))
	if rec.Code != 200 {
		w.t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	var v map[string]json.RawMessage
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		w.t.Fatal(err)
	}
	return v, rec.Header()
}

// The smallest run has every field that clients require, and no other.
func TestPlainRun(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.put(plainRun())
	rec := w.do(request(http.MethodGet, "/api/v3/runs/"+id1.String(), prodKey, ""))
	want := `{"id":"ID","canonicalId":"ID","taskIdentifier":"send-email","status":"QUEUED","isQueued":true,"isExecuting":false,` +
		`"isWaiting":false,"isCompleted":false,"isSuccess":false,"isFailed":false,"isCancelled":false,"isTest":false,` +
		`"createdAt":"2026-01-02T03:04:05.678Z","updatedAt":"2026-01-02T03:04:05.678Z","tags":[],"costInCents":0,"baseCostInCents":0,` +
		`"durationMs":0,"depth":0,"triggerFunction":"trigger","payload":{"to":"x@y.z"},"attemptCount":0,"attempts":[],"relatedRuns":{"children":[]}}`
	if got := strings.ReplaceAll(rec.Body.String(), id1.String(), "ID"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if rec := w.do(request(http.MethodHead, "/api/v3/runs/"+id1.String(), prodKey, "")); rec.Code != 200 {
		t.Errorf("HEAD: %d", rec.Code)
	}
}

func TestRunFields(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 5, 6, 7_000, time.FixedZone("", 3600)) // 7 µs, another zone
	stamp := `"2026-02-03T03:05:06.000Z"`
	for _, c := range []struct {
		name   string
		change func(*run.Run)
		want   string // empty: absent
	}{
		{"idempotencyKey", func(r *run.Run) { r.Trigger.IdempotencyKey = "hash" }, `"hash"`},
		{"idempotencyKey", func(r *run.Run) {
			r.Trigger.IdempotencyKey, r.Trigger.KeyOptions = "hash", run.KeyOptions{Key: "order-7", Scope: "run"}
			r.KeyUntil = now.Add(time.Microsecond)
		}, `"order-7"`},
		{"idempotencyKey", func(r *run.Run) {
			r.Trigger.IdempotencyKey, r.Trigger.KeyOptions, r.KeyUntil = "hash", run.KeyOptions{Key: "order-7"}, now
		}, ``},
		{"idempotencyKey", func(r *run.Run) { r.Trigger.RequestKey, r.KeyUntil = "request", now.Add(time.Hour) }, ``},
		{"version", func(r *run.Run) { r.Trigger.LockToVersion = "20240101.1" }, `"20240101.1"`},
		{"isTest", func(r *run.Run) { r.Trigger.Test = true }, `true`},
		{"startedAt", func(r *run.Run) { r.StartedAt = at }, stamp},
		{"finishedAt", func(r *run.Run) { r.Status, r.FinishedAt = run.Completed, at }, stamp},
		{"finishedAt", func(r *run.Run) { r.Status, r.ExpiredAt = run.Expired, at }, stamp},
		{"finishedAt", func(r *run.Run) { r.Status, r.UpdatedAt = run.Canceled, at }, stamp},
		{"finishedAt", func(r *run.Run) { r.FinishedAt = at }, ``}, // not final
		{"expiredAt", func(r *run.Run) { r.Status, r.ExpiredAt = run.Expired, at }, stamp},
		{"delayedUntil", func(r *run.Run) { r.Status, r.Trigger.DelayUntil = run.Delayed, at }, stamp},
		{"updatedAt", func(r *run.Run) { r.UpdatedAt = time.Time{} }, `"2026-01-02T03:04:05.678Z"`},
		{"durationMs", func(r *run.Run) {
			r.Status, r.StartedAt, r.FinishedAt = run.Completed, at, at.Add(1500*time.Millisecond)
		}, `1500`},
		{"durationMs", func(r *run.Run) { r.Status, r.StartedAt, r.FinishedAt = run.Completed, at, at.Add(-time.Hour) }, `0`},
		{"ttl", func(r *run.Run) { r.Trigger.TTL = 2 * time.Hour }, `"2h"`},
		{"tags", func(r *run.Run) { r.Trigger.Tags = []string{"user:1", "org:2"} }, `["org:2","user:1"]`},
		{"depth", func(r *run.Run) { r.Depth = 3 }, `3`},
		{"attemptCount", func(r *run.Run) { r.Attempts = 2 }, `2`},
		{"triggerFunction", func(r *run.Run) { r.Trigger.TriggerFunction = "" }, `"trigger"`},
		{"triggerFunction", func(r *run.Run) { r.Trigger.TriggerFunction = run.FunctionBatchTriggerAndWait }, `"batchTriggerAndWait"`},
		{"region", func(r *run.Run) { r.Trigger.Region = "eu" }, `"eu"`},
		{"batchId", func(r *run.Run) { r.Trigger.BatchItem = run.BatchItem{Batch: "batch_1", Index: 4} }, `"batch_1"`},
		{"metadata", func(r *run.Run) { r.Trigger.Metadata = []byte(` {"a": null,"n":1.10} `) }, `{"a":null,"n":1.10}`},
		{"metadata", func(r *run.Run) { r.Trigger.Metadata = []byte(`"text"`) }, ``},
		{"metadata", func(r *run.Run) { r.Trigger.Metadata = []byte(`null`) }, ``},
		{"error", func(r *run.Run) { r.Status, r.Error = run.Failed, &run.Failure{Message: "m"} }, `{"message":"m"}`},
		{"error", func(r *run.Run) {
			r.Status, r.Error = run.Failed, &run.Failure{Message: "m", Name: "n", StackTrace: "s"}
		}, `{"message":"m","name":"n","stackTrace":"s"}`},
		{"output", func(r *run.Run) { r.Status, r.Output = run.Completed, []byte(`{"n":12345678901234567890}`) }, `{"n":12345678901234567890}`},
		{"output", func(r *run.Run) { r.Output, r.OutputType = []byte(`{"json":[1e400]}`), "application/super+json" }, `[1e400]`},
		{"payload", func(r *run.Run) { r.Trigger.Payload = []byte(`{"meta":{"json":0},"json":12345678901234567890}`) }, `12345678901234567890`},
		{"payload", func(r *run.Run) { r.Trigger.Payload = []byte(`{"json":{"a":[],"b":{},"s":"\u00e9"}}`) }, `{"a":[],"b":{},"s":"\u00e9"}`},
		{"payload", func(r *run.Run) { r.Trigger.Payload = []byte(`{"json":null}`) }, `null`},
		{"payload", func(r *run.Run) { r.Trigger.Payload = []byte(`{"meta":1}`) }, ``},
		{"payload", func(r *run.Run) { r.Trigger.Payload = []byte(`not json`) }, `"not json"`},
		{"payload", func(r *run.Run) { r.Trigger.PayloadType, r.Trigger.Payload = "text/plain", []byte("a\"b\x00\n") }, `"a\"b\u0000\n"`},
		{"payload", func(r *run.Run) { r.Trigger.PayloadType, r.Trigger.Payload = "text/plain", []byte{} }, `""`},
		{"payload", func(r *run.Run) { r.Trigger.PayloadType, r.Trigger.Payload = "application/json", []byte(`"7"`) }, `"7"`},
		{"payload", func(r *run.Run) {
			r.Trigger.PayloadType, r.Trigger.Payload = "application/json", []byte(`{"a":1,"a":2}`)
		}, `"{\"a\":1,\"a\":2}"`},
		{"payload", func(r *run.Run) {
			r.Trigger.PayloadType, r.Trigger.Payload = "application/octet-stream", []byte("\xff")
		}, ``},
		{"payload", func(r *run.Run) { r.Trigger.PayloadType = "application/store" }, ``},
		{"payload", func(r *run.Run) { r.Trigger.Payload = nil }, ``},
	} {
		r := plainRun()
		c.change(&r)
		v, _ := newWire(t).get(r)
		if got := string(v[c.name]); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestStatusFlags(t *testing.T) {
	t.Parallel()
	want := map[run.Status]string{
		run.PendingVersion: "isQueued", run.Delayed: "isQueued", run.Queued: "isQueued",
		run.Dequeued: "isExecuting", run.Executing: "isExecuting", run.Waiting: "isWaiting",
		run.Completed: "isCompleted isSuccess", run.Canceled: "isCompleted isFailed isCancelled",
		run.Failed: "isCompleted isFailed", run.Crashed: "isCompleted isFailed", run.SystemFailure: "isCompleted isFailed",
		run.Expired: "isCompleted isFailed", run.TimedOut: "isCompleted isFailed",
	}
	for _, status := range run.Statuses {
		r := plainRun()
		r.Status = status
		v, _ := newWire(t).get(r)
		var set []string
		for _, flag := range []string{"isQueued", "isExecuting", "isWaiting", "isCompleted", "isSuccess", "isFailed", "isCancelled"} {
			switch string(v[flag]) {
			case "true":
				set = append(set, flag)
			case "false":
			default:
				t.Errorf("%s: %s is %s", status, flag, v[flag])
			}
		}
		if got := strings.Join(set, " "); got != want[status] {
			t.Errorf("%s: %q, want %q", status, got, want[status])
		}
		if _, ended := v["finishedAt"]; ended != status.Final() {
			t.Errorf("%s: finishedAt %s", status, v["finishedAt"])
		}
	}
}

func TestAlias(t *testing.T) {
	t.Parallel()
	r := plainRun()
	r.Canonical = id2
	v, h := newWire(t).get(r)
	if string(v["id"]) != `"`+id1.String()+`"` || string(v["canonicalId"]) != `"`+id2.String()+`"` || h.Get("Mollifier-Run-Alias") != id2.String() {
		t.Errorf("%s %s %v", v["id"], v["canonicalId"], h)
	}
	if _, h := newWire(t).get(plainRun()); h.Get("Mollifier-Run-Alias") != "" {
		t.Error("a run is no alias of itself")
	}
}

func TestRelatedRuns(t *testing.T) {
	t.Parallel()
	root, parent := mustID("run_root"), mustID("run_parent")
	other := func(id run.ID) run.Run {
		r := plainRun()
		r.ID, r.Canonical = id, id
		return r
	}
	for _, c := range []struct {
		name         string
		root, parent run.ID
		have         []run.ID
		want         string
	}{
		{"none", run.ID{}, run.ID{}, nil, "children"},
		{"its own root", id1, run.ID{}, nil, "children"},
		{"both", root, parent, []run.ID{root, parent}, "root parent children"},
		{"one and the same", root, root, []run.ID{root}, "root parent children"},
		{"gone", root, parent, []run.ID{root}, "root children"},
	} {
		w := newWire(t)
		for _, id := range c.have {
			w.put(other(id))
		}
		r := plainRun()
		r.RootRun, r.Trigger.ParentRun = c.root, c.parent
		v, _ := w.get(r)
		var related map[string]json.RawMessage
		if err := json.Unmarshal(v["relatedRuns"], &related); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range []string{"root", "parent", "children"} {
			raw, ok := related[name]
			if !ok {
				continue
			}
			got = append(got, name)
			if name != "children" && (!strings.Contains(string(raw), `"isQueued":true`) || strings.Contains(string(raw), "relatedRuns")) {
				t.Errorf("%s: %s is %s", c.name, name, raw)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// Children are shown as far as they may be read and can be, and a header says when
// there may be more.
func TestChildren(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	child := plainRun()
	child.ID, child.Canonical, child.Trigger.ParentRun, child.Status = id2, id2, id1, run.Waiting
	w.put(child)
	r := plainRun()
	r.Canonical = r.ID
	for _, c := range []struct {
		version  string
		partial  bool
		err      error
		children string
	}{
		{"2025-07-16", false, nil, `[{"id":"` + id2.String()},
		{"2025-07-16", false, nil, `"status":"WAITING"`},
		{"", true, nil, `"status":"FROZEN"`},
		{"2025-07-16", false, run.ErrUnavailable, `"relatedRuns":{"children":[]}`},
	} {
		w.engine.partial, w.engine.childrenErr = c.partial, c.err
		w.put(r)
		req := request(http.MethodGet, "/api/v3/runs/"+id1.String(), prodKey, "")
		req.Header.Set("X-Trigger-Api-Version", c.version)
		rec := w.do(req)
		shown := rec.Header().Get("Mollifier-Partial") == "true"
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), c.children) || shown != (c.partial || c.err != nil) {
			t.Errorf("%+v: partial %v, %d %s", c, shown, rec.Code, rec.Body)
		}
	}
}

func TestMissingRun(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.runs["env_dev/"+id1.String()] = plainRun() // another environment's
	for _, id := range []string{id1.String(), "run_unknown", "run%2Fx", "a%00b", "%20", "%F0%9F%98%80", strings.Repeat("x", 200)} {
		rec := w.refused(request(http.MethodGet, "/api/v3/runs/"+id, prodKey, ""), http.StatusNotFound, "Run not found")
		if rec.Header().Get("X-Should-Retry") != "false" {
			t.Errorf("%s: x-should-retry %q", id, rec.Header().Get("X-Should-Retry"))
		}
	}
	w.engine.readErr = &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres"}
	rec := w.refused(request(http.MethodGet, "/api/v3/runs/"+id1.String(), prodKey, ""), http.StatusServiceUnavailable, "A store did not answer")
	if rec.Header().Get("Retry-After") != "1" || rec.Header().Get("X-Should-Retry") != "" {
		t.Errorf("%v", rec.Header())
	}
}
