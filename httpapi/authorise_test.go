package httpapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/token"
)

// signed is a token of the prod environment, as a customer's client makes it.
func signed(t *testing.T, change func(*token.Claims), scopes ...string) string {
	t.Helper()
	c := token.Claims{Environment: "env_prod", Scopes: scopes, Expires: now.Add(15 * time.Minute)}
	if change != nil {
		change(&c)
	}
	text, err := c.Sign([]byte(prodKey), now)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// withRun puts a run with everything that it can be read by into the engine.
func (w *wire) withRun(id run.ID, change func(*run.Run)) {
	r := run.Run{ID: id, Canonical: id, Status: run.Queued, CreatedAt: now, Trigger: run.Trigger{
		Organisation: "org_1", Environment: "env_prod", Task: "send-email", Tags: []string{"user:1", "blue"},
		BatchItem: run.BatchItem{Batch: "batch_1"}, Payload: []byte(`1`),
	}}
	if change != nil {
		change(&r)
	}
	w.engine.runs["env_prod/"+id.String()] = r
}

// samples are requests that a key gets 200 for, by operation; a path of none is an
// operation that is not tried (the probes).
var samples = map[string][2]string{
	"openapi":         {},
	"trigger":         {triggerPath, `{}`},
	"retrieveRun":     {"/api/v3/runs/" + id1.String(), ""},
	"retrieveRunV1":   {"/api/v1/runs/" + id1.String(), ""},
	"runResult":       {"/api/v1/runs/" + id1.String() + "/result", ""},
	"listRuns":        {"/api/v1/runs", ""},
	"listProjectRuns": {"/api/v1/projects/proj_x/runs", ""},
	"cancelRunV1":     {"/api/v1/runs/" + id1.String() + "/cancel", ""},
	"cancelRun":       {"/api/v2/runs/" + id1.String() + "/cancel", ""},
	"replayRun":       {"/api/v1/runs/" + id1.String() + "/replay", ""},
	"rescheduleRun":   {"/api/v1/runs/" + id1.String() + "/reschedule", `{"delay":"1h"}`},
	"addTags":         {"/api/v1/runs/" + id1.String() + "/tags", `{"tags":"x"}`},
	"setMetadata":     {"/api/v1/runs/" + id1.String() + "/metadata", `{"metadata":{}}`},
	"resetKey":        {"/api/v1/idempotencyKeys/k/reset", `{"taskIdentifier":"send-email"}`},
	"tokenClaims":     {"/api/v1/auth/jwt/claims", ""},
	"makeToken":       {"/api/v1/auth/public-tokens", `{"scopes":["read:runs"]}`},
	"createBatch":     {"/api/v3/batches", `{"runCount":1,"taskIdentifiers":["send-email"]}`},
	"sendBatchItems":  {"/api/v3/batches/batch_1/items", `{"index":0,"task":"send-email"}`},
	"retrieveBatch":   {"/api/v2/batches/batch_1", ""},
	"triggerBatch":    {"/api/v2/tasks/batch", `{"items":[{"task":"send-email"}]}`},
	"uploadURL":       {"/api/v2/packets/a%2Fb", ""},
	"uploadURLV1":     {"/api/v1/packets/a%2Fb", ""},
	"downloadURL":     {"/api/v1/packets/there", ""},
	"runPacket":       {"/api/v1/runs/" + id1.String() + "/packets/payload", ""},
	// These ask for no credential; the packets' URLs are their own.
	"livez": {}, "readyz": {}, "storePacket": {}, "loadPacket": {},
	"followRun": {}, "followTags": {}, "followBatch": {}, // answered in another form: TestShapeTokens
}

// Every operation there is refuses a token that does not grant it, the engine
// hearing nothing of it, and takes one that does, or none at all.
func TestEveryOperationAsksTheToken(t *testing.T) {
	t.Parallel()
	for _, op := range httpapi.Operations() {
		sample, ok := samples[op.ID]
		if !ok {
			t.Errorf("operation %s has no sample in this test: add one", op.ID)
			continue
		}
		if sample[0] == "" {
			continue
		}
		disk := func(*httpapi.Config) {}
		if strings.Contains(sample[0], "packets") {
			disk = withDisk(t)
		}
		try := func(credential string) (int, *engine) {
			w := newWire(t, disk)
			w.withRun(id1, func(r *run.Run) {
				r.Status = run.Completed
				if op.ID == "runPacket" {
					r.Trigger.Payload, r.Trigger.PayloadType = []byte("there"), "application/store"
				}
			})
			w.engine.batch.ID, w.engine.batch.Items = "batch_1", 1
			r := request(op.Method, sample[0], credential, sample[1])
			if op.ID == "sendBatchItems" {
				r.Header.Set("Content-Type", "application/x-ndjson")
			}
			return w.do(r).Code, w.engine
		}
		if code, _ := try(prodKey); code/100 != 2 {
			t.Errorf("%s: %d for a key", op.ID, code)
		}
		action, kind, _ := strings.Cut(op.Scope, ":")
		for _, scopes := range [][]string{
			nil, {"none:" + kind}, {action + ":sessions"}, {action + ":" + kind + ":another"}, {action + ":" + kind + ":"}, {action}, {"*"},
		} {
			code, engine := try(signed(t, nil, scopes...))
			if code != http.StatusForbidden || len(engine.changes) > 0 || len(engine.triggers) > 0 || len(engine.spent) > 0 {
				t.Errorf("%s: %d for %q, and the engine heard %v", op.ID, code, scopes, engine.changes)
			}
		}
		want := 2
		if op.Scope == "" {
			want = 4 // for keys only: no token is enough
		}
		for _, scopes := range [][]string{{"admin"}, {"*:all"}, {action + ":" + kind}} {
			if code, _ := try(signed(t, nil, scopes...)); code/100 != want {
				t.Errorf("%s: %d for %q", op.ID, code, scopes)
			}
		}
	}
}

// The answer does not tell who may not see a run whether there is one.
func TestForbiddenBeforeNotFound(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.withRun(id1, nil)
	for _, path := range []string{"/api/v3/runs/%s", "/api/v2/runs/%s/cancel", "/api/v1/runs/%s/replay"} {
		for _, id := range []string{id1.String(), id2.String(), "run_none", "%20"} {
			for credential, status := range map[string]int{
				signed(t, nil, "read:runs:other", "write:runs:other", "read:tags:green"): http.StatusForbidden,
				signed(t, nil, "*:runs"): http.StatusNotFound,
			} {
				if id == id1.String() && status == http.StatusNotFound {
					status = http.StatusOK
				}
				method := http.MethodPost
				if strings.HasSuffix(path, "%s") {
					method = http.MethodGet
				}
				rec := w.do(request(method, strings.ReplaceAll(path, "%s", id), credential, ""))
				if status == http.StatusNotFound && method == http.MethodPost {
					continue // the engine of this test finds every run that it is to change
				}
				if rec.Code != status {
					t.Errorf("%s of %q: %d %s, want %d", path, id, rec.Code, rec.Body, status)
				}
			}
		}
	}
	rec := w.do(request(http.MethodGet, "/api/v3/runs/"+id1.String(), signed(t, nil), ""))
	if member(t, rec, "error") != "Unauthorized" || member(t, rec, "code") != "unauthorized" || member(t, rec, "param") != "access_token" || member(t, rec, "type") != "authorization" {
		t.Errorf("%s", rec.Body)
	}
	// A wrong request is wrong before it is forbidden; no path is none.
	w.refused(request(http.MethodPost, triggerPath, signed(t, nil), `{"payload":`), http.StatusBadRequest, "body")
	w.refused(request(http.MethodGet, "/api/v9/nothing", signed(t, nil), ""), http.StatusNotFound, "Not found")
}

// Case 10 and more: a run is read by its id, task, any tag, or batch, and changed
// by its id alone.
func TestWhatARunIsReadBy(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.withRun(id1, func(r *run.Run) { r.Canonical = id2 })
	for scope, read := range map[string]bool{
		"read:runs:" + id1.String(): true, "read:runs:" + id2.String(): true, "read:tasks:send-email": true, "read:tags:user:1": true,
		"read:tags:blue": true, "read:batch:batch_1": true, "read:tags:user": false, "read:batch:batch_2": false,
		"read:tasks:send": false, "write:runs:" + id1.String(): false, "read:runs:" + strings.ToUpper(id1.String()): false,
	} {
		if rec := w.do(request(http.MethodGet, "/api/v3/runs/"+id1.String(), signed(t, nil, scope), "")); (rec.Code == http.StatusOK) != read {
			t.Errorf("%s reads: %d", scope, rec.Code)
		}
		change := w.do(request(http.MethodPost, "/api/v2/runs/"+id1.String()+"/cancel", signed(t, nil, strings.Replace(scope, "read:", "write:", 1)), ""))
		if want := scope == "read:runs:"+id1.String() || strings.HasPrefix(scope, "write:"); (change.Code == http.StatusOK) != want {
			t.Errorf("%s changes: %d", scope, change.Code)
		}
	}
}

// Runs beside the one that was asked for are shown to who may read them.
func TestRelatedRunsOfAToken(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.withRun(id1, func(r *run.Run) { r.Trigger.ParentRun, r.RootRun = id2, id2 })
	w.withRun(id2, func(r *run.Run) { r.Trigger.Tags, r.Trigger.BatchItem = []string{"secret"}, run.BatchItem{} })
	for scope, shown := range map[string]bool{"read:tags:blue": false, "read:runs": true, "read:tasks:send-email": true} {
		rec := w.do(request(http.MethodGet, "/api/v3/runs/"+id1.String(), signed(t, nil, scope), ""))
		if rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), id2.String()) != shown {
			t.Errorf("%s: %d %s", scope, rec.Code, rec.Body)
		}
	}
}

