package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// recordings is a folder of recorded calls to replay instead of our own, which
// are compared by their shape and by the fields that clients act on.
const recordings = "WIRE_RECORDINGS"

// recording is one call of a client: see test/sdk/record.mjs.
type wireRecording struct {
	Exchanges []struct {
		Request struct {
			Method, Path string
			Headers      map[string]string
			Body         json.RawMessage
			Lines        []json.RawMessage `json:"body_ndjson"`
			Repeat       struct {
				Text  string
				Times int
			} `json:"body_repeat"`
		}
		Response struct {
			Status  int
			Headers map[string]string
			Body    json.RawMessage
		}
	}
}

// What the SDK was recorded to send is answered as it was then, wherever the runs
// are kept.
func TestRecordedCallsAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	dir, foreign := os.Getenv(recordings), true
	if dir == "" {
		dir, foreign = "../../test/sdk/recorded", false
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", dir, err)
	}
	for _, force := range []string{"pass", "mollify"} {
		t.Run(force, func(t *testing.T) {
			t.Parallel()
			data, stores := folder(t), flagsOf(sharedStores(t))
			startNode(t, data, stores...)
			i := info(t, data)
			env := i.Environments[map[string]int{"pass": 0, "mollify": 1}[force]]
			r := &replay{t: t, client: client(t), url: i.HTTP, key: env.Key, env: env.ID, foreign: foreign, ids: map[string]string{}, tokens: map[string]string{}}
			status, answer := call(t, r.client, http.MethodPost, i.Admin+"/admin/v1/environments/"+env.ID+"/gate", i.AdminToken, `{"force":"`+force+`"}`)
			if status != http.StatusOK {
				t.Fatalf("the gate: %d %s", status, answer)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var rec wireRecording
				if err := json.Unmarshal(text, &rec); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				r.file = filepath.Base(file)
				if foreign {
					clear(r.ids) // each stands by itself
				}
				r.play(rec)
			}
		})
	}
}

// replay plays recordings in their order in one environment. ids has the ids that
// this node gave in the place of recorded ones.
type replay struct {
	t             *testing.T
	client        *http.Client
	url, key, env string
	foreign       bool
	file, where   string
	ids, tokens   map[string]string
	presigned     string
}

type wireAnswer struct {
	status int
	header http.Header
	body   []byte
}

var wireID = regexp.MustCompile(`\b(run|batch)_[0-9a-z]{16,}\b`)

func (r *replay) errorf(format string, args ...any) {
	r.t.Helper()
	r.t.Errorf("%s: %s: %s", r.file, r.where, fmt.Sprintf(format, args...))
}

func (r *replay) play(rec wireRecording) {
	for _, e := range rec.Exchanges {
		r.where = e.Request.Method + " " + e.Request.Path
		if e.Response.Status >= 500 || strings.Contains(e.Request.Path, "live=true") {
			continue // nothing that can be asked for
		}
		if e.Response.Status < 300 {
			r.seed(e.Request.Path, e.Request.Body)
		}
		var body []byte
		switch {
		case e.Request.Lines != nil:
			body = append(bytes.Join(raw(e.Request.Lines), []byte("\n")), '\n')
		case e.Request.Repeat.Times > 0:
			body = bytes.Repeat([]byte(e.Request.Repeat.Text), e.Request.Repeat.Times)
		case len(e.Request.Body) > 0 && string(e.Request.Body) != "null":
			body = e.Request.Body
		}
		if e.Response.Status == http.StatusRequestEntityTooLarge && len(body) < 1<<17 {
			continue // the recording left out what was too large
		}
		target := r.url + r.ours(e.Request.Path)
		if !strings.HasPrefix(e.Request.Path, "/api/") && !strings.HasPrefix(e.Request.Path, "/realtime/") {
			if target = r.presigned; target == "" {
				r.errorf("no answer had a presigned URL")
				continue
			}
		}
		got := r.send(e.Request.Method, target, r.headers(e.Request.Headers, e.Response.Status), []byte(r.ours(string(body))))
		switch {
		case e.Response.Status == 0 && got.status == http.StatusOK:
			continue // no answer was recorded
		case got.status != e.Response.Status && (got.status/100 != 2 || e.Response.Status/100 != 2):
			r.errorf("status %d instead of %d: %s", got.status, e.Response.Status, got.body)
			continue
		}
		if len(e.Response.Body) > 0 && string(e.Response.Body) != "null" && target != r.presigned {
			r.compareBody(e.Response.Body, got.body)
		}
		r.compareHeaders(e.Response.Headers, got.header)
	}
}

