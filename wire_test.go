package mollifier_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

// anyTenant opens the environment that the key names: "dev" one of development.
type anyTenant struct{ httpapi.Tenants }

func (anyTenant) Authenticate(_ context.Context, bearer string) (tenant.Environment, error) {
	e := tenant.Environment{ID: bearer, Name: bearer, Type: tenant.Prod, Organisation: tenant.Organisation{ID: "acme", Enrolled: true}}
	if bearer == "dev" {
		e.Type = tenant.Dev
	}
	return e, nil
}

func (anyTenant) SigningKey(string) ([]byte, error) { return []byte("key"), nil }

// wired is an engine behind HTTP.
type wired struct {
	*mollifier.Engine
	t   *testing.T
	url string
}

func wire(t *testing.T, cfg mollifier.Config) *wired {
	t.Helper()
	e := open(t, cfg)
	server := httptest.NewServer(httpapi.New(httpapi.Config{Engine: e, Tenants: anyTenant{}}))
	t.Cleanup(server.Close)
	return &wired{e, t, server.URL}
}

// do sends a request with a key and headers in pairs, and returns the status and the answer.
func (w *wired) do(key, method, path, body string, header ...string) (int, map[string]any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("X-Trigger-Api-Version", "2025-07-16")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		w.t.Fatalf("%d %s", answer.StatusCode, text)
	}
	return answer.StatusCode, v
}

// ok is do for what has to succeed.
func (w *wired) ok(key, method, path, body string, header ...string) map[string]any {
	w.t.Helper()
	status, v := w.do(key, method, path, body, header...)
	if status != http.StatusOK {
		w.t.Fatalf("%s %s %s: %d %v", method, path, body, status, v)
	}
	return v
}

const sendPath = "/api/v1/tasks/send/trigger"

// Triggers of one debounce key push one run, from whatever node, buffered
// environments included: debouncing passes the gate (cases 100, 101).
func TestDebounceOverTheWire(t *testing.T) {
	t.Parallel()
	for _, force := range []gate.Force{gate.ForceNone, gate.ForceMollify} {
		cfg := shared(t)
		a, b := wire(t, cfg), wire(t, cfg)
		for _, e := range []*wired{a, b} {
			if err := forced(t, e.Engine, "prod", force); err != nil {
				t.Fatal(err)
			}
		}
		body := func(payload, mode string) string {
			return fmt.Sprintf(`{"payload":%q,"options":{"payloadType":"text/plain","delay":"10m","debounce":{"key":%q,"delay":"1h","mode":%q,"maxDelay":"3h"}}}`, payload, mode, mode)
		}
		for _, mode := range []string{"leading", "trailing"} {
			first := a.ok("prod", "POST", sendPath, body("1", mode), "X-Trigger-Request-Idempotency-Key", mode+"-1")
			if first["state"] != "materialised" || first["isCached"] != false {
				t.Errorf("%v", first)
			}
			path := "/api/v3/runs/" + first["id"].(string)
			until := a.ok("prod", "GET", path, "")["delayedUntil"].(string)
			second := b.ok("prod", "POST", sendPath, body("2", mode), "X-Trigger-Request-Idempotency-Key", mode+"-2")
			run := b.ok("prod", "GET", path, "")
			want := map[string]string{"leading": "1", "trailing": "2"}[mode]
			if second["id"] != first["id"] || run["status"] != "DELAYED" || run["payload"] != want || run["delayedUntil"].(string) <= until {
				t.Errorf("%s: %v, then %v: %v", mode, first, second, run)
			}
			// With keys of their own they push it too, and the keys hold it.
			for range 2 {
				for _, node := range []*wired{a, b} {
					for _, key := range []string{"k1", "k2"} {
						if got := node.ok("prod", "POST", sendPath, body("3", mode), "Idempotency-Key", mode+key); got["id"] != first["id"] {
							t.Errorf("%s %s: %v, not %v", mode, key, got["id"], first["id"])
						}
					}
				}
			}
			// A retry of the call whose answer was lost is the same call, also once
			// the run has been moved on; a new call makes a new run.
			a.ok("prod", "POST", "/api/v2"+strings.TrimPrefix(path, "/api/v3")+"/cancel", "")
			retry := a.ok("prod", "POST", sendPath, body("2", mode), "X-Trigger-Request-Idempotency-Key", mode+"-2")
			if retry["id"] != first["id"] || retry["isCached"] != false {
				t.Errorf("%s: a retry is %v", mode, retry)
			}
			if held := b.ok("prod", "POST", sendPath, body("3", mode), "Idempotency-Key", mode+"k2"); held["id"] != first["id"] || held["isCached"] != true {
				t.Errorf("%s: the key holds %v", mode, held)
			}
			if next := b.ok("prod", "POST", sendPath, body("4", mode)); next["id"] == first["id"] {
				t.Errorf("%s: a run that was cancelled was pushed", mode)
			}
		}
		disjoint(t, cfg.Postgres)
	}
}