// A list is for who may read all runs in it.
func TestListOfAToken(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.engine.listed = fallback.Page{}
	some := signed(t, nil, "read:tags:a", "read:tags:b:c", "read:tasks:t", "read:batch:batch_1")
	for query, status := range map[string]int{
		"": 403, "?filter[tag]=a": 200, "?filter[tag]=a,b:c": 200, "?filter[tag]=a,d": 403, "?filter[tag]=": 403,
		"?filter[taskIdentifier]=t": 200, "?filter[taskIdentifier]=t,u": 403, "?filter[taskIdentifier]=u&filter[tag]=a": 200,
		"?filter[batch]=batch_1": 200, "?filter[batch]=batch_2": 403, "?filter[status]=QUEUED": 403,
	} {
		if rec := w.do(request(http.MethodGet, "/api/v1/runs"+query, some, "")); rec.Code != status {
			t.Errorf("%q: %d", query, rec.Code)
		}
	}
}

func TestTokensThatAreNoCredential(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.withRun(id1, nil)
	for name, text := range map[string]string{
		"ended":             signed(t, func(c *token.Claims) { c.Expires = now.Add(-time.Second) }, "admin"),
		"of another":        signed(t, func(c *token.Claims) { c.Environment = "env_none" }, "admin"),
		"cut":               signed(t, nil, "admin")[1:],
		"with another body": strings.Replace(signed(t, nil, "admin"), ".", ".e", 1),
	} {
		rec := w.refused(request(http.MethodGet, "/api/v3/runs/"+id1.String(), text, ""), http.StatusUnauthorized, "")
		if member(t, rec, "error") != "Public Access Token is invalid" {
			t.Errorf("%s: %s", name, rec.Body)
		}
	}
	// The run is of another environment: there is none, for the one as for the other.
	dev := signed(t, func(c *token.Claims) { c.Environment = "env_dev" }, "admin")
	w.refused(request(http.MethodGet, "/api/v3/runs/"+id1.String(), dev, ""), http.StatusNotFound, "Run not found")
	// A token needs no branch.
	preview := signed(t, func(c *token.Claims) { c.Environment = "env_preview" }, "trigger:tasks:send-email")
	if got := w.trigger(preview, `{}`); got.Environment != "env_preview" || got.OneTimeToken {
		t.Errorf("%+v", got)
	}
}

