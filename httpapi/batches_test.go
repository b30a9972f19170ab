package httpapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

const itemsPath = "/api/v3/batches/batch_1/items"

// stream is a request of items as the SDK sends it: chunked, of no known length.
func stream(path, key string, lines ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, io.MultiReader(strings.NewReader(strings.Join(lines, "\n"))))
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/x-ndjson")
	return r
}

func item(index int) string {
	return fmt.Sprintf(`{"index":%d,"task":"send-email","payload":"{\"json\":{\"i\":%[1]d}}","options":{"payloadType":"application/super+json"}}`, index)
}

func newBatchWire(t *testing.T, items int) *wire {
	w := newWire(t)
	w.engine.batch.ID, w.engine.batch.Items, w.engine.batch.CreatedAt = "batch_1", items, now
	return w
}

func TestCreateBatch(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 2)
	w.engine.batch.IdempotencyKey = "k"
	r := request(http.MethodPost, "/api/v3/batches", prodKey,
		`{"runCount":2,"taskIdentifiers":["a"],"idempotencyKey":"k","idempotencyKeyOptions":{"key":"u","scope":"run"},"parentRunId":"`+id1.String()+`","resumeParentOnCompletion":true}`)
	r.Header.Set("X-Trigger-Request-Idempotency-Key", "r1")
	rec := w.do(r)
	if rec.Code != http.StatusAccepted || member(t, rec, "id") != "batch_1" || member(t, rec, "isCached") != "false" || member(t, rec, "idempotencyKey") != "k" ||
		!strings.Contains(rec.Header().Get("X-Trigger-Jwt-Claims"), `"read:batch:batch_1"`) || rec.Header().Get("X-Trigger-Jwt") == "" {
		t.Errorf("%d %s %v", rec.Code, rec.Body, rec.Header())
	}
	want := run.BatchRequest{
		Organisation: "org_1", Environment: "env_prod", Items: 2, IdempotencyKey: "k", KeyOptions: run.KeyOptions{Key: "u", Scope: "run"},
		RequestKey: "r1", ParentRun: id1, ResumeParent: true,
	}
	if w.engine.request != want {
		t.Errorf("%+v", w.engine.request)
	}
	w.engine.batch.SealedAt = now
	if rec := w.do(request(http.MethodPost, "/api/v3/batches", prodKey, `{"runCount":2}`)); member(t, rec, "isCached") != "true" {
		t.Errorf("%s", rec.Body)
	}
	for body, field := range map[string]string{
		`{}`: "runCount", `{"runCount":0}`: "runCount", `{"runCount":1001}`: "runCount", `{"runCount":"2"}`: "runCount", `{"runCount":1.5}`: "runCount",
		`{"runCount":1,"parentRunId":"no run"}`: "parentRunId", `{"runCount":1,"idempotencyKey":"\u0000"}`: "idempotencyKey", `[`: "body",
	} {
		rec := w.refused(request(http.MethodPost, "/api/v3/batches", prodKey, body), http.StatusBadRequest, field)
		if member(t, rec, "field") != field {
			t.Errorf("%s: %s", body, rec.Body)
		}
	}
	large := `{"runCount":1,"x":"` + strings.Repeat("x", 131_072) + `"}`
	w.refused(request(http.MethodPost, "/api/v3/batches", prodKey, large), http.StatusRequestEntityTooLarge, "too large")
}

