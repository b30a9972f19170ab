package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// answered holds the answer to a request that may be nonsense to what every answer
// promises: no fault of the node, and the field where one is wrong.
func answered(t *testing.T, w *wire, r *http.Request) {
	t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	if rec.Code >= http.StatusInternalServerError || strings.Contains(w.log.String(), "panic") {
		t.Fatalf("%s %s: %d %s\n%s", r.Method, r.URL, rec.Code, rec.Body, w.log)
	}
	checkAnswer(t, rec.Result(), rec.Body.Bytes())
	if rec.Code < http.StatusBadRequest {
		return
	}
	switch member(t, rec, "type") {
	case "urn:mollifier:problem:invalid", "urn:mollifier:problem:unprocessable":
		if member(t, rec, "field") == "" {
			t.Fatalf("%s %s: no field in %s", r.Method, r.URL, rec.Body)
		}
	}
}

// bodied are the operations that read a body, by what is sent to them.
var bodied = []struct{ method, path string }{
	{http.MethodPost, triggerPath},
	{http.MethodPost, "/api/v1/runs/" + id1.String() + "/replay"},
	{http.MethodPost, "/api/v1/runs/" + id1.String() + "/tags"},
	{http.MethodPut, "/api/v1/runs/" + id1.String() + "/metadata"},
	{http.MethodPost, "/api/v1/runs/" + id1.String() + "/reschedule"},
	{http.MethodPost, "/api/v1/idempotencyKeys/k/reset"},
	{http.MethodPost, "/api/v1/auth/public-tokens"},
	{http.MethodPost, "/api/v3/batches"},
	{http.MethodPost, "/api/v2/tasks/batch"},
	{http.MethodPost, itemsPath},
}

// Whatever is sent to whichever operation, the answer is no fault, and names the field.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		`{"payload":"{\"json\":1}","payloadType":"application/super+json","tags":["a"],"delay":"1h","ttl":3,"idempotencyKey":"k","idempotencyKeyTTL":"1d"}`,
		`{"tags":"a"}`, `{"tags":["a",null]}`, `{"tags":"\u0000"}`, `{"metadata":{"a":1}}`, `{"metadata":null}`, `{"delay":"1h"}`, `{"delay":"2020-01-01"}`,
		`{"operations":[{"type":"set","key":"$.a.b[0]","value":1},{"type":"increment","key":"a","value":-1.5}],"parentOperations":[{"type":"x"}],"rootOperations":[null]}`,
		`{"taskIdentifier":"t"}`, `{"taskIdentifier":""}`, `{"scopes":["read:runs"],"expirationTime":"2 hours","oneTimeUse":true,"realtime":{"skipColumns":["payload"]}}`,
		`{"scopes":["read:runs"],"expirationTime":1e300}`, `{"runCount":2,"idempotencyKey":"k","parentRunId":"run_x","taskIdentifiers":["a"]}`, `{"runCount":1e300}`,
		`{"items":[{"task":"a","payload":1},{"task":2}]}`, `{"items":[null]}`, `{"items":{}}`,
		`{"index":0,"task":"a","payload":1}` + "\n" + `{"index":1,"task":"b","options":{"ttl":"x"}}`, `{"index":-1}`, `{"index":1e9,"task":"a"}`, "\n\n{}\n", `{"task":"a","index":0,"index":0}`,
		``, `null`, `0`, `[`, `{"a":1,"a":2}`, "\xff", `{"machine":""}`, `{"priority":1e308,"maxDuration":-1,"maxAttempts":1e15}`,
	} {
		for at := range bodied {
			f.Add(uint8(at), s)
		}
	}
	f.Fuzz(func(t *testing.T, at uint8, body string) {
		to := bodied[int(at)%len(bodied)]
		w := newBatchWire(t, 2)
		r := plainRun()
		r.Status = run.Delayed
		w.put(r)
		req := request(to.method, to.path, prodKey, body)
		if to.path == itemsPath {
			req = stream(to.path, prodKey, body)
		}
		answered(t, w, req)
	})
}

// Whatever stands in the query of a list or a subscription.
func FuzzQueries(f *testing.F) {
	for _, s := range []string{
		"filter[status]=QUEUED,FROZEN&page[size]=1", "filter[status]=X", "filter[tag]=%00", "filter[tag]=%ff", "page[size]=0", "page[size]=1e9", "page[after]=x&page[before]=run_1",
		"filter[createdAt][from]=1&filter[createdAt][to]=99999999999999999999", "filter[createdAt][period]=1w", "filter[isTest]=maybe", "filter[batch]=batch_1", "filter[env]=dev,prod",
		"offset=-1&log=full", "offset=0_0&handle=x", "tags=a,b&createdAt=10h", "tags=" + strings.Repeat("a,", 11), "skipColumns=payload,nothing", "%zz", ";", "=&&=",
	} {
		for at := range uint8(4) {
			f.Add(at, s)
		}
	}
	paths := []string{"/api/v1/runs", "/api/v1/projects/p/runs", "/realtime/v1/runs", "/realtime/v1/batches/batch_1"}
	f.Fuzz(func(t *testing.T, at uint8, query string) {
		if _, err := url.ParseRequestURI("/?" + query); err != nil || strings.ContainsAny(query, "# ") || strings.Contains(query, "live") {
			t.Skip("no request can carry it, or it would be waited for")
		}
		rt := newRealtime(t)
		rt.engine.batch.ID = "batch_1"
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery = paths[int(at)%len(paths)], query
		r.Header.Set("Authorization", "Bearer "+prodKey)
		rec := httptest.NewRecorder()
		rt.handler.ServeHTTP(rec, r)
		if rec.Code >= http.StatusInternalServerError {
			t.Fatalf("%s: %d %s\n%s", r.URL, rec.Code, rec.Body, rt.log)
		}
		if rec.Code == http.StatusBadRequest && member(t, rec, "field") == "" {
			t.Fatalf("%s: no field in %s", r.URL, rec.Body)
		}
	})
}
