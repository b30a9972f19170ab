package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/token"
	"github.com/e0ff5a15/mollifier/watch"
)

// memory is what a hub of these tests looks at.
type memory struct {
	mu   sync.Mutex
	runs map[run.ID]run.Run
}

func (m *memory) put(r run.Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs[r.ID] = r
}

func (m *memory) Runs(_ context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[run.ID]run.Run{}
	for _, id := range ids {
		if r, ok := m.runs[id]; ok && r.Trigger.Environment == environment {
			out[id] = r
		}
	}
	return out, nil
}

func (m *memory) Outlines(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error) {
	return m.Runs(ctx, environment, ids)
}

func (m *memory) List(ctx context.Context, environment string, f runstore.Filter, _ runstore.Page) (runs []run.Run, _ run.ID, _ error) {
	found, err := m.Runs(ctx, environment, slices.Collect(maps.Keys(m.runs)))
	for _, r := range found {
		if f.Batch == r.Trigger.BatchItem.Batch && !r.CreatedAt.Before(f.From) {
			runs = append(runs, r)
		}
	}
	return runs, run.ID{}, err
}

// realtime is a wire with a hub.
type realtime struct {
	*wire
	memory *memory
}

func newRealtime(t *testing.T, tune ...func(*httpapi.Config)) *realtime {
	t.Helper()
	rt := &realtime{newWire(t, tune...), &memory{runs: map[run.ID]run.Run{}}}
	rt.engine.hub = watch.New(watch.Config{Source: rt.memory, Every: time.Millisecond, EverySet: time.Millisecond, PerEnvironment: 3})
	t.Cleanup(rt.engine.hub.Close)
	rt.memory.put(run.Run{
		ID: id1, Canonical: id1, Status: run.Queued, CreatedAt: now.Add(-time.Hour), UpdatedAt: now.Add(-time.Hour),
		Trigger: run.Trigger{
			Environment: "env_prod", Task: "send", Payload: []byte(`{"json":{"a":"é"}}`), PayloadType: "application/super+json",
			Tags: []string{`q"u\o,{te}`, "plain"}, Metadata: []byte(`{"m":1}`), MetadataType: "application/json", TTL: time.Minute, TTLText: "60s",
			BatchItem: run.BatchItem{},
		},
	})
	return rt
}

// message is one entry of a shape log.
type message struct {
	Key     string             `json:"key"`
	Value   map[string]*string `json:"value"`
	Headers map[string]string  `json:"headers"`
}

// shape is a client's state: what it sends with its next request.
type shapeClient struct {
	path string
	q    url.Values
}

func follow(path string) *shapeClient {
	return &shapeClient{path, url.Values{"offset": {"-1"}, "log": {"full"}}}
}

// get asks once, as the client of the shape log does, and takes in the answer.
func (rt *realtime) get(c *shapeClient, key string) (int, []message, http.Header) {
	rt.t.Helper()
	rec := httptest.NewRecorder()
	rt.handler.ServeHTTP(rec, request(http.MethodGet, c.path+"?"+c.q.Encode(), key, ""))
	var messages []message
	if rec.Code == http.StatusOK || rec.Code == http.StatusConflict {
		if err := json.Unmarshal(rec.Body.Bytes(), &messages); err != nil {
			rt.t.Fatalf("%v: %s", err, rec.Body)
		}
	}
	h := rec.Header()
	c.q.Set("handle", h.Get("Electric-Handle"))
	switch rec.Code {
	case http.StatusOK:
		for _, name := range []string{"Electric-Handle", "Electric-Offset", "Electric-Schema", "Electric-Cursor"} {
			if h.Get(name) == "" {
				rt.t.Errorf("no %s", name)
			}
		}
		c.q.Set("offset", h.Get("Electric-Offset"))
		c.q.Set("cursor", h.Get("Electric-Cursor"))
		if h.Get("Electric-Up-To-Date") != "" {
			c.q.Set("live", "true")
		}
	case http.StatusConflict:
		c.q = url.Values{"offset": {"-1"}, "log": {"full"}, "handle": {h.Get("Electric-Handle")}}
	}
	return rec.Code, messages, h
}

func text(s string) *string { return &s }

