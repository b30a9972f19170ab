package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/tenant"
	"github.com/e0ff5a15/mollifier/token"
	"github.com/e0ff5a15/mollifier/watch"
)

// Keys and ids of the tests. The keys are canaries: no answer and no log may
// ever hold one.
const (
	prodKey    = "tr_prod_CANARYcanaryCANARYcanary"
	devKey     = "tr_dev_CANARYcanaryCANARYcanary1"
	strictKey  = "tr_prod_CANARYcanaryCANARYstrict"
	previewKey = "tr_preview_CANARYcanaryCANARYca"
)

var (
	now = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)
	id1 = mustID("run_01hq3k5c9d0042v6w8x0z1abcdef")
	id2 = mustID("run_01hq3k5c9d0042v6w8x0z1ghjkmn")
)

func mustID(text string) run.ID {
	id, err := run.ParseID(text)
	if err != nil {
		panic(err)
	}
	return id
}

// engine answers from memory and keeps what it was asked.
type engine struct {
	partial     bool // there may be more children
	bound       map[[32]byte]string
	childrenErr error
	mu          sync.Mutex
	triggers    []run.Trigger
	result      run.Result
	err         error
	runs        map[string]run.Run // by environment and id
	readErr     error
	panics      any
	block       bool // until the context ends

	changes   []string
	changeErr error
	metadata  run.MetadataChange
	filter    runstore.Filter
	page      runstore.Page
	listed    fallback.Page
	spent     map[[32]byte][32]byte
	spendErr  error

	hub *watch.Hub

	batch   runstore.Batch
	request run.BatchRequest
	groups  []int // sizes of the groups of items
	itemErr error
}

// Watcher returns a hub over e.runs.
func (e *engine) Watcher() *watch.Hub { return e.hub }

func (e *engine) Trigger(ctx context.Context, t run.Trigger) (run.Result, error) {
	if e.block {
		<-ctx.Done()
		return run.Result{}, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.panics != nil {
		panic(e.panics)
	}
	e.triggers = append(e.triggers, t)
	if e.err != nil {
		return run.Result{}, e.err
	}
	return e.result, nil
}

func (e *engine) Run(_ context.Context, environment string, id run.ID) (run.Run, error) {
	if e.readErr != nil {
		return run.Run{}, e.readErr
	}
	r, ok := e.runs[environment+"/"+id.String()]
	if !ok {
		return run.Run{}, run.ErrNotFound
	}
	return r, nil
}

func (e *engine) Children(_ context.Context, environment string, names ...run.ID) (children []run.Run, partial bool, err error) {
	for name, r := range e.runs {
		if e.childrenErr == nil && strings.HasPrefix(name, environment+"/") && slices.Contains(names, r.Trigger.ParentRun) {
			children = append(children, r)
		}
	}
	return children, e.partial, e.childrenErr
}

func (e *engine) List(_ context.Context, environment string, f runstore.Filter, p runstore.Page) (fallback.Page, error) {
	e.filter, e.page = f, p
	return e.listed, e.readErr
}

func (e *engine) changed(ctx context.Context, environment string, id run.ID, what string) (run.Run, error) {
	e.changes = append(e.changes, what)
	if e.changeErr != nil {
		return run.Run{}, e.changeErr
	}
	return e.Run(ctx, environment, id)
}

func (e *engine) Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error) {
	return e.changed(ctx, environment, id, "cancel "+reason)
}

func (e *engine) AddTags(ctx context.Context, environment string, id run.ID, tags []string) (run.Run, int, error) {
	r, err := e.changed(ctx, environment, id, "tags "+strings.Join(tags, ","))
	return r, len(tags), err
}

func (e *engine) SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error) {
	e.metadata = c
	return e.changed(ctx, environment, id, "metadata of "+id.String())
}

func (e *engine) Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error) {
	return e.changed(ctx, environment, id, "reschedule "+until.UTC().Format(time.RFC3339))
}

func (e *engine) Replay(ctx context.Context, environment string, id run.ID, edit func(*run.Trigger) error) (run.Result, error) {
	r, err := e.changed(ctx, environment, id, "replay")
	if err != nil {
		return run.Result{}, err
	}
	if err := edit(&r.Trigger); err != nil {
		return run.Result{}, err
	}
	return e.Trigger(ctx, r.Trigger)
}