// A one-time token triggers once. The same call again has it still; another call,
// another task, and a call that names nothing have not.
func TestOneTimeToken(t *testing.T) {
	t.Parallel()
	once := func(c *token.Claims) { c.OneTime = true }
	with := func(name, value, credential, path string) *http.Request {
		r := request(http.MethodPost, path, credential, `{}`)
		if name != "" {
			r.Header.Set(name, value)
		}
		return r
	}
	for _, name := range []string{"X-Trigger-Request-Idempotency-Key", "Idempotency-Key"} {
		w := newWire(t)
		text := signed(t, once, "trigger:tasks")
		for range 2 {
			if got := w.triggered(with(name, "call-1", text, triggerPath)); !got.OneTimeToken {
				t.Error("the gate is not told")
			}
		}
		for _, r := range []*http.Request{
			with(name, "call-2", text, triggerPath), with("", "", text, triggerPath), with(name, "call-1", text, "/api/v1/tasks/other/trigger"),
		} {
			rec := w.refused(r, http.StatusUnprocessableEntity, "This one-time token has been used already")
			if member(t, rec, "type") != "urn:mollifier:problem:token-used" {
				t.Errorf("%s", rec.Body)
			}
		}
	}
	w := newWire(t)
	text := signed(t, once, "trigger:tasks")
	w.triggered(with("", "", text, triggerPath))
	w.refused(with("", "", text, triggerPath), http.StatusUnprocessableEntity, "")
	// Refused requests spend nothing, and neither do tokens for many uses.
	fresh := signed(t, once, "trigger:tasks:send-email")
	w.refused(request(http.MethodPost, triggerPath, fresh, `{"payload":`), http.StatusBadRequest, "")
	w.refused(with("", "", fresh, "/api/v1/tasks/other/trigger"), http.StatusForbidden, "")
	w.triggered(with("", "", fresh, triggerPath))
	many := signed(t, nil, "trigger:tasks")
	for range 3 {
		w.triggered(with("", "", many, triggerPath))
	}
	// With nobody to ask, nothing may be spent.
	w.engine.spendErr = &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres"}
	w.refused(with("", "", signed(t, once, "trigger:tasks:send-email", "x"), triggerPath), http.StatusServiceUnavailable, "A store did not answer")
}

