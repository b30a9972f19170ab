package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Each change reaches the engine as it was asked for, and its answer has what
// clients read.
func TestChanges(t *testing.T) {
	t.Parallel()
	at := func(method, path, body string) *http.Request {
		return request(method, strings.ReplaceAll(path, "ID", id1.String()), prodKey, body)
	}
	for _, c := range []struct {
		request *http.Request
		change  string
		answer  string // part of the body
	}{
		{at("POST", "/api/v2/runs/ID/cancel", ""), "cancel Canceled by user", `{"id":"` + id1.String() + `"}`},
		{at("POST", "/api/v1/runs/ID/replay", ""), "replay", `{"id":"` + id1.String() + `"}`},
		{at("POST", "/api/v1/runs/ID/replay", `{}`), "replay", `{"id":`},
		{at("POST", "/api/v1/runs/ID/cancel", ""), "cancel Canceled by user", `{"id":`},
		{at("POST", "/api/v1/runs/ID/tags", `{"tags":"a"}`), "tags a", `{"message":"Successfully set 1 new tags."}`},
		{at("POST", "/api/v1/runs/ID/tags", `{"tags":["a"," ","b"]}`), "tags a,b", "set 2 new"},
		{at("POST", "/api/v1/runs/ID/tags", `{"tags":[" "]}`), "tags ", "No new tags"},
		{at("POST", "/api/v1/runs/ID/reschedule", `{"delay":"1h"}`), "reschedule 2026-03-04T06:06:07Z", `"taskIdentifier"`},
		{at("PUT", "/api/v1/runs/ID/metadata", `{"metadata":{"a":1e400}}`), "metadata of " + id1.String(), `{"metadata":{`},
		{at("POST", "/api/v1/idempotencyKeys/a%2Fb%20c/reset", `{"taskIdentifier":"t"}`), "reset org_1 env_prod t a/b c", `{"id":"a/b c"}`},
	} {
		w := newWire(t)
		w.engine.runs["env_prod/"+id1.String()] = plainRun()
		rec := w.do(c.request)
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), c.answer) {
			t.Errorf("%s: %d %s", c.request.URL, rec.Code, rec.Body)
		}
		if diff := cmp.Diff([]string{c.change}, w.engine.changes); diff != "" {
			t.Errorf("%s: %s", c.request.URL, diff)
		}
	}
}

func TestChangesRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path, body string
		err                error
		status             int
		name               string
	}{
		{"POST", "/api/v2/runs/ID/cancel", "", run.ErrNotFound, 404, "run-not-found"},
		{"POST", "/api/v2/runs/a%2Fb/cancel", "", nil, 404, "run-not-found"},
		{"POST", "/api/v2/runs/ID/cancel", "", run.ErrUnavailable, 503, "unavailable"},
		{"POST", "/api/v1/runs/ID/reschedule", `{"delay":"1h"}`, run.ErrConflict, 400, "not-delayed"},
		{"POST", "/api/v1/runs/ID/reschedule", `{"delay":"soon"}`, nil, 400, "invalid"},
		{"POST", "/api/v1/runs/ID/reschedule", `{}`, nil, 400, "invalid"},
		{"POST", "/api/v1/runs/ID/reschedule", `{"delay":"2020-01-01T00:00:00Z"}`, nil, 400, "invalid"},
		{"POST", "/api/v1/runs/ID/tags", `{"tags":["a"]}`, &run.InvalidError{Field: "tags", Rule: "at most 10", Fault: run.Unprocessable}, 422, "unprocessable"},
		{"POST", "/api/v1/runs/ID/tags", `{"tags":1}`, nil, 400, "invalid"},
		{"POST", "/api/v1/runs/ID/tags", `{}`, nil, 400, "invalid"},
		{"PUT", "/api/v1/runs/ID/metadata", `{"metadata":"x"}`, nil, 400, "invalid"},
		{"PUT", "/api/v1/runs/ID/metadata", `{"metadata":{}}`, run.ErrConflict, 422, "run-ended"},
		{"PUT", "/api/v1/runs/ID/metadata", `{"operations":1}`, nil, 400, "invalid"},
		{"PUT", "/api/v1/runs/ID/metadata", `{"operations":null}`, nil, 400, "invalid"},
		{"PUT", "/api/v1/runs/ID/metadata", `{"operations":[null]}`, nil, 400, "invalid"},
		{"POST", "/api/v1/idempotencyKeys/k/reset", `{}`, nil, 400, "invalid"},
		{"POST", "/api/v1/idempotencyKeys/k/reset", `{"taskIdentifier":"t"}`, run.ErrNotFound, 404, "key-not-found"},
	} {
		w := newWire(t)
		w.engine.runs["env_prod/"+id1.String()] = plainRun()
		w.engine.changeErr = c.err
		rec := w.do(request(c.method, strings.ReplaceAll(c.path, "ID", id1.String()), prodKey, c.body))
		if rec.Code != c.status || member(t, rec, "type") != "urn:mollifier:problem:"+c.name {
			t.Errorf("%s %s, %v: %d %s", c.path, c.body, c.err, rec.Code, rec.Body)
		}
		if c.err == nil && len(w.engine.changes) > 0 {
			t.Errorf("%s %s reached the engine: %v", c.path, c.body, w.engine.changes)
		}
	}
}