// seed makes the run, the batch or the key that a recording is about, where an
// earlier recording has not.
func (r *replay) seed(path string, body json.RawMessage) {
	if key, ok := strings.CutPrefix(path, "/api/v1/idempotencyKeys/"); ok {
		var reset struct{ TaskIdentifier string }
		_ = json.Unmarshal(body, &reset)
		key, _, _ = strings.Cut(key, "/")
		r.send(http.MethodPost, r.url+"/api/v1/tasks/"+url.PathEscape(reset.TaskIdentifier)+"/trigger", nil, fmt.Appendf(nil, `{"options":{"idempotencyKey":%q}}`, key))
		return
	}
	for _, id := range wireID.FindAllString(path, -1) {
		if r.ids[id] != "" {
			continue
		}
		made := struct{ ID string }{}
		if strings.HasPrefix(id, "batch_") {
			got := r.send(http.MethodPost, r.url+"/api/v3/batches", nil, []byte(`{"runCount":2}`))
			_ = json.Unmarshal(got.body, &made)
		} else {
			got := r.send(http.MethodPost, r.url+"/api/v1/tasks/send-email/trigger", nil, []byte(`{"payload":{"a":1},"options":{"delay":"1h","metadata":{"plan":"pro"}}}`))
			_ = json.Unmarshal(got.body, &made)
		}
		r.ids[id] = made.ID
	}
}

// ours puts this node's ids in the place of recorded ones.
func (r *replay) ours(text string) string {
	return wireID.ReplaceAllStringFunc(text, func(id string) string {
		if our := r.ids[id]; our != "" {
			return our
		}
		return id
	})
}

// headers are those recorded, with this environment's key, or a token signed
// with it.
func (r *replay) headers(recorded map[string]string, status int) http.Header {
	out := http.Header{}
	for name, value := range recorded {
		switch name {
		case "host", "connection", "content-length", "transfer-encoding", "accept-encoding":
		case "authorization":
			token := strings.TrimPrefix(value, "Bearer ")
			switch parts := strings.Split(token, "."); {
			case status == http.StatusUnauthorized:
			case len(parts) == 3:
				value = "Bearer " + r.sign(parts[1])
			default:
				value = "Bearer " + r.key
			}
			out.Set(name, value)
		default:
			out.Set(name, value)
		}
	}
	return out
}

// sign makes the recorded token one of this environment's, the same each time.
func (r *replay) sign(payload string) string {
	if token := r.tokens[r.file+payload]; token != "" {
		return token
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	claims := jwt.MapClaims{}
	if err == nil {
		err = json.Unmarshal([]byte(r.ours(string(text))), &claims)
	}
	claims["sub"], claims["exp"] = r.env, time.Now().Add(time.Hour).Unix()
	token, signErr := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(r.key))
	if err != nil || signErr != nil {
		r.t.Fatalf("%s: the token: %v, %v", r.file, err, signErr)
	}
	r.tokens[r.file+payload] = token
	return token
}

func (r *replay) send(method, target string, header http.Header, body []byte) wireAnswer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if header == nil {
		header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + r.key}}
	}
	req.Header = header
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return wireAnswer{resp.StatusCode, resp.Header, text}
}

// mayLack are the fields of a run that depend on what became of it; mustEqual
// those that clients act on, in every recording; alike those that are the same in
// our own.
var (
	mayLack = []string{
		"output", "error", "payload", "startedAt", "finishedAt", "delayedUntil", "expiredAt", "ttl", "metadata", "idempotencyKey", "batchId",
		"version", "region", "schedule", "attempts", "next", "previous", "parent", "root", "children", "completedAt", "user", "taskKind", "notice",
	}
	mustEqual = []string{"isCached", "runCount", "itemsAccepted", "itemsDeduplicated", "sealed", "pub", "triggerFunction"}
	alike     = []string{
		"taskIdentifier", "status", "tags", "payload", "metadata", "ttl", "depth", "message", "type", "field",
		"isQueued", "isExecuting", "isWaiting", "isCompleted", "isSuccess", "isFailed", "isCancelled", "isTest", "payloadMatch", "batchId",
	}
)

