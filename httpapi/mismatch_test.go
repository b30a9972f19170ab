package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

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
