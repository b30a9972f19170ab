package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

const adminToken = "mat_CANARYcanaryCANARYcanary"

// overrides keeps what it was told.
type overrides struct {
	all    map[string]override.Override // by kind and environment
	by     override.Author
	failed error
	asked  []any
}

func (o *overrides) put(k override.Kind, v override.Override) (int64, error) {
	if o.failed != nil {
		return 0, o.failed
	}
	if o.all == nil {
		o.all = map[string]override.Override{}
	}
	v.Kind = k
	o.all[string(k)+" "+v.Environment], o.by = v, v.By
	return int64(len(o.all)), nil
}

func (o *overrides) clear(k override.Kind, environment string, by override.Author) (int64, error) {
	if _, ok := o.all[string(k)+" "+environment]; !ok {
		return 0, run.ErrNotFound
	}
	delete(o.all, string(k)+" "+environment)
	o.by = by
	return 7, nil
}

func (o *overrides) SetGate(_ context.Context, v override.Override) (int64, error) {
	return o.put(override.KindGate, v)
}

func (o *overrides) ClearGate(_ context.Context, environment string, by override.Author) (int64, error) {
	return o.clear(override.KindGate, environment, by)
}

func (o *overrides) PauseDrain(_ context.Context, v override.Override) (int64, error) {
	return o.put(override.KindDrain, v)
}

func (o *overrides) ResumeDrain(_ context.Context, environment string, by override.Author) (int64, error) {
	return o.clear(override.KindDrain, environment, by)
}

func (o *overrides) Overrides() *override.State {
	return &override.State{Version: 3, Overrides: []override.Override{
		{Kind: override.KindDrain, SetAt: now, By: override.Author{Name: "alice", Reason: "vacuum"}},
		{Kind: override.KindGate, Environment: "env_prod", Gate: override.Gate{Window: 200 * time.Millisecond, Force: "pass"}, SetAt: now, Ends: now},
	}}
}

func (o *overrides) Audit(_ context.Context, environment string, before int64, limit int) ([]override.Entry, error) {
	o.asked = []any{environment, before, limit}
	return []override.Entry{{ID: 4, At: now, Node: "node_1", Action: "gate.set", Environment: "env_prod", By: override.Author{Name: "alice"}, Detail: []byte(`{"is":{"force":"pass"}}`)}}, o.failed
}

func (o *overrides) Buffered(context.Context) ([]mollifier.Buffered, error) {
	return []mollifier.Buffered{{Organisation: "org", Environment: "env_prod", Entries: 2, Bytes: 30, Oldest: time.Second, Paused: true}}, o.failed
}

func (o *overrides) PurgeBuffer(_ context.Context, environment string, next run.ID, by override.Author) (mollifier.Purged, error) {
	o.asked = []any{environment, next.String(), by}
	return mollifier.Purged{Cancelled: 3, Left: 1, Next: id1}, o.failed
}