// The whole life of a subscription: what there is, what changed, and the end,
// in the columns and the notation that clients read. Case 79: an ended run has
// its end.
func TestShapeOfARun(t *testing.T) {
	t.Parallel()
	rt := newRealtime(t)
	c := follow("/realtime/v1/runs/" + id1.String())
	_, messages, header := rt.get(c, prodKey)
	want := []message{
		{
			Key: `"runs"/"` + id1.String() + `"`, Headers: map[string]string{"operation": "insert"},
			Value: map[string]*string{
				"id": text(id1.String()), "friendlyId": text(id1.String()), "taskIdentifier": text("send"), "status": text("PENDING"),
				"createdAt": text("2026-03-04T04:06:07.890"), "updatedAt": text("2026-03-04T04:06:07.890"),
				"completedAt": nil, "startedAt": nil, "delayUntil": nil, "expiredAt": nil, "idempotencyKey": nil,
				"isTest": text("false"), "usageDurationMs": text("0"), "costInCents": text("0"), "baseCostInCents": text("0"), "ttl": text("60s"),
				"payload": text(`{"json":{"a":"é"}}`), "payloadType": text("application/super+json"),
				"metadata": text(`{"m":1}`), "metadataType": text("application/json"), "output": nil, "outputType": nil,
				"runTags": text(`{"plain","q\"u\\o,{te}"}`), "error": nil,
			},
		},
		{Headers: map[string]string{"control": "up-to-date"}},
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Error(diff)
	}
	var schema map[string]map[string]any
	if err := json.Unmarshal([]byte(header.Get("Electric-Schema")), &schema); err != nil || len(schema) != len(want[0].Value) {
		t.Errorf("schema: %v, %s", err, header.Get("Electric-Schema"))
	}

	ended := rt.memory.runs[id1]
	ended.Status, ended.UpdatedAt = run.Failed, now // its end was never written
	ended.Error = &run.Failure{Message: "bad", Name: "Error"}
	rt.memory.put(ended)
	_, messages, _ = rt.get(c, prodKey)
	if len(messages) != 2 || messages[0].Headers["operation"] != "update" {
		t.Fatalf("%+v", messages)
	}
	row := messages[0].Value
	if *row["status"] != "COMPLETED_WITH_ERRORS" || row["completedAt"] == nil ||
		*row["error"] != `{"message":"bad","name":"Error","stackTrace":"","type":"BUILT_IN_ERROR"}` {
		t.Errorf("%+v", row)
	}
}

// A poll without news ends in its time, and the client's state stays what it was.
func TestPollEnds(t *testing.T) {
	t.Parallel()
	rt := newRealtime(t, func(c *httpapi.Config) { c.Poll = time.Millisecond })
	c := follow("/realtime/v1/runs/" + id1.String())
	rt.get(c, prodKey)
	before := c.q.Get("offset")
	code, messages, header := rt.get(c, prodKey)
	if code != http.StatusOK || len(messages) != 1 || messages[0].Headers["control"] != "up-to-date" || header.Get("Electric-Up-To-Date") == "" {
		t.Errorf("%d %+v", code, messages)
	}
	if c.q.Get("offset") != before {
		t.Errorf("offset %s became %s", before, c.q.Get("offset"))
	}
}

// Who comes with a state that is none, or that of something else, begins anew.
func TestMustRefetch(t *testing.T) {
	t.Parallel()
	rt := newRealtime(t)
	one, tags := follow("/realtime/v1/runs/"+id1.String()), follow("/realtime/v1/runs")
	tags.q.Set("tags", "plain")
	rt.get(one, prodKey)
	rt.get(tags, prodKey)
	for _, change := range []map[string]string{
		{"handle": ""},
		{"handle": tags.q.Get("handle")},
		{"handle": one.q.Get("handle") + "-1"},
		{"handle": one.q.Get("handle") + "x"},
		{"offset": "12_0"},
		{"offset": "0_m!"},
		{"skipColumns": "payload"},
	} {
		c := follow(one.path)
		c.q = maps.Clone(one.q)
		for name, value := range change {
			c.q.Set(name, value)
		}
		code, messages, header := rt.get(c, prodKey)
		if code != http.StatusConflict || len(messages) != 1 || messages[0].Headers["control"] != "must-refetch" || header.Get("Electric-Handle") == "" {
			t.Errorf("%v: %d %+v", change, code, messages)
		}
		if code, messages, _ = rt.get(c, prodKey); code != http.StatusOK || len(messages) != 2 {
			t.Errorf("%v, anew: %d %+v", change, code, messages)
		}
	}
	c := follow(tags.path)
	c.q = maps.Clone(tags.q)
	c.q.Set("handle", tags.q.Get("handle")+"9999999999999")
	if code, _, _ := rt.get(c, prodKey); code != http.StatusConflict {
		t.Errorf("a handle from the far future: %d", code)
	}
}