func (r *replay) compareBody(want, got []byte) {
	r.t.Helper()
	var w, g any
	if err := json.Unmarshal(want, &w); err != nil {
		r.t.Fatalf("%s: %v", r.file, err)
	}
	if err := json.Unmarshal(got, &g); err != nil {
		r.errorf("no JSON: %v: %s", err, got)
		return
	}
	r.compare("", "", w, g)
}

// byShape reports whether a place is compared by its shape: all of a recording
// that is not ours, and the runs of a list, for two of one millisecond have no order.
func (r *replay) byShape(path string) bool {
	return r.foreign || strings.HasPrefix(path, ".data[") || strings.HasPrefix(path, ".pagination")
}

func (r *replay) compare(path, name string, want, got any) {
	r.t.Helper()
	if reflect.TypeOf(want) != reflect.TypeOf(got) {
		r.errorf("%s is %v instead of %v", path, got, want)
		return
	}
	if slices.Contains(mustEqual, name) || (!r.byShape(path) && slices.Contains(alike, name)) {
		if text, ok := want.(string); ok {
			want = r.ours(text)
		}
		if !reflect.DeepEqual(want, got) {
			r.errorf("%s is %v instead of %v", path, got, want)
		}
		return
	}
	switch w := want.(type) {
	case map[string]any:
		g := got.(map[string]any)
		for name, value := range w {
			if _, has := g[name]; has {
				r.compare(path+"."+name, name, value, g[name])
			} else if name != "notice" && (!r.byShape(path+"."+name) || !slices.Contains(mayLack, name)) {
				r.errorf("%s.%s is missing", path, name)
			}
		}
	case []any:
		g := got.([]any)
		if !r.foreign && len(g) != len(w) {
			r.errorf("%s has %d elements instead of %d", path, len(g), len(w))
		}
		for i := range min(len(w), len(g)) {
			r.compare(fmt.Sprintf("%s[%d]", path, i), "", w[i], g[i])
		}
	case string:
		r.compareText(path, name, w, got.(string))
	}
}

// compareText learns ids, and takes a recorded id for the one that it was learnt as.
func (r *replay) compareText(path, name, want, got string) {
	r.t.Helper()
	switch {
	case wireID.FindString(want) == want && want != "":
		if known := r.ids[want]; known == "" || r.foreign {
			r.ids[want] = got
		} else if known != got && !r.byShape(path) {
			r.errorf("%s is %s instead of %s", path, got, known)
		}
	case name == "presignedUrl":
		r.presigned = got
	case name == "storagePath":
		r.ids[want] = got
	}
}

func (r *replay) compareHeaders(want map[string]string, got http.Header) {
	r.t.Helper()
	for name, value := range want {
		have := got.Get(name)
		switch name {
		case "content-type":
			if have != value {
				r.errorf("%s is %q instead of %q", name, have, value)
			}
		case "x-trigger-jwt":
			if strings.Count(have, ".") != 2 {
				r.errorf("%s is %q", name, have)
			}
		case "x-trigger-jwt-claims":
			var w, g struct{ Scopes []string }
			if json.Unmarshal([]byte(r.ours(value)), &w) != nil || json.Unmarshal([]byte(have), &g) != nil {
				r.errorf("%s is %q", name, have)
			}
			for _, scope := range w.Scopes {
				if !slices.Contains(g.Scopes, scope) {
					r.errorf("%s lacks %s: %s", name, scope, have)
				}
			}
		}
	}
}

func flagsOf(flags []string, _ string) []string { return flags }

// raw are the lines as they were sent, without the recording's indents.
func raw(lines []json.RawMessage) (out [][]byte) {
	for _, line := range lines {
		var b bytes.Buffer
		_ = json.Compact(&b, line) // the recording was valid
		out = append(out, b.Bytes())
	}
	return out
}