func TestBatchItems(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 4)
	w.engine.batch.Taken = []int{3}
	w.engine.batch.ParentRun, w.engine.batch.ResumeParent = id1, true
	rec := w.do(stream(itemsPath, prodKey, item(0), "", item(1), item(0), item(3), ""))
	if rec.Code != http.StatusOK || member(t, rec, "itemsAccepted") != "2" || member(t, rec, "itemsDeduplicated") != "2" ||
		member(t, rec, "sealed") != "false" || member(t, rec, "expectedCount") != "4" || member(t, rec, "enqueuedCount") != "2" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if len(w.engine.triggers) != 2 || !slices.Equal(w.engine.groups, []int{2}) {
		t.Fatalf("%v", w.engine.groups)
	}
	got := w.engine.triggers[1]
	if got.BatchItem != (run.BatchItem{Batch: "batch_1", Index: 1}) || string(got.Payload) != `{"json":{"i":1}}` || got.ParentRun != id1 || !got.ResumeParent {
		t.Errorf("%+v", got)
	}
	for name, c := range map[string]struct {
		status int
		text   string
		lines  []string
	}{
		"no JSON":      {400, "items[1]", []string{item(0), `{"index":`}},
		"no object":    {400, "items[0]", []string{`[]`}},
		"no index":     {422, "items[0].index", []string{`{"task":"t"}`}},
		"no task":      {422, "items[0].task", []string{`{"index":0}`}},
		"past the end": {422, "items[0].index", []string{item(4)}},
		"bad option":   {422, "items[0].options.ttl", []string{`{"index":0,"task":"t","options":{"ttl":"soon"}}`}},
		"bad type":     {422, "items[0].options.tags", []string{`{"index":0,"task":"t","options":{"tags":1}}`}},
		"metadata":     {422, "items[0].options.metadata", []string{`{"index":0,"task":"t","options":{"metadata":"` + strings.Repeat("x", run.MaxMetadata) + `"}}`}},
	} {
		w := newBatchWire(t, 4)
		rec := w.refused(stream(itemsPath, prodKey, c.lines...), c.status, c.text)
		if rec.Header().Get("X-Request-Id") == "" || len(w.engine.triggers) != 0 {
			t.Errorf("%s: %s", name, rec.Body)
		}
	}
	w.refused(stream("/api/v3/batches/batch_2/items", prodKey, item(0)), http.StatusUnprocessableEntity, "no such batch")
	w.refused(stream(itemsPath, devKey, item(0)), http.StatusUnprocessableEntity, "no such batch")
	r := stream(itemsPath, prodKey, item(0))
	r.Header.Set("Content-Type", "application/json")
	w.refused(r, http.StatusUnsupportedMediaType, "ndjson")
	w.engine.batch.SealedAt = now
	rec = w.do(stream(itemsPath, prodKey, item(0)))
	if rec.Code != http.StatusOK || member(t, rec, "sealed") != "true" || member(t, rec, "itemsAccepted") != "0" || member(t, rec, "itemsDeduplicated") != "0" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// What has to be sent again ends the stream with its own status; what is the item's
// answer for good does not.
func TestBatchItemErrors(t *testing.T) {
	t.Parallel()
	for err, status := range map[error]int{
		&run.RefusedError{Reason: run.ErrQuota}: 429, &run.RefusedError{Reason: run.ErrUnavailable}: 503, run.ErrClaimTimeout: 503,
	} {
		w := newBatchWire(t, 1)
		w.engine.itemErr = err
		if rec := w.do(stream(itemsPath, prodKey, item(0))); rec.Code != status {
			t.Errorf("%v: %d", err, rec.Code)
		}
	}
}

// A line that is too long becomes a run that failed; its neighbours are as ever.
func TestOversizeItem(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 3)
	fits := `{"index":2,"task":"t","options":{"payloadType":"text/plain"},"payload":"` // 3 MiB to the byte
	fits += strings.Repeat("y", 3_145_728-len(fits)-2) + `"}`
	rec := w.do(stream(itemsPath, prodKey, item(0), `{"index":1,"task":"large","payload":"`+strings.Repeat("x", 3_145_728)+`"}`, fits))
	if rec.Code != http.StatusOK || member(t, rec, "itemsAccepted") != "3" || member(t, rec, "sealed") != "true" {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	for i, tr := range w.engine.triggers {
		if (tr.Failed != nil) != (i == 1) || tr.BatchItem.Index != i {
			t.Errorf("%d: %+v", i, tr.Failed)
		}
	}
	if large := w.engine.triggers[1]; large.Task != "large" || large.Payload != nil || large.PayloadSize < 3_145_728 {
		t.Errorf("%s %d", large.Task, large.PayloadSize)
	}
	w.refused(stream(itemsPath, prodKey, `{"payload":"`+strings.Repeat("x", 3_145_728)+`","index":1,"task":"t"}`), http.StatusUnprocessableEntity, "index and task first")
}

