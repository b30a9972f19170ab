package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ authorization, text string }{
		{"", "No authorization header"},
		{"Bearer tr_prod_wrong", "Invalid API key"},
		{"bearer tr_prod_wrong", "Invalid API key"},
		{"Bearer ", "Invalid or Missing API key"},
		{"Bearer", "Invalid or Missing API key"},
		{"Basic " + prodKey, "Invalid or Missing API key"},
		{"Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "Public Access Token is invalid"},
		{"Bearer " + previewKey, "A preview key needs the x-trigger-branch header"},
	} {
		for _, r := range []*http.Request{
			request(http.MethodPost, triggerPath, "", `{}`),
			request(http.MethodGet, "/api/v3/runs/"+id1.String(), "", ""),
			request(http.MethodGet, "/api/v9/nothing", "", ""),
		} {
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			rec := newWire(t).refused(r, http.StatusUnauthorized, "")
			if got := member(t, rec, "error"); got != c.text {
				t.Errorf("%q: %q, want %q", c.authorization, got, c.text)
			}
			if rec.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Error("no challenge")
			}
		}
	}
	r := request(http.MethodPost, triggerPath, prodKey, `{}`)
	r.Header.Add("Authorization", "Bearer "+devKey)
	newWire(t).refused(r, http.StatusUnauthorized, "Invalid or Missing API key")

	// A key that can not be looked up is not an unknown key.
	w := newWire(t, func(c *httpapi.Config) {
		c.Tenants = tenants{err: &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres", Err: errors.New("dial canary.internal:5432")}}
	})
	w.refused(request(http.MethodPost, triggerPath, prodKey, `{}`), http.StatusServiceUnavailable, "A store did not answer")
}

// Each request is wrong in every later way too: the first check answers.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	bad := func(method, path, key string, length int64) *http.Request {
		r := request(http.MethodPost, path, key, `{"payload":`)
		r.Method, r.ContentLength = method, length
		r.Header.Set("Idempotency-Key-TTL", "soon")
		return r
	}
	badTask := "/api/v1/tasks/a%00b/trigger"
	w := newWire(t)
	rec := w.refused(bad(http.MethodPut, badTask, "wrong", 4_000_000), http.StatusMethodNotAllowed, "Method not allowed")
	if rec.Header().Get("Allow") != "POST" {
		t.Errorf("allow %q", rec.Header().Get("Allow"))
	}
	w.refused(bad(http.MethodPost, badTask, "wrong", 4_000_000), http.StatusUnauthorized, "Invalid API key")
	w.refused(bad(http.MethodPost, badTask, prodKey, 4_000_000), http.StatusRequestEntityTooLarge, "Request body too large")
	w.refused(bad(http.MethodPost, badTask, prodKey, 11), http.StatusBadRequest, "taskId: ")
	w.refused(bad(http.MethodPost, triggerPath, prodKey, 11), http.StatusBadRequest, "idempotency-key-ttl: ")
	r := bad(http.MethodPost, triggerPath, prodKey, 11)
	r.Header.Del("Idempotency-Key-TTL")
	w.refused(r, http.StatusBadRequest, "body: must be valid JSON")
}

