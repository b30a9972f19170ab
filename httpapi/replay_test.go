package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/run"
)

// What the body names is otherwise, the rest is as it was; and the request key
// protects a replay as it protects a trigger.
func TestReplayOverrides(t *testing.T) {
	t.Parallel()
	old := plainRun()
	old.Trigger.Tags, old.Trigger.Machine, old.Trigger.TTL, old.Trigger.TTLText = []string{"old"}, "micro", time.Hour, "60m"
	for body, change := range map[string]func(*run.Trigger){
		``:   func(*run.Trigger) {},
		`{}`: func(*run.Trigger) {},
		`{"payload":"{\"json\":{\"a\":1}}","tags":["x"],"delay":"1m","payloadType":"application/super+json"}`: func(t *run.Trigger) {
			t.Payload, t.PayloadSize, t.Tags, t.DelayUntil = []byte(`{"json":{"a":1}}`), 16, []string{"x"}, now.Add(time.Minute)
		},
		`{"payload":{"n":1e400},"metadata":{"a":1},"queue":"q!","concurrencyKey":7,"machine":"small-1x","version":"v","region":"eu",
		  "ttl":90,"idempotencyKey":"k","idempotencyKeyTTL":"1h","maxAttempts":2,"maxDuration":1,"priority":-1,"unknown":[]}`: func(t *run.Trigger) {
			t.Payload, t.PayloadType, t.PayloadSize, t.Metadata = []byte(`{"n":1e400}`), "", 11, []byte(`{"a":1}`)
			t.Queue, t.ConcurrencyKey, t.Machine, t.LockToVersion, t.Region = "q", "7", "small-1x", "v", "eu"
			t.TTL, t.TTLText, t.IdempotencyKey, t.KeyTTL = 90*time.Second, "", "k", time.Hour
			t.MaxAttempts, t.MaxDuration, t.Priority = 2, 5*time.Second, -time.Second
		},
		`{"tags":[],"ttl":0}`: func(t *run.Trigger) { t.Tags, t.TTL, t.TTLText = nil, 0, "" },
	} {
		w := newWire(t)
		w.put(old)
		r := request(http.MethodPost, "/api/v1/runs/"+id1.String()+"/replay", prodKey, body)
		r.Header.Set("X-Trigger-Request-Idempotency-Key", "call-1")
		want := old.Trigger
		change(&want)
		want.RequestKey = "call-1"
		if diff := cmp.Diff(want, w.triggered(r), cmpIDs); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	for field, body := range map[string]string{
		"tags": `{"tags":1}`, "delay": `{"delay":"soon"}`, "ttl": `{"ttl":-1}`, "machine": `{"machine":1}`, "body": `[]`,
		"idempotencyKeyTTL": `{"idempotencyKeyTTL":"1"}`, "payload": `{"payload":1,"payloadType":"text/plain"}`,
	} {
		w := newWire(t)
		w.put(old)
		if rec := w.refused(request(http.MethodPost, "/api/v1/runs/"+id1.String()+"/replay", prodKey, body), 400, field); member(t, rec, "field") != field {
			t.Errorf("%s", rec.Body)
		}
	}
	// The engine's own refusals name the field as this body does.
	w := newWire(t)
	w.put(old)
	w.engine.err = &run.InvalidError{Field: "options.lockToVersion", Rule: "at most 128 bytes"}
	rec := w.do(request(http.MethodPost, "/api/v1/runs/"+id1.String()+"/replay", prodKey, `{"version":"v"}`))
	if rec.Code != 400 || member(t, rec, "field") != "version" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(*run.Run)
		status int
		want   string
	}{
		{func(*run.Run) {}, 404, `"type":"urn:mollifier:problem:run-not-finished"`},
		{func(r *run.Run) { r.Status, r.Output = run.Completed, []byte(`{"n":1e400}`) }, 200, `{"ok":true,"id":"ID","taskIdentifier":"send-email","output":"{\"n\":1e400}","outputType":"application/json"}`},
		{func(r *run.Run) { r.Status, r.OutputType = run.Completed, "text/plain" }, 200, `{"ok":true,"id":"ID","taskIdentifier":"send-email","outputType":"text/plain"}`},
		{func(r *run.Run) { r.Status, r.Error = run.Failed, &run.Failure{Message: "m", StackTrace: "s"} }, 200, `"error":{"type":"BUILT_IN_ERROR","name":"Error","message":"m","stackTrace":"s"}`},
		{func(r *run.Run) { r.Status, r.Error = run.Canceled, &run.Failure{Message: "Canceled by user"} }, 200, `"error":{"type":"INTERNAL_ERROR","code":"TASK_RUN_CANCELLED","message":"Canceled by user"}`},
		{func(r *run.Run) { r.Status = run.Expired }, 200, `{"ok":false,"id":"ID","taskIdentifier":"send-email","error":{"type":"INTERNAL_ERROR","code":"TASK_RUN_EXPIRED","message":"EXPIRED"}}`},
	} {
		w := newWire(t)
		r := plainRun()
		c.change(&r)
		w.put(r)
		rec := w.do(request(http.MethodGet, "/api/v1/runs/"+id1.String()+"/result", prodKey, ""))
		if got := strings.ReplaceAll(rec.Body.String(), id1.String(), "ID"); rec.Code != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%d %s lacks %s", rec.Code, got, c.want)
		}
	}
}

