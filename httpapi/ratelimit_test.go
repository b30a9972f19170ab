package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/httpapi"
)

func TestRateLimit(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	at.Store(now.UnixNano())
	w := newWire(t, func(c *httpapi.Config) {
		c.RateLimit = httpapi.RateLimit{Burst: 3, PerSecond: 0.25}
		c.Now = func() time.Time { return time.Unix(0, at.Load()) }
	})
	try := func(key string) (status int, limit, remaining string, reset time.Duration) {
		rec := w.do(request(http.MethodGet, "/api/v1/runs", key, ""))
		ms, err := strconv.ParseInt(rec.Header().Get("X-Ratelimit-Reset"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if (rec.Code == http.StatusTooManyRequests) != (rec.Header().Get("Retry-After") != "") {
			t.Errorf("%d with Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
		}
		return rec.Code, rec.Header().Get("X-Ratelimit-Limit"), rec.Header().Get("X-Ratelimit-Remaining"), time.UnixMilli(ms).Sub(time.UnixMilli(at.Load() / 1e6))
	}
	for _, c := range []struct {
		key       string
		wait      time.Duration
		status    int
		remaining string
		reset     time.Duration
	}{
		{prodKey, 0, 200, "2", 4 * time.Second},
		{prodKey, 0, 200, "1", 8 * time.Second},
		{prodKey, 0, 200, "0", 12 * time.Second},
		{prodKey, 0, 429, "0", 4 * time.Second},
		{devKey, 0, 200, "2", 4 * time.Second}, // has a bucket of its own
		{"tr_prod_wrong", 0, 401, "3", 0},
		{prodKey, 3 * time.Second, 429, "0", time.Second},
		{prodKey, time.Second, 200, "0", 12 * time.Second},
		{prodKey, time.Minute, 200, "2", 4 * time.Second},
	} {
		at.Add(int64(c.wait))
		if status, limit, remaining, reset := try(c.key); status != c.status || limit != "3" || remaining != c.remaining || reset.Round(10*time.Millisecond) != c.reset {
			t.Errorf("%+v: %d, %s of %s left, reset in %v", c, status, remaining, limit, reset)
		}
	}
}

// Every answer of the API has the headers, limit or not.
func TestRateLimitHeaders(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	for path, shown := range map[string]bool{"/api/v1/runs": true, "/api/v9/none": true, "/livez": false} {
		for _, key := range []string{prodKey, ""} {
			h := w.do(request(http.MethodGet, path, key, "")).Header()
			if got := h.Get("X-Ratelimit-Limit") != "" && h.Get("X-Ratelimit-Remaining") == h.Get("X-Ratelimit-Limit") && h.Get("X-Ratelimit-Reset") != ""; got != shown {
				t.Errorf("%s: %v", path, h)
			}
		}
	}
}

// Pages of other origins have no access unless it was given to theirs.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	preflight := func(w *wire, origin string) http.Header {
		r := request(http.MethodOptions, triggerPath, "", "")
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", http.MethodPost)
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-trigger-client")
		if w.handler == nil {
			t.Fatal("no handler")
		}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		return rec.Header()
	}
	const allow = "Access-Control-Allow-Origin"
	if h := preflight(newWire(t), "https://app.example"); h.Get(allow) != "" {
		t.Errorf("by default: %v", h)
	}
	w := newWire(t, func(c *httpapi.Config) { c.Origins = []string{"https://app.example"} })
	if h := preflight(w, "https://app.example"); h.Get(allow) != "https://app.example" || h.Get("Access-Control-Allow-Headers") == "" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("of the page: %v", h)
	}
	if h := preflight(w, "https://evil.example"); h.Get(allow) != "" {
		t.Errorf("of another page: %v", h)
	}
	r := request(http.MethodGet, "/api/v1/runs", prodKey, "")
	r.Header.Set("Origin", "https://app.example")
	if h := w.do(r).Header(); h.Get(allow) != "https://app.example" || h.Get("Access-Control-Expose-Headers") == "" {
		t.Errorf("the request itself: %v", h)
	}
}