func (e *engine) Reset(_ context.Context, r run.ResetRequest) (run.ID, error) {
	e.changes = append(e.changes, strings.Join([]string{"reset", r.Organisation, r.Environment, r.Task, r.IdempotencyKey}, " "))
	return id1, e.changeErr
}

func (e *engine) SpendToken(_ context.Context, _ string, token, use [32]byte, _ time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.spent == nil {
		e.spent = map[[32]byte][32]byte{}
	}
	if on, spent := e.spent[token]; spent && on != use {
		return run.ErrConflict
	}
	e.spent[token] = use
	return e.spendErr
}

func (e *engine) BindToken(_ context.Context, _ string, token [32]byte, batch string) error {
	if e.bound == nil {
		e.bound = map[[32]byte]string{}
	}
	e.bound[token] = batch
	return e.readErr
}

func (e *engine) TokenOpened(_ context.Context, _ string, token [32]byte, batch string) (bool, error) {
	return e.bound[token] == batch, e.readErr
}

func (e *engine) CreateBatch(_ context.Context, r run.BatchRequest) (runstore.BatchHeader, bool, error) {
	e.request = r
	return e.batch.BatchHeader, !e.batch.SealedAt.IsZero(), e.err
}

func (e *engine) BatchHeader(_ context.Context, environment, batch string) (runstore.BatchHeader, error) {
	if environment != "env_prod" || batch != e.batch.ID {
		return runstore.BatchHeader{}, run.ErrNotFound
	}
	return e.batch.BatchHeader, e.readErr
}

func (e *engine) Batch(ctx context.Context, environment, batch string) (runstore.Batch, error) {
	_, err := e.BatchHeader(ctx, environment, batch)
	return e.batch, err
}

func (e *engine) TriggerItems(_ context.Context, items []run.Trigger) ([]run.BatchResult, error) {
	e.triggers, e.groups = append(e.triggers, items...), append(e.groups, len(items))
	out := make([]run.BatchResult, len(items))
	for i := range out {
		out[i] = run.BatchResult{Result: e.result, Err: e.itemErr}
	}
	return out, e.err
}

func (e *engine) SealBatch(context.Context, string, string) (int, bool, error) {
	return len(e.triggers), len(e.triggers) >= e.batch.Items, e.err
}

type tenants struct{ err error }

func (d tenants) Authenticate(_ context.Context, bearer string) (tenant.Environment, error) {
	if d.err != nil {
		return tenant.Environment{}, d.err
	}
	org := tenant.Organisation{ID: "org_1", Name: "acme", Enrolled: true}
	switch bearer {
	case prodKey:
		return tenant.Environment{ID: "env_prod", Name: "prod", Type: tenant.Prod, Organisation: org}, nil
	case strictKey:
		return tenant.Environment{ID: "env_strict", Name: "strict", Type: tenant.Prod, Organisation: org, RefuseMismatch: true}, nil
	case devKey:
		return tenant.Environment{ID: "env_dev", Name: "dev", Type: tenant.Dev, Organisation: org}, nil
	case previewKey:
		return tenant.Environment{ID: "env_preview", Name: "preview", Type: tenant.Preview, Organisation: org}, nil
	}
	return tenant.Environment{}, tenant.ErrUnknownKey
}

func (d tenants) AuthenticateToken(ctx context.Context, text string) (tenant.Environment, token.Claims, error) {
	if d.err != nil {
		return tenant.Environment{}, token.Claims{}, d.err
	}
	claims, err := token.Verify(text, [][]byte{[]byte(prodKey)}, now)
	if err != nil {
		return tenant.Environment{}, claims, err
	}
	key, known := map[string]string{"env_prod": prodKey, "env_dev": devKey, "env_preview": previewKey}[claims.Environment]
	if !known {
		return tenant.Environment{}, claims, token.ErrSignature
	}
	env, err := d.Authenticate(ctx, key)
	return env, claims, err
}

func (d tenants) SigningKey(environment string) ([]byte, error) {
	if environment == "env_preview" {
		return nil, errors.New("no key")
	}
	return []byte(prodKey), nil
}

type wire struct {
	t       *testing.T
	engine  *engine
	handler http.Handler
	log     *bytes.Buffer
}