// The runs with a tag, from an instant on that the client carries along; and
// without the columns that it does not want.
func TestShapeOfTags(t *testing.T) {
	t.Parallel()
	at := now
	rt := newRealtime(t, func(c *httpapi.Config) { c.Now = func() time.Time { return at } })
	old := rt.memory.runs[id1]
	old.ID, old.Canonical, old.CreatedAt = id2, id2, now.Add(-25*time.Hour)
	rt.memory.put(old)
	for query, want := range map[string]int{
		"tags=plain": 1, "tags=plain&createdAt=2d": 2, "tags=plain&createdAt=10m": 0, "tags=plain&createdAt=5000w": 2, "tags=other": 0, "tags=plain,other": 0,
	} {
		c := follow("/realtime/v1/runs")
		parsed, _ := url.ParseQuery(query)
		maps.Copy(c.q, parsed)
		c.q.Set("skipColumns", "payload,status,nothing,payloadType")
		_, messages, _ := rt.get(c, prodKey)
		if len(messages) != want+1 {
			t.Errorf("%s: %d messages", query, len(messages))
		}
		for _, m := range messages[:len(messages)-1] {
			if _, shown := m.Value["payload"]; shown || m.Value["status"] == nil {
				t.Errorf("%s: %v", query, m.Value)
			}
		}
	}
	c := follow("/realtime/v1/runs")
	c.q.Set("tags", "plain")
	rt.get(c, prodKey)
	at = at.Add(30 * time.Hour) // the subscription goes on from where it began
	r := rt.memory.runs[id1]
	r.UpdatedAt = at
	rt.memory.put(r)
	if _, messages, _ := rt.get(c, prodKey); len(messages) != 2 {
		t.Errorf("%+v", messages)
	}
}

// A batch; and another environment's runs and batches, which are not there.
func TestShapeOfABatch(t *testing.T) {
	t.Parallel()
	rt := newRealtime(t)
	r := rt.memory.runs[id1]
	r.Trigger.BatchItem.Batch = "batch_1"
	rt.memory.put(r)
	rt.engine.batch.ID = "batch_1"
	c := follow("/realtime/v1/batches/batch_1")
	if _, messages, _ := rt.get(c, prodKey); len(messages) != 2 {
		t.Errorf("%+v", messages)
	}
	for path, key := range map[string]string{"/realtime/v1/batches/batch_1": devKey, "/realtime/v1/batches/batch_2": prodKey} {
		if code, _, header := rt.get(follow(path), key); code != http.StatusNotFound || header.Get("X-Should-Retry") != "false" {
			t.Errorf("%s, which this environment has not: %d", path, code)
		}
	}
	rt.engine.readErr = &run.RefusedError{Reason: run.ErrUnavailable}
	if code, _, _ := rt.get(c, prodKey); code != http.StatusOK {
		t.Errorf("who goes on is asked for the batch again: %d", code)
	}
	if code, _, _ := rt.get(follow("/realtime/v1/batches/batch_1"), prodKey); code != http.StatusServiceUnavailable {
		t.Errorf("a batch that nobody knows of now: %d", code)
	}
	if code, _, _ := rt.get(follow("/realtime/v1/runs/"+id1.String()), devKey); code != http.StatusNotFound {
		t.Errorf("another environment: %d", code)
	}
}