// The error names the field, also inside arrays, and says which kind it has to be;
// of a text that is no JSON it says what is wrong with it and where, and repeats
// nothing of it.
func TestBodiesNameTheirFault(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)
	for _, c := range []struct{ method, path, body, text string }{
		{"POST", triggerPath, `{"options":{"concurrency":[1]}}`, "options.concurrency: must be an array of strings"},
		{"POST", triggerPath, `{"options":{"concurrency":["a",["b"]]}}`, "options.concurrency: must be an array of strings"},
		{"POST", triggerPath, `{"options":{"gates":["a"]}}`, "options.gates: must be an array of objects"},
		{"POST", triggerPath, `{"options":{"gates":[{"queue":1}]}}`, "options.gates.queue: must be a string"},
		{"POST", triggerPath, `{"payload":{"canary":1,"canary":2}}`, "body: must not contain one name twice in an object (fault at byte 23)"},
		{"POST", triggerPath, `{"payload":` + deep + `}`, "body: must not be nested more than 10000 levels deep (fault at byte 10010)"},
		{"POST", triggerPath, `{"payload":"\ud800"}`, "body: must be valid JSON in valid UTF-8 (fault at byte 12)"},
		{"POST", "/api/v3/batches", `{"runCount":1,"taskIdentifiers":[{}]}`, "taskIdentifiers: must be an array of strings"},
		{"POST", "/api/v3/batches", `{"runCount":1,"idempotencyKey":"k","idempotencyKeyOptions":{"key":"k"}}`, "idempotencyKeyOptions: must have key and scope"},
		{"POST", "/api/v1/auth/public-tokens", `{"scopes":[1]}`, "scopes: must be an array of strings"},
		{"POST", "/api/v1/auth/public-tokens", `{"scopes":["read:runs"],"realtime":{"skipColumns":[null,2]}}`, "realtime.skipColumns: must be an array of strings"},
		{"PUT", "/api/v1/runs/" + id1.String() + "/metadata", `{"operations":"x"}`, "operations: must be an array"},
		{"PUT", "/api/v1/runs/" + id1.String() + "/metadata", `{"rootOperations":[1]}`, "rootOperations: must be an array of objects"},
	} {
		rec := newWire(t).refused(request(c.method, c.path, prodKey, c.body), http.StatusBadRequest, "")
		if got := member(t, rec, "error"); got != c.text || strings.Contains(rec.Body.String(), "canary") {
			t.Errorf("%.60s: %q, want %q", c.body, got, c.text)
		}
	}
	// What a user wrote may be as long for a batch as for a trigger.
	long := strings.Repeat("k", 60_000)
	rec := newWire(t).do(request("POST", "/api/v3/batches", prodKey, `{"runCount":1,"idempotencyKey":"k","idempotencyKeyOptions":{"key":"`+long+`","scope":"run"}}`))
	if rec.Code != http.StatusAccepted {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// Of a reset the fields have other names than of a trigger.
	for field, text := range map[string]string{"taskId": "taskIdentifier: wrong", "options.idempotencyKey": "key: wrong"} {
		w := newWire(t)
		w.engine.changeErr = &run.InvalidError{Field: field, Rule: "wrong"}
		w.refused(request("POST", "/api/v1/idempotencyKeys/k/reset", prodKey, `{"taskIdentifier":"t"}`), http.StatusBadRequest, text)
	}
}

func TestContentLength(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	exact := `{"payload":"` + strings.Repeat("x", 3_145_728-14) + `"}`
	if got := w.trigger(prodKey, exact); len(got.Payload) != 3_145_728-12 {
		t.Errorf("payload of %d bytes", len(got.Payload))
	}
	w.refused(request(http.MethodPost, triggerPath, prodKey, exact+" "), http.StatusRequestEntityTooLarge, "Request body too large")
	chunked := request(http.MethodPost, triggerPath, prodKey, `{}`)
	chunked.ContentLength = -1
	w.refused(chunked, http.StatusRequestEntityTooLarge, "Request body too large")
	none := request(http.MethodPost, triggerPath, prodKey, ``)
	none.Header.Del("Content-Length")
	w.refused(none, http.StatusRequestEntityTooLarge, "Request body too large")
}

