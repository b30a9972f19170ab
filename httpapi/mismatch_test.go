package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// What a trigger wants where its key is in flight comes in a header, and a conflict
// is final. Where another payload is refused, that comes first.
func TestInFlight(t *testing.T) {
	t.Parallel()
	ask := func(w *wire, path, key string, policies ...string) *httptest.ResponseRecorder {
		r := request(http.MethodPost, path, key, `{"options":{"idempotencyKey":"k"}}`)
		r.Header["Idempotency-In-Flight"] = policies
		return w.do(r)
	}
	w := newWire(t)
	for _, policy := range []run.InFlight{"", run.InFlightShare, run.InFlightWait, run.InFlightConflict} {
		if rec := ask(w, triggerPath, prodKey, string(policy)); rec.Code != 200 || w.engine.triggers[len(w.engine.triggers)-1].InFlight != policy {
			t.Errorf("%s: %d %s", policy, rec.Code, rec.Body)
		}
	}
	for _, rec := range []*httptest.ResponseRecorder{
		ask(w, triggerPath, prodKey, "Share"), ask(w, triggerPath, prodKey, "wait", "wait"), ask(w, "/api/v2/tasks/batch", prodKey, "wait"),
	} {
		if rec.Code != 400 || member(t, rec, "field") != "idempotency-in-flight" {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
	for _, c := range []struct {
		key          string
		otherPayload bool
		status       int
		problem      string
	}{
		{prodKey, true, 409, "in-flight"},
		{strictKey, false, 409, "in-flight"},
		{strictKey, true, 422, "payload-mismatch"},
	} {
		w.engine.err = fmt.Errorf("engine: %w", &run.InFlightError{OtherPayload: c.otherPayload})
		rec := ask(w, triggerPath, c.key, "conflict")
		if rec.Code != c.status || member(t, rec, "type") != "urn:mollifier:problem:"+c.problem {
			t.Errorf("%+v: %d %s", c, rec.Code, rec.Body)
		}
		if again := rec.Header().Get("X-Should-Retry"); c.status == 409 && again != "false" {
			t.Errorf("should retry: %q", again)
		}
	}
}

// Another payload under one key (case 133): said in the answer, or refused where
// the environment asks for it; a repeat says that it is one.
func TestPayloadMismatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key           string
		cached, match bool
		status        int
	}{
		{prodKey, true, false, 200},
		{strictKey, true, false, 422},
		{strictKey, true, true, 200},
		{strictKey, false, false, 200},
	} {
		w := newWire(t)
		w.engine.result = run.NewResult(run.Answer{ID: id1, Cached: c.cached, PayloadMatch: c.match})
		rec := w.do(request(http.MethodPost, triggerPath, c.key, `{"options":{"idempotencyKey":"k"}}`))
		if rec.Code != c.status || (rec.Code == 422 && member(t, rec, "type") != "urn:mollifier:problem:payload-mismatch") {
			t.Errorf("%+v: %d %s", c, rec.Code, rec.Body)
		}
		if replayed := rec.Header().Get("Idempotent-Replayed") == "true"; replayed != (c.cached && rec.Code == 200) {
			t.Errorf("%+v: replayed %v", c, replayed)
		}
	}
}