func TestShapeRefusals(t *testing.T) {
	t.Parallel()
	rt := newRealtime(t)
	for path, want := range map[string]int{
		"/realtime/v1/runs/run_nowhere":                    http.StatusNotFound,
		"/realtime/v1/runs/run%20x":                        http.StatusNotFound,
		"/realtime/v1/runs":                                http.StatusBadRequest,
		"/realtime/v1/runs?tags=,":                         http.StatusBadRequest,
		"/realtime/v1/runs?tags=a,b,c,d,e,f,g,h,i,j,k":     http.StatusBadRequest,
		"/realtime/v1/runs?tags=a&createdAt=soon":          http.StatusBadRequest,
		"/realtime/v1/streams/" + id1.String() + "/stdout": http.StatusNotFound,
	} {
		if rec := rt.do(request(http.MethodGet, path, prodKey, "")); rec.Code != want {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if rec := rt.do(request(http.MethodGet, "/realtime/v1/runs/"+id1.String(), "", "")); rec.Code != http.StatusUnauthorized {
		t.Errorf("without a key: %d", rec.Code)
	}
	if rec := rt.do(request(http.MethodPost, "/realtime/v1/runs/"+id1.String(), prodKey, "")); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", rec.Code)
	}
}

// Over a real server: a poll outlives the time that other requests have, too many
// are refused, and a server that stops answers those who wait.
func TestPollsOfAServer(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	rt := newRealtime(t, func(c *httpapi.Config) { c.Poll = time.Hour })
	server := httpapi.NewServer(rt.handler, httpapi.Limits{ReadHeaderTimeout: limit, ReadTimeout: limit, WriteTimeout: limit}, nil)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	c := follow("/realtime/v1/runs/" + id1.String())
	rt.get(c, prodKey)
	base := "http://" + listener.Addr().String() + c.path + "?" + c.q.Encode()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	get := func() (int, string, error) {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base, nil)
		r.Header.Set("Authorization", "Bearer "+prodKey)
		res, err := transport.RoundTrip(r)
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		var b strings.Builder
		var messages []message
		if res.StatusCode == http.StatusOK {
			err = json.NewDecoder(res.Body).Decode(&messages)
			for _, m := range messages {
				b.WriteString(m.Headers["operation"] + m.Headers["control"] + " ")
			}
		}
		return res.StatusCode, b.String(), err
	}
	type result struct {
		code int
		told string
		err  error
	}
	results := make(chan result, 3)
	for range 3 {
		go func() {
			code, told, err := get()
			results <- result{code, told, err}
		}()
	}
	for rt.engine.hub.Polls() != 3 {
		<-time.After(time.Millisecond)
	}
	if code, _, err := get(); code != http.StatusTooManyRequests || err != nil {
		t.Errorf("the fourth: %d, %v", code, err)
	}
	// Someone who came later, and sends nothing, has had as much time as the server gives.
	late, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(late); err != nil {
		t.Fatal(err)
	}
	_ = late.Close()
	r := rt.memory.runs[id1]
	r.UpdatedAt = now
	rt.memory.put(r)
	for range 3 {
		if r := <-results; r.code != http.StatusOK || r.told != "update up-to-date " || r.err != nil {
			t.Errorf("%+v", r)
		}
	}

	c.q.Set("offset", "-1")
	c.q.Del("live")
	rt.get(c, prodKey)
	base = "http://" + listener.Addr().String() + c.path + "?" + c.q.Encode()
	go func() {
		code, told, err := get()
		results <- result{code, told, err}
	}()
	for rt.engine.hub.Polls() != 1 {
		<-time.After(time.Millisecond)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if r := <-results; r.code != http.StatusOK || r.told != "up-to-date " || r.err != nil {
		t.Errorf("stopping: %+v", r)
	}
	<-served
}

// A token follows what it may read: a run by any of its names, tags if it may read
// one that all these runs have, a batch; and without the columns that it is denied.
func TestShapeTokens(t *testing.T) {
	t.Parallel()
	one, tags, batch := "/realtime/v1/runs/"+id1.String(), "/realtime/v1/runs?tags=plain", "/realtime/v1/batches/batch_1"
	for _, c := range []struct {
		path    string
		allowed []string
		refused []string
	}{
		{one, []string{"read:runs", "read:runs:" + id1.String(), "read:tasks:send", "read:tags:plain", "read:batch:batch_1", "admin"}, []string{"read:runs:" + id2.String(), "read:tags:other", "read:batch:b", "write:runs"}},
		{tags, []string{"read:runs", "read:tags:plain"}, []string{"read:tags:other", "read:runs:" + id1.String(), "read:batch:batch_1"}},
		{batch, []string{"read:runs", "read:batch:batch_1"}, []string{"read:batch:b", "read:runs:" + id1.String()}},
		{"/realtime/v1/runs/run_nowhere", nil, []string{"read:tags:plain", "read:runs:" + id1.String()}},
	} {
		for i, scope := range append(c.allowed, c.refused...) {
			rt := newRealtime(t)
			r := rt.memory.runs[id1]
			r.Trigger.BatchItem.Batch = "batch_1"
			rt.memory.put(r)
			rt.engine.runs["env_prod/"+id1.String()] = r
			rt.engine.batch.ID = "batch_1"
			path, query, _ := strings.Cut(c.path, "?")
			client := follow(path)
			parsed, _ := url.ParseQuery(query)
			maps.Copy(client.q, parsed)
			credential := signed(t, func(c *token.Claims) { c.SkipColumns = []string{"payload", "status"} }, scope)
			code, messages, _ := rt.get(client, credential)
			switch {
			case i >= len(c.allowed):
				if code != http.StatusForbidden {
					t.Errorf("%s with %s: %d", c.path, scope, code)
				}
			case code != http.StatusOK || len(messages) == 0:
				t.Errorf("%s with %s: %d %+v", c.path, scope, code, messages)
			case path != "/realtime/v1/runs": // by tags the memory here knows no batch
				if _, shown := messages[0].Value["payload"]; shown || messages[0].Value["status"] == nil {
					t.Errorf("%s with %s: %v", c.path, scope, messages[0].Value)
				}
			}
		}
	}
}
