package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/mollifiertest/link"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

func TestOneInvoiceForAnOrder(t *testing.T) {
	t.Parallel()
	node := mollifiertest.Start(t, func(c *mollifier.Config) { c.PostgresDeadline, c.NoDivert = 500*time.Millisecond, true })
	handler := Handler(node.Engine)
	call := func(method, path, body string, want int) (got struct {
		Run, Status string
		Field       string
		Cached      bool
	},
	) {
		t.Helper()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		if w.Code != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
		}
		if want == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s: no Retry-After", method, path)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	first := call("POST", "/orders/42/invoice", `{"amount":7}`, http.StatusAccepted)
	again := call("POST", "/orders/42/invoice", `{"amount":7}`, http.StatusAccepted)
	if first.Cached || !again.Cached || first.Run == "" || again.Run != first.Run {
		t.Errorf("%+v, then %+v", first, again)
	}
	if got := call("GET", "/runs/"+first.Run, "", http.StatusOK); got.Status != "QUEUED" {
		t.Errorf("%+v", got)
	}
	call("GET", "/runs/run_nothing", "", http.StatusNotFound)
	if got := call("POST", "/orders/"+strings.Repeat("x", 3000)+"/invoice", "", http.StatusBadRequest); got.Field != "options.idempotencyKey" {
		t.Errorf("%+v", got)
	}
	call("GET", "/healthz", "", http.StatusOK)
	node.Postgres.SetWeather(link.Weather{Refuse: true})
	call("POST", "/orders/43/invoice", "", http.StatusServiceUnavailable)
}