// ttl and delay act wherever the run is: a delayed run waits and can be
// rescheduled, and a run that nobody took in time expires, counted from its delay.
func TestTTLAndDelayOverTheWire(t *testing.T) {
	t.Parallel()
	for _, force := range []gate.Force{gate.ForceNone, gate.ForceMollify} {
		cfg := shared(t)
		cfg.NoDrain = true
		w := wire(t, cfg)
		for _, environment := range []string{"prod", "dev"} {
			if err := forced(t, w.Engine, environment, force); err != nil {
				t.Fatal(err)
			}
		}
		read := func(key string, triggered map[string]any) map[string]any {
			t.Helper()
			return w.ok(key, "GET", "/api/v3/runs/"+triggered["id"].(string), "")
		}
		if dev := read("dev", w.ok("dev", "POST", sendPath, `{}`)); dev["ttl"] != "10m" || dev["status"] != "QUEUED" {
			t.Errorf("%v", dev)
		}
		if dev := read("dev", w.ok("dev", "POST", sendPath, `{"options":{"ttl":0}}`)); dev["ttl"] != nil {
			t.Errorf("%v", dev)
		}
		if past := read("prod", w.ok("prod", "POST", sendPath, `{"options":{"delay":"2020-01-01T00:00:00.000Z"}}`)); past["status"] != "QUEUED" || past["delayedUntil"] != nil {
			t.Errorf("%v", past)
		}
		delayed := w.ok("prod", "POST", sendPath, `{"options":{"delay":"1h","ttl":"24h"}}`)
		if r := read("prod", delayed); r["status"] != "DELAYED" || r["ttl"] != "24h" || r["isQueued"] != true {
			t.Errorf("%v", r)
		}
		reschedule := "/api/v1/runs/" + delayed["id"].(string) + "/reschedule"
		r := w.ok("prod", "POST", reschedule, `{"delay":"2031-01-01T00:00:00.000Z"}`)
		if r["status"] != "DELAYED" || r["delayedUntil"] != "2031-01-01T00:00:00.000Z" || r["ttl"] != "24h" {
			t.Errorf("%v", r)
		}
		late := w.ok("prod", "POST", sendPath, `{"options":{"ttl":1,"idempotencyKey":"late"}}`)
		if status, v := w.do("prod", "POST", "/api/v1/runs/"+late["id"].(string)+"/reschedule", `{"delay":"1h"}`); status != 400 {
			t.Errorf("%d %v", status, v)
		}
		soon := w.ok("prod", "POST", sendPath, `{"options":{"delay":"1s"}}`)

		// Now everything reaches Postgres, where the sweep sees to it.
		cfg.NoDrain = false
		open(t, cfg)
		waitFor(t, "one run expires and another is released", func() bool {
			if _, _, err := w.Sweep(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
			return read("prod", late)["status"] == "EXPIRED" && read("prod", soon)["status"] == "QUEUED"
		})
		if r := read("prod", late); r["isCompleted"] != true || r["expiredAt"] == nil || r["finishedAt"] == nil || r["ttl"] != "1s" {
			t.Errorf("%v", r)
		}
		if again := w.ok("prod", "POST", sendPath, `{"options":{"idempotencyKey":"late"}}`); again["id"] == late["id"] {
			t.Error("an expired run still holds its key")
		}
		drained(t, cfg)
		if r := read("prod", delayed); r["status"] != "DELAYED" || r["delayedUntil"] != "2031-01-01T00:00:00.000Z" {
			t.Errorf("%v", r)
		}
		taken, err := w.Take(t.Context(), run.TakeRequest{Most: 10})
		if err != nil {
			t.Fatal(err)
		}
		for i := range taken {
			if id := taken[i].ID.String(); id == late["id"] || id == delayed["id"] || taken[i].Status != run.Executing {
				t.Errorf("taken %s", id)
			}
		}
	}
}

// Operations for a parent and a root reach them while all three are buffered,
// and are there once they are drained.
func TestMetadataOfRelativesInTheBuffer(t *testing.T) {
	t.Parallel()
	cfg := shared(t)
	cfg.NoDrain = true
	w := wire(t, cfg)
	if err := forced(t, w.Engine, "prod", gate.ForceMollify); err != nil {
		t.Fatal(err)
	}
	root := w.ok("prod", "POST", sendPath, `{"options":{"metadata":{"n":1}}}`)["id"].(string)
	child := w.ok("prod", "POST", sendPath, `{"options":{"parentRunId":"`+root+`"}}`)
	if child["state"] != "buffered" {
		t.Fatalf("%v", child)
	}
	path := "/api/v1/runs/" + child["id"].(string) + "/metadata"
	w.ok("prod", "PUT", path, `{"operations":[{"type":"set","key":"own","value":true}],
		"parentOperations":[{"type":"increment","key":"n","value":2}],"rootOperations":[{"type":"append","key":"log","value":"a"}]}`)
	check := func() {
		t.Helper()
		parent := w.ok("prod", "GET", "/api/v3/runs/"+root, "")
		if got, _ := json.Marshal(parent["metadata"]); string(got) != `{"log":["a"],"n":3}` {
			t.Errorf("%s", got)
		}
		r := w.ok("prod", "GET", "/api/v3/runs/"+child["id"].(string), "")
		if got, _ := json.Marshal(r["metadata"]); string(got) != `{"own":true}` || r["depth"] != 1.0 {
			t.Errorf("%s, depth %v", got, r["depth"])
		}
	}
	check()
	cfg.NoDrain = false
	open(t, cfg)
	drained(t, cfg)
	check()
}