// The buffer is shown, and purged in steps by who has the token.
func TestBuffer(t *testing.T) {
	t.Parallel()
	rec := admin(t, &worker{}, request(http.MethodGet, "/admin/v1/buffer", "", ""))
	if want := `{"environments":[{"organisation":"org","environment":"env_prod","entries":2,"bytes":30,"oldestMs":1000,"paused":true}]}`; rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	const path = "/admin/v1/environments/acme%2Fprod/buffer/purge"
	w := &worker{}
	rec = admin(t, w, asAdmin(http.MethodPost, path+"?reason=junk&next="+id2.String(), ""))
	if want := `{"environment":"env_prod","cancelled":3,"left":1,"next":"` + id1.String() + `"}`; rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if diff := cmp.Diff([]any{"env_prod", id2.String(), override.Author{Name: "alice", Reason: "junk"}}, w.asked); diff != "" {
		t.Error(diff)
	}
	if rec := admin(t, &worker{}, request(http.MethodPost, path, "", "")); rec.Code != 401 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := admin(t, &worker{}, asAdmin(http.MethodPost, path+"?next=a/b", "")); rec.Code != 400 || member(t, rec, "field") != "next" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func asAdmin(method, path, body string) *http.Request {
	r := request(method, path, "", body)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	return r
}

// The gate of one environment is overridden while nodes run; what is not understood
// changes nothing.
func TestGateOverride(t *testing.T) {
	t.Parallel()
	const path = "/admin/v1/environments/acme%2Fprod/gate"
	for body, want := range map[string]override.Override{
		`{}`: {},
		`{"window":"100ms","threshold":7,"hold":"1s"}`: {Gate: override.Gate{Window: 100 * time.Millisecond, Threshold: 7, Hold: time.Second}},
		`{"force":"pass","for":"10m"}`:                 {Gate: override.Gate{Force: "pass"}, For: 10 * time.Minute},
		`{"force":"mollify"}`:                          {Gate: override.Gate{Force: "mollify"}},
		`{"force":"none"}`:                             {},
	} {
		want.Environment, want.Kind, want.By = "env_prod", override.KindGate, override.Author{Name: "alice", Reason: "a storm"}
		w := &worker{}
		rec := admin(t, w, asAdmin(http.MethodPost, path+"?reason=a+storm", body))
		checkAnswer(t, rec.Result(), rec.Body.Bytes())
		if diff := cmp.Diff(map[string]override.Override{"gate env_prod": want}, w.all); rec.Code != 200 || diff != "" {
			t.Errorf("%s: %d %s", body, rec.Code, diff)
		}
		if rec := admin(t, w, asAdmin(http.MethodDelete, path, "")); rec.Code != 200 || len(w.all) != 0 {
			t.Errorf("%s: not cleared: %d %v", body, rec.Code, w.all)
		}
	}
	for body, field := range map[string]string{
		`{"window":"0s"}`: "window", `{"window":200}`: "window", `{"hold":"2h"}`: "hold", `{"threshold":0}`: "threshold",
		`{"threshold":1.5}`: "threshold", `{"force":"off"}`: "force", `{"for":"0s"}`: "for", `{"for":"721h"}`: "for",
	} {
		w := &worker{}
		rec := admin(t, w, asAdmin(http.MethodPost, path, body))
		if rec.Code != 400 || member(t, rec, "field") != field || len(w.all) != 0 {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
	refused := &worker{}
	refused.failed = &run.InvalidError{Field: "override", Rule: "gate: Override.Threshold must be at most one for each microsecond of Window"}
	if rec := admin(t, refused, asAdmin(http.MethodPost, path, `{"threshold":1000000}`)); rec.Code != 400 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := admin(t, &worker{}, asAdmin(http.MethodDelete, path, "")); rec.Code != 404 || !strings.Contains(rec.Body.String(), "no-override") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// The drain of one environment, or of all, is paused and goes on.
func TestDrainPause(t *testing.T) {
	t.Parallel()
	for path, environment := range map[string]string{
		"/admin/v1/drain": "", "/admin/v1/environments/env_prod/drain": "env_prod",
	} {
		for body, ends := range map[string]time.Duration{"": 0, `{"for":"1h"}`: time.Hour} {
			w := &worker{}
			rec := admin(t, w, asAdmin(http.MethodPost, path+"/pause", body))
			if o := w.all["drain "+environment]; rec.Code != 200 || o.Kind != override.KindDrain || o.Environment != environment || o.For != ends {
				t.Errorf("%s %s: %d %s %v", path, body, rec.Code, rec.Body, w.all)
			}
			if rec := admin(t, w, asAdmin(http.MethodPost, path+"/resume", "")); rec.Code != 200 || len(w.all) != 0 {
				t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
			}
		}
	}
}

// Nothing is changed, and no audit shown, without the token; and what names no
// environment is not taken for one.
func TestAdminAsksForItsToken(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"POST /admin/v1/environments/env_prod/gate", "DELETE /admin/v1/environments/env_prod/gate", "POST /admin/v1/drain/pause",
		"POST /admin/v1/drain/resume", "POST /admin/v1/environments/env_prod/drain/pause", "POST /admin/v1/environments/env_prod/drain/resume",
		"GET /admin/v1/audit",
	} {
		method, path, _ := strings.Cut(path, " ")
		for _, header := range [][]string{nil, {"Bearer "}, {"Bearer wrong"}, {"Basic " + adminToken}, {adminToken}, {"Bearer " + adminToken, "Bearer " + adminToken}} {
			w := &worker{}
			r := request(method, path, "", `{}`)
			r.Header["Authorization"] = header
			rec := admin(t, w, r)
			if rec.Code != 401 || len(w.all) != 0 || w.asked != nil {
				t.Errorf("%s %s with %q: %d %s", method, path, header, rec.Code, rec.Body)
			}
			checkAnswer(t, rec.Result(), rec.Body.Bytes())
		}
		if strings.Contains(path, "env_prod") {
			rec := admin(t, &worker{}, asAdmin(method, strings.Replace(path, "env_prod", "env_typo", 1), `{"force":"pass"}`))
			if rec.Code != 404 || !strings.Contains(rec.Body.String(), "no-such-environment") {
				t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
			}
		}
	}
}

func TestOverridesAndAuditAreShown(t *testing.T) {
	t.Parallel()
	rec := admin(t, &worker{}, request(http.MethodGet, "/admin/v1/overrides", "", ""))
	if want := `{"node":"node_1","version":3,"overrides":[` +
		`{"environment":"","kind":"drain","paused":true,"setAt":"2026-03-04T05:06:07.89Z","by":"alice","reason":"vacuum"},` +
		`{"environment":"env_prod","kind":"gate","window":"200ms","force":"pass","ends":"2026-03-04T05:06:07Z","setAt":"2026-03-04T05:06:07.89Z","by":""}]}`; rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w := &worker{}
	rec = admin(t, w, asAdmin(http.MethodGet, "/admin/v1/audit?environment=acme/prod&before=9&limit=5", ""))
	if want := `{"entries":[{"id":4,"at":"2026-03-04T05:06:07.89Z","by":"alice","node":"node_1","action":"gate.set","environment":"env_prod","detail":{"is":{"force":"pass"}}}]}`; rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if diff := cmp.Diff([]any{"env_prod", int64(9), 5}, w.asked); diff != "" {
		t.Error(diff)
	}
	for query, field := range map[string]string{"before=0": "before", "limit=x": "limit", "limit=1001": "limit"} {
		if rec := admin(t, w, asAdmin(http.MethodGet, "/admin/v1/audit?"+query, "")); rec.Code != 400 || member(t, rec, "field") != field {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}