// A fault in the operations for a relative is found before the run itself changes,
// and operations win over metadata even if there are none of them: case 91.
func TestMetadataIsLookedAtAsAWhole(t *testing.T) {
	t.Parallel()
	put := func(body string) (*wire, *httptest.ResponseRecorder) {
		w := newWire(t)
		w.engine.runs["env_prod/"+id1.String()] = plainRun()
		return w, w.do(request("PUT", "/api/v1/runs/"+id1.String()+"/metadata", prodKey, body))
	}
	set := `{"type":"set","key":"a","value":1}`
	for operation, rule := range map[string]string{
		`{"type":"nope","key":"a","value":1}`: ".type: one of set, append, remove, increment, delete, update", `{}`: ".type: one of ",
		`{"type":"set","key":"a"}`: ".set: value must be JSON", `{"type":"increment","key":"a","value":"1"}`: ".increment: value must be a number",
		`{"type":"update","value":[]}`: ".update: value must be an object", `{"type":"set","key":"$.*","value":1}`: ".key: ",
		`1`: ": must be an array of objects", `null`: ".type: one of ",
	} {
		for _, name := range []string{"operations", "parentOperations", "rootOperations"} {
			w, rec := put(`{"` + name + `":[` + set + `,` + operation + `]}`)
			if rec.Code != 400 || !strings.HasPrefix(member(t, rec, "error"), name+rule) || len(w.engine.changes) != 0 {
				t.Errorf("%s %s: %d %s, %v", name, operation, rec.Code, rec.Body, w.engine.changes)
			}
		}
	}
	if w, rec := put(`{"metadata":{"a":1},"operations":[]}`); rec.Code != 200 || len(w.engine.changes) != 0 {
		t.Errorf("%d %v", rec.Code, w.engine.changes)
	}
}