// Memory is that of a group, however long the stream is.
func TestItemsTravelInGroups(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 100)
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"index":%d,"task":"t","payload":"%s"}`, i, strings.Repeat("x", 100_000))
	}
	if rec := w.do(stream(itemsPath, prodKey, lines...)); member(t, rec, "sealed") != "true" {
		t.Fatalf("%s", rec.Body)
	}
	if len(w.engine.groups) < 2 || slices.Max(w.engine.groups) > 50 {
		t.Errorf("groups of %v", w.engine.groups)
	}
}

func TestRetrieveBatch(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 2)
	get := func() *httptest.ResponseRecorder {
		return w.do(request(http.MethodGet, "/api/v2/batches/batch_1", prodKey, ""))
	}
	if rec := get(); member(t, rec, "status") != "PENDING" || member(t, rec, "runs") != "[]" || member(t, rec, "processing") != `{"errors":[]}` {
		t.Errorf("%s", rec.Body)
	}
	w.engine.batch.Places = []runstore.Place{{Index: 0, Run: id1}, {Index: 1, Task: "t", Error: "no", Code: "REJECTED"}}
	w.engine.batch.SealedAt = now.Add(time.Second)
	rec := get()
	if member(t, rec, "status") != "PARTIAL_FAILED" || member(t, rec, "runs") != `["`+id1.String()+`"]` ||
		member(t, rec, "processing") != `{"completedAt":"2026-03-04T05:06:08.890Z","errors":[{"index":1,"taskIdentifier":"t","error":"no","errorCode":"REJECTED"}]}` {
		t.Errorf("%s", rec.Body)
	}
	w.engine.batch.Places[1] = runstore.Place{Index: 1, Run: id2, Status: run.Failed}
	if rec := get(); member(t, rec, "status") != "PENDING" {
		t.Errorf("a run goes on: %s", rec.Body)
	}
	w.engine.batch.Places[0].Status = run.Completed
	if rec := get(); member(t, rec, "status") != "COMPLETED" {
		t.Errorf("%s", rec.Body)
	}
	w.refused(request(http.MethodGet, "/api/v2/batches/batch_2", prodKey, ""), http.StatusNotFound, "Batch not found")
	w.refused(request(http.MethodGet, "/api/v2/batches/batch_1", devKey, ""), http.StatusNotFound, "Batch not found")
}

func TestWholeBatch(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 2)
	rec := w.do(request(http.MethodPost, "/api/v2/tasks/batch", prodKey, `{"items":[{"task":"a","payload":1},{"task":"b","options":{"tags":"x"}}]}`))
	if rec.Code != http.StatusAccepted || member(t, rec, "id") != "batch_1" || member(t, rec, "runCount") != "2" || len(w.engine.triggers) != 2 ||
		w.engine.triggers[1].BatchItem != (run.BatchItem{Batch: "batch_1", Index: 1}) {
		t.Errorf("%d %s %+v", rec.Code, rec.Body, w.engine.triggers)
	}
	w.refused(request(http.MethodPost, "/api/v2/tasks/batch", prodKey, `{"items":[]}`), http.StatusBadRequest, "items")
	w.refused(request(http.MethodPost, "/api/v2/tasks/batch", prodKey, `{"items":[{"task":"a"},{"task":"a","options":{"ttl":"x"}}]}`), http.StatusUnprocessableEntity, "items[1].options.ttl")
}

// A body that breaks off, or comes too slowly, is the sender's fault.
func TestBrokenStream(t *testing.T) {
	t.Parallel()
	w := newBatchWire(t, 2)
	r := stream(itemsPath, prodKey)
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader([]byte(item(0)+"\n")), broken{}))
	w.refused(r, http.StatusBadRequest, "cut off")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("gone") }