// The items of a batch come with the one-time token that opened it, as often as need
// be, and with no other one; nor do those of another batch.
func TestOneTimeTokenOfABatch(t *testing.T) {
	t.Parallel()
	once := func(c *token.Claims) { c.OneTime = true }
	w := newBatchWire(t, 2)
	opener, unspent := signed(t, once, "batchTrigger:tasks"), signed(t, once, "batchTrigger:tasks:send-email")
	many := signed(t, nil, "batchTrigger:tasks")
	w.refused(stream(itemsPath, opener, item(0)), http.StatusForbidden, "Unauthorized") // not opened yet
	if rec := w.do(request(http.MethodPost, "/api/v3/batches", opener, `{"runCount":2}`)); rec.Code != http.StatusAccepted {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	for range 2 {
		if rec := w.do(stream(itemsPath, opener, item(0))); rec.Code != http.StatusOK {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
	if rec := w.do(stream(itemsPath, many, item(1))); rec.Code != http.StatusOK {
		t.Errorf("a token for many uses: %d %s", rec.Code, rec.Body)
	}
	w.refused(stream(itemsPath, unspent, item(1)), http.StatusForbidden, "Unauthorized")
	w.refused(stream("/api/v3/batches/batch_2/items", opener, item(0)), http.StatusForbidden, "Unauthorized")
	w.engine.readErr = &run.RefusedError{Reason: run.ErrUnavailable}
	w.refused(stream(itemsPath, opener, item(1)), http.StatusServiceUnavailable, "")
}

func TestTokenClaims(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	rec := w.do(request(http.MethodPost, "/api/v1/auth/jwt/claims", prodKey, ""))
	if rec.Code != http.StatusOK || rec.Body.String() != `{"sub":"env_prod","pub":true}` {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestMakeToken(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	const path = "/api/v1/auth/public-tokens"
	made := func(body string) token.Claims {
		t.Helper()
		rec := w.do(request(http.MethodPost, path, prodKey, body))
		c, err := token.Verify(member(t, rec, "token"), [][]byte{[]byte(prodKey)}, now)
		if err != nil {
			t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
		}
		return c
	}
	c := made(`{"scopes":["trigger:tasks:send-email"],"oneTimeUse":true,"realtime":{"skipColumns":["payload"]}}`)
	if c.Environment != "env_prod" || !slices.Equal(c.Scopes, []string{"trigger:tasks:send-email"}) || !c.OneTime ||
		!slices.Equal(c.SkipColumns, []string{"payload"}) || !c.Expires.Equal(now.Add(15*time.Minute).Truncate(time.Second)) {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]time.Duration{
		`"1h"`: time.Hour, `"2h30m"`: 150 * time.Minute, `"2 hours"`: 2 * time.Hour, `"1.5 days"`: 36 * time.Hour, `"30 secs from now"`: 30 * time.Second,
		`1772604367`: 3600 * time.Second,
	} {
		if c := made(`{"scopes":["read:runs"],"expirationTime":` + text + `}`); c.Expires.Sub(now.Truncate(time.Second)) != want {
			t.Errorf("%s: ends at %v", text, c.Expires)
		}
	}
	for body, text := range map[string]string{
		`{}`: "scopes: ", `{"scopes":[]}`: "scopes: ", `{"scopes":[""]}`: "scopes: ", `{"scopes":"admin"}`: "scopes: ",
		`{"scopes":["` + strings.Repeat("x", 513) + `"]}`: "scopes: ",
		`{"scopes":["a"],"expirationTime":"soon"}`:        "expirationTime: ", `{"scopes":["a"],"expirationTime":"0s"}`: "expirationTime: ",
		`{"scopes":["a"],"expirationTime":1}`: "expirationTime: ", `{"scopes":["a"],"expirationTime":1e300}`: "expirationTime: ",
		`{"scopes":["a"],"expirationTime":"367d"}`: "expirationTime: ", `{"scopes":["a"],"expirationTime":"1h ago"}`: "expirationTime: ",
		`{"scopes":["a"],"oneTimeUse":"yes"}`: "oneTimeUse: ",
	} {
		w.refused(request(http.MethodPost, path, prodKey, body), http.StatusBadRequest, text)
	}
	many := `{"scopes":["` + strings.Repeat(strings.Repeat("x", 500)+`","`, 40) + `"x"]}`
	w.refused(request(http.MethodPost, path, prodKey, strings.Replace(many, `""x"`, `"x"`, 1)), http.StatusUnprocessableEntity, "scopes: ")
}
