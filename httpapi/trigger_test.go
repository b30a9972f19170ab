package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/run"
)

func base(env string) run.Trigger {
	return run.Trigger{Organisation: "org_1", Environment: env, Task: "send-email"}
}

// Each request is of a form that the SDK was seen to send; the trigger is what
// has to reach the engine.
func TestTriggerForms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want func(*run.Trigger)
	}{
		"object": {
			`{"payload":"{\"json\":{\"to\":\"x@y.z\"}}","options":{"payloadType":"application/super+json","payloadSize":23}}`,
			func(t *run.Trigger) {
				t.Payload, t.PayloadType, t.PayloadSize = []byte(`{"json":{"to":"x@y.z"}}`), "application/super+json", 23
			},
		},
		"text": {
			`{"payload":"just text \u00e9 \ud83d\ude00","options":{"payloadType":"text/plain","payloadSize":12}}`,
			func(t *run.Trigger) {
				t.Payload, t.PayloadType, t.PayloadSize = []byte("just text é 😀"), "text/plain", 12
			},
		},
		"nothing": {
			`{"options":{"payloadType":"application/json","payloadSize":0}}`,
			func(t *run.Trigger) { t.PayloadType = "application/json" },
		},
		"rich": {
			`{"payload":"{\"json\":{\"at\":\"2031-01-02T03:04:05.000Z\",\"n\":\"98765432109876543210\"},\"meta\":{\"values\":{\"at\":[\"Date\"],\"n\":[\"bigint\"]}}}","options":{"payloadType":"application/super+json"}}`,
			func(t *run.Trigger) {
				t.Payload = []byte(`{"json":{"at":"2031-01-02T03:04:05.000Z","n":"98765432109876543210"},"meta":{"values":{"at":["Date"],"n":["bigint"]}}}`)
				t.PayloadType = "application/super+json"
			},
		},
		"offloaded": {
			`{"payload":"trigger/packet_abc/payload.json","options":{"payloadType":"application/store","payloadSize":204820}}`,
			func(t *run.Trigger) {
				t.Payload, t.PayloadType, t.PayloadSize = []byte("trigger/packet_abc/payload.json"), "application/store", 204820
			},
		},
		"plain JSON, byte for byte": {
			`{ "payload" : {"n": 12345678901234567890, "x":1e400,  "e":[],"o":{} ,"s":"\u00e9"} }`,
			func(t *run.Trigger) {
				t.Payload = []byte(`{"n": 12345678901234567890, "x":1e400,  "e":[],"o":{} ,"s":"\u00e9"}`)
			},
		},
		"plain JSON string keeps its quotes": {`{"payload":"7"}`, func(t *run.Trigger) { t.Payload = []byte(`"7"`) }},
		"plain JSON number":                  {`{"payload":7}`, func(t *run.Trigger) { t.Payload = []byte(`7`) }},
		"plain JSON null is a payload":       {`{"payload":null}`, func(t *run.Trigger) { t.Payload = []byte(`null`) }},
		"empty text is a payload": {
			`{"payload":"","options":{"payloadType":"text/plain"}}`,
			func(t *run.Trigger) { t.Payload, t.PayloadType = []byte{}, "text/plain" },
		},
		"NUL inside a payload": {
			`{"payload":"a\u0000b","options":{"payloadType":"text/plain"}}`,
			func(t *run.Trigger) { t.Payload, t.PayloadType = []byte("a\x00b"), "text/plain" },
		},
		"key": {
			`{"options":{"idempotencyKey":"0c9e","idempotencyKeyOptions":{"key":"order-7","scope":"run"}}}`,
			func(t *run.Trigger) {
				t.IdempotencyKey, t.KeyOptions = "0c9e", run.KeyOptions{Key: "order-7", Scope: "run"}
			},
		},
		"key with marks": {
			`{"options":{"idempotencyKey":"a:b{c}\n😀"}}`,
			func(t *run.Trigger) { t.IdempotencyKey = "a:b{c}\n😀" },
		},
		"longest key": {
			`{"options":{"idempotencyKey":"` + strings.Repeat("😀", 1024) + `"}}`,
			func(t *run.Trigger) { t.IdempotencyKey = strings.Repeat("😀", 1024) },
		},
		"every option": {
			`{"payload":"{\"json\":1}","context":{"a": 1},"options":{"queue":{"name":"em ails!/x-1_"},"concurrency":["limit-a"],
			 "concurrencyKey":"user-1","gates":[{"queue":"g1","concurrencyKey":"k"},{"queue":"g2"}],"payloadType":"application/super+json",
			 "idempotencyKey":"k","idempotencyKeyTTL":"1h30m","delay":"10m","ttl":"2h","tags":["user:1","  ","org:2"],"maxAttempts":3,
			 "metadata":{"plan": "pro"},"metadataType":"application/json","maxDuration":60.5,"machine":"small-2x","priority":-1.5,
			 "region":"us-east-1","lockToVersion":"20240101.1","externalDeploymentId":"  sha-1 ","test":true,
			 "parentRunId":"run_parent","resumeParentOnCompletion":true,"parentBatch":"batch_1","bulkActionId":"bulk_1",
			 "dependentAttempt":"a1","parentAttempt":"a2","dependentBatch":"batch_2",
			 "debounce":{"key":"d1","delay":"30s","mode":"trailing","maxDelay":"5m"},"unknown":[{}]},"also":"unknown"}`,
			func(t *run.Trigger) {
				*t = run.Trigger{
					Organisation: t.Organisation, Environment: t.Environment, Task: t.Task,
					Payload: []byte(`{"json":1}`), PayloadType: "application/super+json", Context: []byte(`{"a": 1}`),
					IdempotencyKey: "k", KeyTTL: 90 * time.Minute, DelayUntil: now.Add(10 * time.Minute), TTL: 2 * time.Hour, TTLText: "2h",
					Tags: []string{"user:1", "org:2"}, Queue: "emails/x-1_", ConcurrencyKey: "user-1", Concurrency: []string{"limit-a"},
					Gates:   []run.Gate{{Queue: "g1", ConcurrencyKey: "k"}, {Queue: "g2"}},
					Machine: "small-2x", MaxAttempts: 3, MaxDuration: 60500 * time.Millisecond, Priority: -1500 * time.Millisecond,
					Metadata: []byte(`{"plan": "pro"}`), MetadataType: "application/json", Region: "us-east-1",
					LockToVersion: "20240101.1", DeploymentID: "sha-1", Test: true, ParentRun: mustID("run_parent"), ResumeParent: true,
					ParentBatch: "batch_1", BulkAction: "bulk_1", DependentTry: "a1", ParentAttempt: "a2", DependentBatch: "batch_2",
					Debounce: &run.Debounce{Key: "d1", Delay: 30 * time.Second, Trailing: true, MaxDelay: 5 * time.Minute},
				}
			},
		},
		"other forms": {
			`{"options":{"delay":"2030-01-01T00:00:00.000Z","ttl":3600,"tags":"one","concurrencyKey":12.50,"maxDuration":1,
			  "externalDeploymentId":null,"priority":10,"metadata":"","queue":{"name":"!!"}}}`,
			func(t *run.Trigger) {
				t.DelayUntil, t.TTL, t.Tags = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), time.Hour, []string{"one"}
				t.ConcurrencyKey, t.MaxDuration, t.Priority, t.Metadata = "12.5", 5*time.Second, 10*time.Second, []byte(`""`)
			},
		},
		"past delay runs at once": {`{"options":{"delay":"2001-02-03"}}`, func(*run.Trigger) {}},
		"ttl 0 is none":           {`{"options":{"ttl":0}}`, func(*run.Trigger) {}},
		"blank deployment":        {`{"options":{"externalDeploymentId":"  "}}`, func(*run.Trigger) {}},
		"empty":                   {`{}`, func(*run.Trigger) {}},
		"queue is cut": {
			`{"options":{"queue":{"name":"` + strings.Repeat("q", 200) + `"}}}`,
			func(t *run.Trigger) { t.Queue = strings.Repeat("q", 128) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := base("env_prod")
			c.want(&want)
			got := newWire(t).trigger(prodKey, c.body)
			if len(got.Tags) == 0 {
				got.Tags = nil
			}
			if diff := cmp.Diff(want, got, cmpIDs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDevelopmentTTL(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]time.Duration{
		`{}`:                        10 * time.Minute,
		`{"options":{"ttl":0}}`:     0,
		`{"options":{"ttl":"0s"}}`:  0,
		`{"options":{"ttl":"1hr"}}`: time.Hour,
	} {
		if got := newWire(t).trigger(devKey, body).TTL; got != want {
			t.Errorf("%s: ttl %v, want %v", body, got, want)
		}
	}
}

func TestTaskIDIsOneEscapedSegment(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"folder%2Fmy%20task": "folder/my task",
		"a%3Ab%7B%7D":        "a:b{}",
		"%F0%9F%98%80":       "😀",
		"plain:x":            "plain:x",
		"%2e%2e":             "..",
		"a%2F%2Fb":           "a//b",
		"trigger":            "trigger",
		"%25":                "%",
		"%2F":                "/",
		"%2f":                "/",
	} {
		got := newWire(t).triggered(request(http.MethodPost, "/api/v1/tasks/"+path+"/trigger", prodKey, `{}`))
		if got.Task != want {
			t.Errorf("%s: task %q, want %q", path, got.Task, want)
		}
	}
	for _, path := range []string{"/api/v1/tasks/a/b/trigger", "/api/v1/tasks//trigger", "/api/v1/tasks/../trigger", "/api/v1/tasks/x/trigger/", "//api/v1/tasks/x/trigger"} {
		w := newWire(t)
		w.refused(request(http.MethodPost, path, prodKey, `{}`), http.StatusNotFound, "Not found")
	}
}

func TestHeadersOfATrigger(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	r := request(http.MethodPost, triggerPath, prodKey, `{"options":{"idempotencyKey":"body","idempotencyKeyTTL":"2h","idempotencyKeyOptions":{"key":"user","scope":"run"}}}`)
	r.Header.Set("Idempotency-Key", "header:{é}")
	r.Header.Set("Idempotency-Key-TTL", "1d")
	r.Header.Set("X-Trigger-Request-Idempotency-Key", "5d2f9d4e-0000-4000-8000-0123456789ab")
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	r.Header.Set("Tracestate", "vendor=1")
	got := w.triggered(r)
	want := base("env_prod")
	want.IdempotencyKey, want.KeyTTL, want.RequestKey = "header:{é}", 24*time.Hour, "5d2f9d4e-0000-4000-8000-0123456789ab"
	want.TraceParent, want.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"
	if diff := cmp.Diff(want, got, cmpIDs); diff != "" {
		t.Error(diff)
	}

	r = request(http.MethodPost, triggerPath, prodKey, `{}`)
	r.Header.Set("Traceparent", "nonsense")
	r.Header.Set("Tracestate", "vendor=1")
	if got := w.triggered(r); got.TraceParent != "" || got.TraceState != "" {
		t.Errorf("trace %q %q", got.TraceParent, got.TraceState)
	}
	for name, value := range map[string]string{
		"Idempotency-Key":                   strings.Repeat("k", 2049),
		"Idempotency-Key-TTL":               "soon",
		"X-Trigger-Request-Idempotency-Key": strings.Repeat("k", 257),
	} {
		r = request(http.MethodPost, triggerPath, prodKey, `not even JSON`)
		r.Header.Set(name, value)
		rec := w.refused(r, http.StatusBadRequest, "")
		// Not of the body, which is looked at later, nor of a field that only the body has.
		if got, want := member(t, rec, "field"), strings.ToLower(name); got != want {
			t.Errorf("%s: the error names %q", name, got)
		}
	}
	r = request(http.MethodPost, triggerPath, prodKey, `{}`)
	r.Header["Idempotency-Key"] = []string{"a", "b"}
	w.refused(r, http.StatusBadRequest, "idempotency-key: must not be sent twice")
}

func TestRefusedBodies(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		status int
		field  string
		body   string
	}{
		{400, "body", ``},
		{400, "body", `null`},
		{400, "body", `0`},
		{400, "body", `false`},
		{400, "body", `""`},
		{400, "body", `[]`},
		{400, "body", `{"payload":1`},
		{400, "body", `{} {}`},
		{400, "body", `{"payload":1,"payload":2}`},
		{400, "body", `{"payload":{"a":1,"a":2}}`},
		{400, "body", `{"unknown":{"a":1,"\u0061":2}}`},
		{400, "body", `{"options":{"ttl":1,"ttl":2}}`},
		{400, "body", `{"options":{"idempotencyKey":"\ud800"}}`},
		{400, "body", `{"payload":"\udc00\ud800"}`},
		{400, "body", "{\"options\":{\"idempotencyKey\":\"\xff\"}}"},
		{400, "options", `{"options":null}`},
		{400, "options", `{"options":[]}`},
		{400, "options.payloadType", `{"options":{"payloadType":1}}`},
		{400, "options.payloadSize", `{"options":{"payloadSize":-1}}`},
		{400, "options.payloadSize", `{"options":{"payloadSize":1.5}}`},
		{400, "payload", `{"payload":{},"options":{"payloadType":"application/super+json"}}`},
		{400, "payload", `{"payload":"","options":{"payloadType":"application/store"}}`},
		{400, "options.idempotencyKey", `{"options":{"idempotencyKey":null}}`},
		{400, "options.idempotencyKey", `{"options":{"idempotencyKey":"a\u0000b"}}`},
		{400, "options.idempotencyKey", `{"options":{"idempotencyKey":"` + long(2049) + `"}}`},
		{400, "options.idempotencyKey", `{"options":{"idempotencyKey":"` + strings.Repeat("😀", 1024) + `x"}}`},
		{400, "options.idempotencyKeyTTL", `{"options":{"idempotencyKeyTTL":"0s"}}`},
		{400, "options.idempotencyKeyTTL", `{"options":{"idempotencyKeyTTL":"366d"}}`},
		{400, "options.idempotencyKeyTTL", `{"options":{"idempotencyKeyTTL":"99999999999999999999d"}}`},
		{400, "options.idempotencyKeyTTL", `{"options":{"idempotencyKeyTTL":"soon"}}`},
		{400, "options.idempotencyKeyTTL", `{"options":{"idempotencyKeyTTL":3600}}`},
		{400, "options.idempotencyKeyOptions", `{"options":{"idempotencyKeyOptions":{"key":"a"}}}`},
		{400, "options.idempotencyKeyOptions.scope", `{"options":{"idempotencyKeyOptions":{"key":"a","scope":"all"}}}`},
		{400, "options.idempotencyKeyOptions", `{"options":{"idempotencyKeyOptions":["a"]}}`},
		{400, "options.delay", `{"options":{"delay":"tomorrow"}}`},
		{400, "options.delay", `{"options":{"delay":""}}`},
		{400, "options.delay", `{"options":{"delay":5}}`},
		{400, "options.ttl", `{"options":{"ttl":"never"}}`},
		{400, "options.ttl", `{"options":{"ttl":""}}`},
		{400, "options.ttl", `{"options":{"ttl":-1}}`},
		{400, "options.ttl", `{"options":{"ttl":1.5}}`},
		{400, "options.ttl", `{"options":{"ttl":1e300}}`},
		{400, "options.ttl", `{"options":{"ttl":true}}`},
		{400, "options.tags", `{"options":{"tags":["` + long(129) + `"]}}`},
		{400, "options.tags", `{"options":{"tags":[1]}}`},
		{400, "options.tags", `{"options":{"tags":{}}}`},
		{422, "options.tags", `{"options":{"tags":["1","2","3","4","5","6","7","8","9","10","11"]}}`},
		{413, "options.metadata", `{"options":{"metadata":"` + long(262_144) + `"}}`},
		{400, "options.queue", `{"options":{"queue":"emails"}}`},
		{400, "options.queue.name", `{"options":{"queue":{}}}`},
		{400, "options.concurrencyKey", `{"options":{"concurrencyKey":{}}}`},
		{400, "options.concurrency", `{"options":{"concurrency":["a","b","c"]}}`},
		{400, "options.concurrency", `{"options":{"concurrency":["a b"]}}`},
		{400, "options.concurrency", `{"options":{"concurrency":"a"}}`},
		{400, "options.gates", `{"options":{"gates":[{"queue":"1"},{"queue":"2"},{"queue":"3"},{"queue":"4"}]}}`},
		{400, "options.gates.queue", `{"options":{"gates":[{}]}}`},
		{400, "options.machine", `{"options":{"machine":"huge"}}`},
		{400, "options.machine", `{"options":{"machine":""}}`},
		{400, "options.maxAttempts", `{"options":{"maxAttempts":1.5}}`},
		{400, "options.maxAttempts", `{"options":{"maxAttempts":"3"}}`},
		{400, "options.maxAttempts", `{"options":{"maxAttempts":1e15}}`},
		{400, "options.maxDuration", `{"options":{"maxDuration":1e300}}`},
		{400, "options.priority", `{"options":{"priority":"high"}}`},
		{400, "options.priority", `{"options":{"priority":-1e300}}`},
		{422, "options.debounce.delay", `{"options":{"debounce":{"key":"a","delay":"2030-01-01"}}}`},
		{422, "options.debounce.delay", `{"options":{"debounce":{"key":"a"}}}`},
		{422, "options.debounce.maxDelay", `{"options":{"debounce":{"key":"a","delay":"5m","maxDelay":"1m"}}}`},
		{422, "options.debounce.key", `{"options":{"debounce":{"delay":"5m"}}}`},
		{400, "options.debounce.mode", `{"options":{"debounce":{"key":"a","delay":"5m","mode":"late"}}}`},
		{400, "options.externalDeploymentId", `{"options":{"externalDeploymentId":"` + long(129) + `"}}`},
		{400, "options.externalDeploymentId", `{"options":{"externalDeploymentId":5}}`},
		{400, "options.test", `{"options":{"test":"yes"}}`},
		{400, "options.parentRunId", `{"options":{"parentRunId":"../x"}}`},
	} {
		w := newWire(t)
		rec := w.refused(request(http.MethodPost, triggerPath, prodKey, c.body), c.status, c.field+": ")
		if got := member(t, rec, "field"); got != c.field {
			t.Errorf("%.80s: field %q, want %q", c.body, got, c.field)
		}
	}
	newWire(t).refused(request(http.MethodPost, "/api/v1/tasks/a%00b/trigger", prodKey, `{}`), 400, "taskId: ")
	newWire(t).refused(request(http.MethodPost, "/api/v1/tasks/%ff/trigger", prodKey, `{}`), 400, "taskId: ")
	newWire(t).refused(request(http.MethodPost, "/api/v1/tasks/"+long(513)+"/trigger", prodKey, `{}`), 400, "taskId: ")
}