func TestErrorsOfTheEngine(t *testing.T) {
	t.Parallel()
	hidden := errors.New("dial tcp canary-host:5432: password=canary")
	for _, c := range []struct {
		err        error
		status     int
		text       string
		retryAfter string
	}{
		{&run.InvalidError{Field: "options.ttl", Rule: "bad"}, 400, "options.ttl: bad", ""},
		{fmt.Errorf("engine: %w", &run.InvalidError{Field: "a", Rule: "b", Fault: run.Unprocessable}), 422, "a: b", ""},
		{&run.InvalidError{Field: "a", Rule: "b", Fault: run.TooLarge}, 413, "a: b", ""},
		{&run.RefusedError{Reason: run.ErrOverloaded, Part: "shard"}, 503, "Too many triggers", "1"},
		{&run.RefusedError{Reason: run.ErrUnavailable, Part: "redis", RetryAfter: 1200 * time.Millisecond, Err: hidden}, 503, "A store did not answer", "2"},
		{&run.RefusedError{Reason: run.ErrClaimTimeout, Part: "claim", RetryAfter: time.Minute}, 503, "Timed out waiting", "60"},
		{&run.RefusedError{Reason: run.ErrClosed, Part: "engine"}, 503, "stopping", "1"},
		{run.ErrClosed, 503, "stopping", "1"},
		{&run.InFlightError{}, 409, "in flight", ""},
		{&run.InFlightError{OtherPayload: true}, 409, "in flight", ""},
		{context.DeadlineExceeded, 503, "No answer in time", "1"},
		{hidden, 500, "Internal error", ""},
		{&net.OpError{Op: "dial", Err: hidden}, 500, "Internal error", ""},
		{fmt.Errorf("connect to postgres://user:canary@host/db: %w", os.ErrClosed), 500, "Internal error", ""},
	} {
		w := newWire(t)
		w.engine.err = c.err
		rec := w.do(request(http.MethodPost, triggerPath, prodKey, `{"payload":"canary"}`))
		if rec.Code != c.status || !strings.Contains(member(t, rec, "error"), c.text) {
			t.Errorf("%v: %d %s", c.err, rec.Code, rec.Body)
		}
		if got := rec.Header().Get("Retry-After"); got != c.retryAfter {
			t.Errorf("%v: retry after %q, want %q", c.err, got, c.retryAfter)
		}
		if got := rec.Header().Get("X-Ratelimit-Reset"); got != strconv.FormatInt(now.UnixMilli(), 10) {
			t.Errorf("a rate limit on something else than 429: %s", got)
		}
		if logged := strings.Contains(w.log.String(), "level=ERROR"); logged != (c.status == 500) {
			t.Errorf("%v: log %s", c.err, w.log)
		}
		if !strings.Contains(w.log.String(), rec.Header().Get("X-Request-Id")) {
			t.Errorf("%v: the log does not know the answer's id: %s", c.err, w.log)
		}
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	t.Parallel()
	for _, value := range []any{"canary in a panic", errors.New("canary"), fmt.Stringer(nil)} {
		w := newWire(t)
		w.engine.panics = value
		if value == fmt.Stringer(nil) {
			w.engine.panics, w.engine.result = nil, run.Result{} // the zero result panics when it is read
		}
		rec := w.do(request(http.MethodPost, triggerPath, prodKey, `{"payload":"canary"}`))
		if rec.Code != 500 || member(t, rec, "error") != "Internal error" {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if !strings.Contains(w.log.String(), rec.Header().Get("X-Request-Id")) {
			t.Error("the log does not know the answer's id")
		}
	}
}

// The engine's work goes on when its caller leaves, so the answer that the
// caller might still see must not read as a success.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.block = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec := w.do(request(http.MethodPost, triggerPath, prodKey, `{}`).WithContext(ctx))
	if rec.Code != http.StatusServiceUnavailable || strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("%d %s; log %s", rec.Code, rec.Body, w.log)
	}

	w = newWire(t, func(c *httpapi.Config) { c.Timeout = time.Nanosecond })
	w.engine.block = true
	rec = w.do(request(http.MethodPost, triggerPath, prodKey, `{}`))
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	for _, path := range []string{"/", "/api", "/api/", "/api/v1/runs/x/y", "/debug/pprof/", "/debug/pprof/heap", "/admin/v1/runs/take", "/metrics", "/a/../livez", "//livez"} {
		w.refused(request(http.MethodGet, path, prodKey, ""), http.StatusNotFound, "Not found")
	}
	for path, allow := range map[string]string{"/livez": "GET", "/api/v3/runs/x": "GET", triggerPath: "POST"} {
		for _, method := range []string{"DELETE", "OPTIONS", "PATCH"} {
			rec := w.refused(request(method, path, "", ""), http.StatusMethodNotAllowed, "Method not allowed")
			if rec.Header().Get("Allow") != allow {
				t.Errorf("allow %q", rec.Header().Get("Allow"))
			}
			for name := range rec.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("cross-origin header %s", name)
				}
			}
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	for _, path := range []string{"/livez", "/readyz"} {
		if rec := w.do(request(http.MethodGet, path, "", "")); rec.Code != 200 {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	w = newWire(t, func(c *httpapi.Config) {
		c.Ready = func(context.Context) error { return errors.New("canary-host:6379 refused") }
	})
	if rec := w.do(request(http.MethodGet, "/livez", "", "")); rec.Code != 200 {
		t.Errorf("livez: %d", rec.Code)
	}
	w.refused(request(http.MethodGet, "/readyz", "", ""), http.StatusServiceUnavailable, "Not ready")
}

// Importing net/http/pprof puts its handlers on the default mux: neither
// handler may be it, or lead to it.
func TestProfilesAreOnTheAdminHandlerOnly(t *testing.T) {
	t.Parallel()
	admin := httpapi.NewAdmin(httpapi.AdminConfig{Worker: &worker{}})
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/symbol": 200} {
		rec := httptest.NewRecorder()
		admin.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("admin %s: %d", path, rec.Code)
		}
		newWire(t).refused(request(http.MethodGet, path, prodKey, ""), http.StatusNotFound, "Not found")
	}
}