// Operations keep their values' own bytes; those of parent and root go there.
func TestMetadataOperations(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	r := plainRun()
	r.Trigger.ParentRun, r.RootRun = id2, id1
	w.engine.runs["env_prod/"+id1.String()] = r
	rec := w.do(request("PUT", "/api/v1/runs/"+id1.String()+"/metadata", prodKey,
		`{"operations":[{"type":"increment","key":"n","value":1e400}],"parentOperations":[{"type":"delete","key":"$.a"}]}`))
	if rec.Code != 200 { // the parent does not exist: no reason to fail
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if diff := cmp.Diff([]string{"metadata of " + id1.String(), "metadata of " + id2.String()}, w.engine.changes); diff != "" {
		t.Error(diff)
	}
	want := run.MetadataChange{Operations: []run.MetadataOperation{{Type: run.OpDelete, Key: "$.a"}}}
	if diff := cmp.Diff(want, w.engine.metadata); diff != "" {
		t.Error(diff)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.listed = fallback.Page{Runs: []run.Run{plainRun()}, Next: id2, Partial: true}
	q := url.Values{
		"page[size]": {"7"}, "page[after]": {id1.String()}, "filter[status]": {"QUEUED,COMPLETED"},
		"filter[taskIdentifier]": {"a,b"}, "filter[tag]": {"x"}, "filter[isTest]": {"true"},
		"filter[createdAt][from]": {"1000"}, "filter[machine]": {"micro"}, "filter[batch]": {"batch_1"},
	}
	rec := w.do(request("GET", "/api/v1/runs?"+q.Encode(), prodKey, ""))
	test := true
	if diff := cmp.Diff(runstore.Filter{
		Statuses: []run.Status{run.Queued, run.Completed}, Tasks: []string{"a", "b"}, Tags: []string{"x"},
		Machines: []string{"micro"}, Test: &test, From: time.UnixMilli(1000), Batch: "batch_1",
	}, w.engine.filter); diff != "" {
		t.Error(diff)
	}
	if w.engine.page != (runstore.Page{After: id1, Limit: 7}) {
		t.Errorf("%+v", w.engine.page)
	}
	for _, part := range []string{`"env":{"id":"env_prod","name":"prod"}`, `"pagination":{"next":"` + id2.String() + `"}`, `"status":"QUEUED"`} {
		if !strings.Contains(rec.Body.String(), part) {
			t.Errorf("%s lacks %s", rec.Body, part)
		}
	}
	if rec.Code != 200 || rec.Header().Get("Mollifier-Partial") != "true" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}

	w = newWire(t)
	if rec := w.do(request("GET", "/api/v1/runs", prodKey, "")); rec.Body.String() != `{"data":[],"pagination":{}}` || w.engine.page.Limit != 25 {
		t.Errorf("%s, limit %d", rec.Body, w.engine.page.Limit)
	}
	w.do(request("GET", "/api/v1/runs?page[after]="+id1.String()+"&page[before]="+id2.String(), prodKey, ""))
	if w.engine.page != (runstore.Page{Before: id2, Limit: 25}) {
		t.Errorf("%+v", w.engine.page)
	}
	w.do(request("GET", "/api/v1/runs?filter%5BcreatedAt%5D%5Bperiod%5D=1h", prodKey, ""))
	if !w.engine.filter.From.Equal(now.Add(-time.Hour)) {
		t.Errorf("from %v", w.engine.filter.From)
	}
	rec = newWire(t).do(request("GET", "/api/v1/runs?filter[isTest]=1", prodKey, ""))
	if want := `"details":[{"path":["filter[isTest]"],"message":"must be true or false"}]`; member(t, rec, "error") != "Query Error" || !strings.Contains(rec.Body.String(), want) {
		t.Errorf("%s lacks %s", rec.Body, want)
	}
	for query, field := range map[string]string{
		"page[size]=%zz": "query",
		"page[size]=0":   "page[size]", "page[size]=101": "page[size]", "page[after]=a/b": "page[after]",
		"filter[tag]=%00": "filter[tag]", "filter[queue]=%ff": "filter[queue]", "filter[batch]=a%00": "filter[batch]",
		"filter[bulkAction]=%00": "filter[bulkAction]", "filter[schedule]=%00": "filter[schedule]",
		"filter[status]=DONE": "filter[status]", "filter[isTest]=1": "filter[isTest]", "filter[machine]=huge": "filter[machine]",
		"filter[createdAt][from]=x": "filter[createdAt][from]", "filter[createdAt][period]=x": "filter[createdAt][period]",
	} {
		rec := newWire(t).do(request("GET", "/api/v1/runs?"+query, prodKey, ""))
		if rec.Code != 400 || member(t, rec, "field") != field {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// Clients that turn round in a list send the cursor that they follow and the one
// that they followed before; the page is that of the first of them.
func TestPagingBackAndForth(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.listed = fallback.Page{Runs: []run.Run{plainRun()}, Next: id1, Previous: id2}
	after, before := "", ""
	for i, step := range []struct {
		forth          bool
		next, previous string // as the page shows them
	}{
		{true, "", ""},
		{true, "", ""},
		{false, ".1", ""},
		{false, ".1", ""},
		{true, ".1", ".1"},
		{true, ".1", ".1"},
		{false, ".2", ".1"},
		{true, ".2", ".2"},
		{false, ".3", ".2"},
		{false, ".3", ".2"},
		{true, ".3", ".3"},
	} {
		q := url.Values{"page[after]": {after}, "page[before]": {before}}
		rec := w.do(request("GET", "/api/v1/runs?"+q.Encode(), prodKey, ""))
		want := runstore.Page{Limit: 25}
		if i > 0 && step.forth {
			want.After = id1
		} else if i > 0 {
			want.Before = id2
		}
		next, previous := id1.String()+step.next, id2.String()+step.previous
		if w.engine.page != want || !strings.Contains(rec.Body.String(), `"pagination":{"next":"`+next+`","previous":"`+previous+`"}`) {
			t.Fatalf("step %d: %+v, want %+v; %s", i, w.engine.page, want, rec.Body)
		}
		if turn := i + 1; turn < 11 && []bool{true, false, false, true, true, false, true, false, false, true}[i] {
			after = next
		} else {
			before = previous
		}
	}
	for _, bad := range []string{"run_a.", "run_a.0", "run_a.-1", "run_a.x", "run_a.1.1", "run_a.99999999", ".1"} {
		w.refused(request("GET", "/api/v1/runs?page[after]="+bad, prodKey, ""), http.StatusBadRequest, "Query Error")
	}
}

// What no store could hold is not asked of one.
func TestNamesThatNothingHas(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	for _, name := range []string{"%00", "a%2Fb", "%FF", strings.Repeat("b", 129)} {
		w.refused(request("GET", "/api/v2/batches/"+name, prodKey, ""), http.StatusNotFound, "Batch not found")
		w.refused(request("GET", "/realtime/v1/batches/"+name+"?offset=-1", prodKey, ""), http.StatusNotFound, "Batch not found")
		r := request("POST", "/api/v3/batches/"+name+"/items", prodKey, "{}")
		r.Header.Set("Content-Type", "application/x-ndjson")
		w.refused(r, http.StatusUnprocessableEntity, "This environment has no such batch")
	}
	for _, tags := range []string{"a,%00", "%FF"} {
		w.refused(request("GET", "/realtime/v1/runs?offset=-1&tags="+tags, prodKey, ""), http.StatusBadRequest, "tags: must be valid UTF-8")
	}
	w.do(request("GET", "/api/v1/runs?filter[queue]="+url.QueryEscape("my queue,task/a b,plain,!!"), prodKey, ""))
	if want := []string{"my queue", "myqueue", "task/a b", "task/ab", "plain", "!!"}; !cmp.Equal(w.engine.filter.Queues, want) {
		t.Errorf("%q", w.engine.filter.Queues)
	}
}

func TestContentEncoding(t *testing.T) {
	t.Parallel()
	for coding, status := range map[string]int{"gzip": 415, "br, identity": 415, "identity": 200, "Identity": 200, "": 200} {
		r := request("POST", triggerPath, prodKey, `{}`)
		r.Header.Set("Content-Encoding", coding)
		if rec := newWire(t).do(r); rec.Code != status {
			t.Errorf("%q: %d %s", coding, rec.Code, rec.Body)
		}
	}
}

// A mollified trigger says so; a caller that meets its run does not hear it again.
func TestNotice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer run.Answer
		want   bool
	}{
		{run.Answer{ID: id1, State: run.Buffered, Durability: run.DurableRedis}, true},
		{run.Answer{ID: id1, State: run.Buffered, Durability: run.DurableRedis, Cached: true}, false},
		{run.Answer{ID: id1}, false},
	} {
		w := newWire(t)
		w.engine.result = run.NewResult(c.answer)
		rec := w.do(request("POST", triggerPath, prodKey, `{}`))
		if got := strings.Contains(rec.Body.String(), `"notice":{"code":"mollifier.queued","message":"`); got != c.want {
			t.Errorf("%+v: %s", c.answer, rec.Body)
		}
		if c.want && (member(t, rec, "state") != "buffered" || member(t, rec, "durability") != "redis") {
			t.Errorf("%s", rec.Body)
		}
	}
}

// A full buffer is a 503 that says when to come back.
func TestBufferFull(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.err = &run.RefusedError{Reason: run.ErrOverloaded, Part: "buffer", RetryAfter: 1500 * time.Millisecond}
	rec := w.do(request("POST", triggerPath, prodKey, `{}`))
	if rec.Code != 503 || rec.Header().Get("Retry-After") != "2" || member(t, rec, "type") != "urn:mollifier:problem:buffer-full" {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
}

// An environment over its share is told so, and when to come back, in the form
// that clients read.
func TestOverQuota(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.err = &run.RefusedError{Reason: run.ErrQuota, Part: "buffer", RetryAfter: time.Minute}
	began := time.Now().UnixMilli()
	rec := w.do(request("POST", triggerPath, prodKey, `{}`))
	reset, err := strconv.ParseInt(rec.Header().Get("X-Ratelimit-Reset"), 10, 64)
	if rec.Code != 429 || err != nil || rec.Header().Get("Retry-After") != "10" || member(t, rec, "type") != "urn:mollifier:problem:over-quota" {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if reset < began+10_000 || reset > time.Now().UnixMilli()+10_000 {
		t.Errorf("the reset is %d ms ahead", reset-began)
	}
}

// What a run in the buffer looks like: queued, delayed or cancelled, as the
// engine reads it, with an end only where there is one.
func TestSyntheticRuns(t *testing.T) {
	t.Parallel()
	for status, want := range map[run.Status]string{run.Queued: "isQueued", run.Delayed: "isQueued", run.Canceled: "isCancelled"} {
		r := plainRun()
		r.Status, r.UpdatedAt = status, time.Time{}
		if status == run.Delayed {
			r.Trigger.DelayUntil = now.Add(time.Hour)
		}
		body, _ := newWire(t).get(r)
		if string(body[want]) != "true" || string(body["updatedAt"]) != string(body["createdAt"]) || body["startedAt"] != nil {
			t.Errorf("%s: %v", status, body)
		}
		if _, ended := body["finishedAt"]; ended != (status == run.Canceled) && status != run.Canceled {
			t.Errorf("%s: %v", status, body)
		}
	}
}
