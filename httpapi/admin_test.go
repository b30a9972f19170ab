package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
)

type worker struct {
	n           int
	environment string
	id          run.ID
	finish      run.Finish
	runs        []run.Run
	err         error
	overrides
}

func (w *worker) Take(_ context.Context, r run.TakeRequest) ([]run.Run, error) {
	w.n = r.Most
	return w.runs, w.err
}

func (w *worker) Finish(_ context.Context, environment string, id run.ID, f run.Finish) (run.Run, error) {
	w.environment, w.id, w.finish = environment, id, f
	if w.err != nil {
		return run.Run{}, w.err
	}
	r := plainRun()
	r.Status, r.Output, r.OutputType = f.Status, f.Output, f.OutputType
	return r, nil
}

func admin(t *testing.T, w *worker, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	httpapi.NewAdmin(httpapi.AdminConfig{
		Worker: w, Overrides: &w.overrides, Explainer: &w.overrides, Buffer: &w.overrides, Now: func() time.Time { return now }, Node: "node_1",
		Authenticate: func(bearer string) (string, bool) { return "alice", bearer == adminToken },
		Environment: func(_ context.Context, text string) (string, error) {
			if text == "env_prod" || text == "acme/prod" {
				return "env_prod", nil
			}
			return "", run.ErrNotFound
		},
	}).ServeHTTP(rec, r)
	return rec
}

func TestTake(t *testing.T) {
	t.Parallel()
	binary, empty := plainRun(), plainRun()
	binary.Trigger.PayloadType, binary.Trigger.Payload = "application/octet-stream", []byte{0xff, 0}
	empty.Trigger.Payload = nil
	w := &worker{runs: []run.Run{plainRun(), binary, empty}}
	rec := admin(t, w, request(http.MethodPost, "/admin/v1/runs/take?n=7", "", ""))
	checkAnswer(t, rec.Result(), rec.Body.Bytes())
	var got struct{ Runs []map[string]any }
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if rec.Code != 200 || w.n != 7 || len(got.Runs) != 3 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if r := got.Runs[0]; r["payloadText"] != `{"json":{"to":"x@y.z"},"meta":{}}` || r["payloadType"] != "application/super+json" ||
		r["environment"] != "env_prod" || r["organisation"] != "org_1" || r["id"] != id1.String() {
		t.Errorf("%v", r)
	}
	if r := got.Runs[1]; r["payloadBase64"] != "/wA=" || r["payloadText"] != nil {
		t.Errorf("%v", r)
	}
	if r := got.Runs[2]; r["payloadBase64"] != nil || r["payloadText"] != nil {
		t.Errorf("%v", r)
	}

	w = &worker{}
	if rec := admin(t, w, request(http.MethodPost, "/admin/v1/runs/take", "", "")); rec.Body.String() != `{"runs":[]}` || w.n != 1 {
		t.Errorf("%s, n %d", rec.Body, w.n)
	}
	for _, n := range []string{"0", "-1", "101", "x"} {
		if rec := admin(t, &worker{}, request(http.MethodPost, "/admin/v1/runs/take?n="+n, "", "")); rec.Code != 400 {
			t.Errorf("n=%s: %d", n, rec.Code)
		}
	}
	if rec := admin(t, &worker{}, request(http.MethodGet, "/admin/v1/runs/take", "", "")); rec.Code != 405 {
		t.Errorf("GET: %d", rec.Code)
	}
	if rec := admin(t, &worker{}, request(http.MethodGet, "/api/v1/x", "", "")); rec.Code != 404 {
		t.Errorf("public path: %d", rec.Code)
	}
	fromBrowser := request(http.MethodPost, "/admin/v1/runs/take", "", "")
	fromBrowser.Header.Set("Sec-Fetch-Site", "cross-site")
	if rec := admin(t, w, fromBrowser); rec.Code != http.StatusForbidden {
		t.Errorf("cross-site: %d", rec.Code)
	}
}

func TestFinish(t *testing.T) {
	t.Parallel()
	path := "/admin/v1/environments/env_prod/runs/" + id1.String() + "/finish"
	for body, want := range map[string]run.Finish{
		`{"status":"COMPLETED","output":{"n": 1e400}}`:                         {Status: run.Completed, Output: []byte(`{"n": 1e400}`)},
		`{"status":"COMPLETED","output":"done","outputType":"text/plain"}`:     {Status: run.Completed, Output: []byte("done"), OutputType: "text/plain"},
		`{"status":"EXECUTING"}`:                                               {Status: run.Executing},
		`{"status":"FAILED","error":{"message":"m","name":"n"}}`:               {Status: run.Failed, Failure: &run.Failure{Message: "m", Name: "n"}},
		`{"status":"FAILED","error":{"message":"","stackTrace":"at x"},"x":1}`: {Status: run.Failed, Failure: &run.Failure{StackTrace: "at x"}},
	} {
		w := &worker{}
		rec := admin(t, w, request(http.MethodPost, path, "", body))
		checkAnswer(t, rec.Result(), rec.Body.Bytes())
		if rec.Code != 200 || w.environment != "env_prod" || w.id != id1 {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
		if diff := cmp.Diff(want, w.finish); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	for body, field := range map[string]string{
		`{}`: "status", `{"status":"DONE"}`: "status", `{"status":null}`: "status",
		`{"status":"FAILED","error":{}}`: "error.message", `{"status":"FAILED","error":"x"}`: "error",
		`{"status":"COMPLETED","output":1,"outputType":"text/plain"}`: "output",
	} {
		rec := admin(t, &worker{}, request(http.MethodPost, path, "", body))
		if rec.Code != 400 || member(t, rec, "field") != field {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
	for err, status := range map[error]int{run.ErrNotFound: 404, run.ErrConflict: 409} {
		rec := admin(t, &worker{err: err}, request(http.MethodPost, path, "", `{"status":"COMPLETED"}`))
		if rec.Code != status || rec.Header().Get("X-Should-Retry") != "false" {
			t.Errorf("%v: %d %s", err, rec.Code, rec.Body)
		}
	}
	if rec := admin(t, &worker{}, request(http.MethodPost, "/admin/v1/environments/e/runs/a%2Fb/finish", "", `{"status":"COMPLETED"}`)); rec.Code != 404 {
		t.Errorf("bad id: %d", rec.Code)
	}
}