func newWire(t *testing.T, change ...func(*httpapi.Config)) *wire {
	t.Helper()
	w := &wire{t: t, log: &bytes.Buffer{}, engine: &engine{
		result: run.NewResult(run.Answer{ID: id1, PayloadMatch: true}),
		runs:   map[string]run.Run{},
	}}
	cfg := httpapi.Config{
		Engine: w.engine, Tenants: tenants{}, Now: func() time.Time { return now },
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	w.handler = httpapi.New(cfg)
	return w
}

// do sends a request in memory and checks what holds of every answer.
func (w *wire) do(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	checkAnswer(w.t, rec.Result(), rec.Body.Bytes())
	for _, text := range []string{rec.Body.String(), w.log.String()} {
		if strings.Contains(strings.ToLower(text), "canary") {
			w.t.Errorf("a secret shows: %s", text)
		}
	}
	return rec
}

func checkAnswer(t *testing.T, res *http.Response, body []byte) {
	t.Helper()
	if res.Header.Get("X-Request-Id") == "" {
		t.Error("no x-request-id")
	}
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // customers' numbers need not fit
	if err := d.Decode(&v); err != nil {
		t.Fatalf("answer %d is no JSON object: %v: %q", res.StatusCode, err, body)
	}
	noNulls(t, "", v)
	if res.StatusCode < 400 {
		if ct := res.Header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("content type %q", ct)
		}
		return
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type of a problem: %q", ct)
	}
	kind, _ := v["type"].(string)
	if name := strings.TrimPrefix(kind, "urn:mollifier:problem:"); v["docs"] != "https://github.com/e0ff5a15/mollifier/blob/main/docs/problems.md#"+name {
		t.Errorf("%s is explained at %v", kind, v["docs"])
	}
	for _, member := range []string{"error", "title", "detail", "type", "instance"} {
		if s, ok := v[member].(string); !ok || s == "" {
			t.Errorf("problem without %s: %s", member, body)
		}
	}
	if v["status"] != json.Number(strconv.Itoa(res.StatusCode)) {
		t.Errorf("status %v in the body of a %d", v["status"], res.StatusCode)
	}
	if !strings.HasSuffix(v["instance"].(string), res.Header.Get("X-Request-Id")) {
		t.Errorf("instance %v is not the answer's id", v["instance"])
	}
}

// noNulls walks an answer. What the customer sent may hold nulls.
func noNulls(t *testing.T, path string, v any) {
	t.Helper()
	switch v := v.(type) {
	case nil:
		t.Errorf("null at %s", path)
	case map[string]any:
		for name, member := range v {
			switch name {
			case "payload", "output", "metadata":
				continue
			}
			noNulls(t, path+"/"+name, member)
		}
	case []any:
		for _, item := range v {
			noNulls(t, path+"/[]", item)
		}
	}
}

// request makes a request as the SDK sends it.
func request(method, path, key, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Trigger-Api-Version", "2025-07-16")
	r.Header.Set("X-Trigger-Source", "sdk")
	if method == http.MethodPost || method == http.MethodPut {
		withLength(r)
	}
	return r
}

func withLength(r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	r.Header.Set("Content-Length", "set") // its presence is what counts: the number is ContentLength
}

const triggerPath = "/api/v1/tasks/send-email/trigger"

// trigger sends a body and returns the trigger that reached the engine.
func (w *wire) trigger(key, body string) run.Trigger {
	w.t.Helper()
	return w.triggered(request(http.MethodPost, triggerPath, key, body))
}

func (w *wire) triggered(r *http.Request) run.Trigger {
	w.t.Helper()
	rec := w.do(r)
	if rec.Code != http.StatusOK {
		w.t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return w.engine.triggers[len(w.engine.triggers)-1]
}

// refused sends a request and checks status, error text and that the engine
// never saw it.
func (w *wire) refused(r *http.Request, status int, text string) *httptest.ResponseRecorder {
	w.t.Helper()
	before := len(w.engine.triggers)
	rec := w.do(r)
	if rec.Code != status {
		w.t.Errorf("status %d, want %d: %s", rec.Code, status, rec.Body)
	}
	if got := member(w.t, rec, "error"); !strings.Contains(got, text) {
		w.t.Errorf("error %q, want %q", got, text)
	}
	if len(w.engine.triggers) != before {
		w.t.Error("the engine saw a refused request")
	}
	return rec
}

func member(t *testing.T, rec *httptest.ResponseRecorder, name string) string {
	t.Helper()
	var v map[string]json.RawMessage
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	var s string
	if json.Unmarshal(v[name], &s) == nil {
		return s
	}
	return string(v[name])
}