func TestTriggerAnswer(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	rec := w.do(request(http.MethodPost, triggerPath, prodKey, `{}`))
	want := fmt.Sprintf(`{"id":"%s","isCached":false,"durability":"postgres","state":"materialised","canonicalId":"%[1]s","identity":"confirmed"}`, id1)
	if rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %s, want %s", rec.Code, rec.Body, want)
	}

	var claims struct {
		Sub    string
		Pub    bool
		Scopes []string
	}
	if err := json.Unmarshal([]byte(rec.Header().Get("x-trigger-jwt-claims")), &claims); err != nil {
		t.Fatal(err)
	}
	scopes := []string{"read:runs:" + id1.String(), "write:inputStreams:" + id1.String()}
	if claims.Sub != "env_prod" || !claims.Pub || !cmp.Equal(claims.Scopes, scopes) {
		t.Errorf("claims %+v", claims)
	}
	token, err := jwt.Parse(rec.Header().Get("x-trigger-jwt"), func(*jwt.Token) (any, error) { return []byte(prodKey), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("https://id.trigger.dev"), jwt.WithAudience("https://api.trigger.dev"),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now.Add(59 * time.Minute) }))
	if err != nil {
		t.Fatal(err)
	}
	got := token.Claims.(jwt.MapClaims)
	if got["sub"] != "env_prod" || got["pub"] != true || got["aud"] != "https://api.trigger.dev" ||
		got["exp"].(float64)-got["iat"].(float64) != 3600 || !cmp.Equal(got["scopes"], []any{scopes[0], scopes[1]}) {
		t.Errorf("token claims %v", got)
	}

	w = newWire(t)
	w.engine.result = run.NewResult(run.Answer{
		ID: id1, Canonical: id2, Cached: true, Identity: run.Provisional, Durability: run.DurableRedis, State: run.Buffered,
	})
	rec = w.do(request(http.MethodPost, triggerPath, prodKey, `{}`))
	want = fmt.Sprintf(`{"id":"%s","isCached":true,"durability":"redis","state":"buffered","canonicalId":"%s","identity":"provisional","payloadMatch":false}`, id1, id2)
	if rec.Body.String() != want {
		t.Errorf("%s, want %s", rec.Body, want)
	}

	// The run was made: a token that can not be signed costs only the token.
	r := request(http.MethodPost, triggerPath, previewKey, `{}`)
	r.Header.Set("X-Trigger-Branch", "feat/x")
	rec = newWire(t).do(r)
	if rec.Code != 200 || rec.Header().Get("x-trigger-jwt") != "" || rec.Header().Get("x-trigger-jwt-claims") == "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}