// Callers that name no version of the API get the words from before it.
func TestOldVocabulary(t *testing.T) {
	t.Parallel()
	for status, want := range map[run.Status]string{
		run.Waiting: "FROZEN", run.Dequeued: "EXECUTING", run.Executing: "EXECUTING", run.Queued: "QUEUED", run.PendingVersion: "PENDING_VERSION",
	} {
		w := newWire(t)
		r := plainRun()
		r.Status = status
		w.put(r)
		w.engine.listed.Runs = []run.Run{r}
		for _, path := range []string{"/api/v3/runs/" + id1.String(), "/api/v1/runs/" + id1.String(), "/api/v1/runs?filter[status]=EXECUTING"} {
			ask := request(http.MethodGet, path, prodKey, "")
			ask.Header.Del("X-Trigger-Api-Version")
			rec := w.do(ask)
			executing := status == run.Waiting || status == run.Dequeued || status == run.Executing
			if body := rec.Body.String(); !strings.Contains(body, `"status":"`+want+`"`) || strings.Contains(body, `"isExecuting":true`) != executing || strings.Contains(body, `"isWaiting":true`) {
				t.Errorf("%s as %s: %s", status, want, body)
			}
		}
		if diff := cmp.Diff([]run.Status{run.Executing, run.Dequeued}, w.engine.filter.Statuses); diff != "" {
			t.Error(diff)
		}
	}
	w := newWire(t)
	ask := request(http.MethodGet, "/api/v1/runs?filter[status]=FROZEN", prodKey, "")
	if rec := w.do(ask); rec.Code != 400 {
		t.Errorf("%d", rec.Code)
	}
	ask.Header.Del("X-Trigger-Api-Version")
	if rec := w.do(ask); rec.Code != 200 || w.engine.filter.Statuses[0] != run.Waiting {
		t.Errorf("%d %v", rec.Code, w.engine.filter)
	}
}

// A key opens one environment, so a list of a project is that of its key's.
func TestProjectList(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]bool{"": true, "?filter[env]=prod": true, "?filter[env]=stg,prod": true, "?filter[env]=stg": false} {
		w := newWire(t)
		w.engine.listed.Runs = []run.Run{plainRun()}
		rec := w.do(request(http.MethodGet, "/api/v1/projects/proj_abc/runs"+query, prodKey, ""))
		if rec.Code != 200 || strings.Contains(rec.Body.String(), id1.String()) != want {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// A parent that this environment does not have leaves no trace in the run.
func TestUnknownParent(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	r := plainRun()
	r.Trigger.ParentRun, r.RootRun, r.Depth = id2, id2, 1
	if v, _ := w.get(r); string(v["depth"]) != "0" || string(v["relatedRuns"]) != `{"children":[]}` {
		t.Errorf("depth %s, %s", v["depth"], v["relatedRuns"])
	}
	parent := plainRun()
	parent.ID, parent.Canonical = id2, id2
	w.put(parent)
	if v, _ := w.get(r); string(v["depth"]) != "1" || !strings.Contains(string(v["relatedRuns"]), `"parent":{"id":"`+id2.String()) {
		t.Errorf("depth %s, %s", v["depth"], v["relatedRuns"])
	}
}

// The ttl is read back as the caller wrote it.
func TestTTLAsWritten(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[string]string{`"24h"`: `"24h"`, `"90s"`: `"90s"`, `3600`: `"1h"`, `"0s"`: ``, `0`: ``} {
		w := newWire(t)
		r := plainRun()
		r.Trigger = w.trigger(prodKey, `{"options":{"ttl":`+ttl+`}}`)
		if v, _ := w.get(r); string(v["ttl"]) != want {
			t.Errorf("%s: %s", ttl, v["ttl"])
		}
	}
}

// Operations for a parent or root that a run does not have are its own; and what
// a relative refuses does not undo what the run itself was told.
func TestMetadataOfRelatives(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.put(plainRun())
	rec := w.do(request("PUT", "/api/v1/runs/"+id1.String()+"/metadata", prodKey,
		`{"rootOperations":[{"type":"set","key":"a","value":1}],"parentOperations":[{"type":"set","key":"a","value":2}]}`))
	if rec.Code != 200 || cmp.Diff([]string{"metadata of " + id1.String(), "metadata of " + id1.String()}, w.engine.changes) != "" {
		t.Errorf("%d %s, %v", rec.Code, rec.Body, w.engine.changes)
	}
	w.engine.changeErr = run.ErrUnavailable
	rec = w.do(request("PUT", "/api/v1/runs/"+id1.String()+"/metadata", prodKey, `{"rootOperations":[{"type":"set","key":"a","value":1}]}`))
	if rec.Code != 200 || !strings.Contains(w.log.String(), "did not reach a relative") {
		t.Errorf("%d %s, log %s", rec.Code, rec.Body, w.log)
	}
}

// cmpIDs compares run ids, which have no exported fields.
var cmpIDs = cmp.Comparer(func(a, b run.ID) bool { return a == b })
