package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Everything that a caller sends or is given to keep to himself, sent everywhere,
// with a node that logs and traces all it can: none of it is in the log, in a span, in
// a metric, or in what operators see.
func TestNothingOfACallerIsLogged(t *testing.T) {
	t.Parallel()
	stores, postgres := sharedStores(t)
	data := folder(t)
	code, stdout, stderr := runHere(t, "env", "add", "-data", data, "-postgres", postgres, "-json", "-organisation", "acme", "-name", "live", "-type", "prod")
	var env struct{ ID, Key string }
	if err := json.Unmarshal([]byte(stdout), &env); code != 0 || err != nil {
		t.Fatalf("%d %s", code, stderr)
	}
	spans, collector := collector(t)
	node := startNode(t, data, append(stores, "-log-level", "debug", "-cors-origins", "*", "-rate-limit", "1000",
		"-otlp", collector, "-otlp-sample", "1")...)
	i, c := info(t, data), client(t)

	const canary = "CANARYcanary"
	once := sign(t, env.ID, env.Key, true, "trigger:tasks:hello", canary)
	reader := sign(t, env.ID, env.Key, false, "read:tags:"+canary)
	status, body := call(t, c, http.MethodPost, i.HTTP+"/api/v1/tasks/hello/trigger", env.Key,
		`{"payload":{"secret":"`+canary+`"},"options":{"idempotencyKey":"`+canary+`","tags":["`+canary+`"],"metadata":{"secret":"`+canary+`"},"delay":"1h"}}`)
	var run struct{ ID string }
	if err := json.Unmarshal([]byte(body), &run); status != http.StatusOK || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	status, body = call(t, c, http.MethodPut, i.HTTP+"/api/v2/packets/"+url.PathEscape("trigger/"+canary), env.Key, "")
	var made struct{ PresignedURL string }
	if err := json.Unmarshal([]byte(body), &made); status != http.StatusOK || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	status, body = call(t, c, http.MethodPost, i.HTTP+"/api/v3/batches", env.Key, `{"runCount":2,"idempotencyKey":"`+canary+`"}`)
	var batch struct{ ID string }
	if err := json.Unmarshal([]byte(body), &batch); status != http.StatusAccepted || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	signature := made.PresignedURL[strings.Index(made.PresignedURL, "signature=")+len("signature="):]
	credentials := []string{env.Key, once, reader, canary, "a." + canary + ".c", ""}
	paths := []string{
		"/api/v1/tasks/hello/trigger", "/api/v1/tasks/" + canary + "/trigger", "/api/v3/runs/" + run.ID, "/api/v3/runs/" + canary, "/api/v1/runs?filter[tag]=" + canary,
		"/api/v1/runs?filter[status]=" + canary, "/api/v1/runs/" + run.ID + "/tags", "/api/v1/runs/" + run.ID + "/metadata", "/api/v1/runs/" + run.ID + "/reschedule",
		"/api/v1/runs/" + run.ID + "/replay", "/api/v1/idempotencyKeys/" + canary + "/reset", "/api/v1/auth/jwt/claims", "/api/v1/auth/public-tokens",
		"/api/v3/batches", "/api/v3/batches/" + batch.ID + "/items", "/api/v3/batches/" + canary + "/items", "/api/v2/batches/" + batch.ID, "/api/v2/batches/" + canary,
		"/api/v2/tasks/batch", "/api/v1/runs/" + run.ID + "/packets/payload", "/api/v1/runs/" + run.ID + "/result", "/api/v1/projects/" + canary + "/runs?page[after]=" + canary,
		"/realtime/v1/runs/" + run.ID + "?offset=-1", "/realtime/v1/runs/" + canary + "?offset=" + canary, "/realtime/v1/runs?offset=-1&tags=" + canary + "&handle=" + canary,
		"/realtime/v1/batches/" + batch.ID + "?offset=-1&skipColumns=" + canary, "/realtime/v1/batches/" + canary + "?offset=-1", "/realtime/v1/streams/" + canary,
		"/api/v2/packets/" + canary, "/api/v1/packets/" + canary, "/api/v9/" + canary, strings.TrimPrefix(made.PresignedURL, i.HTTP), "/packets/" + env.ID + "/x?signature=" + canary,
	}
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
			for _, credential := range credentials {
				kind := "application/json"
				if strings.HasSuffix(path, "/items") {
					kind = "application/x-ndjson"
				}
				for _, body := range []string{`{"index":0,"task":"` + canary + `","runCount":1,"items":[{"task":"` + canary + `","payload":"` + canary + `"}],"payload":"` + canary + `","tags":["` + canary + `"],"delay":"` + canary + `","scopes":["` + canary + `"],"taskIdentifier":"` + canary + `"}`, `{"` + canary} {
					_, answer := call(t, c, method, i.HTTP+path, credential, body, "Content-Type", kind, "Idempotency-Key", canary, "X-Trigger-Request-Idempotency-Key", canary, "Origin", "https://"+canary+".example")
					for _, secret := range []string{env.Key, once, reader} {
						if strings.Contains(answer, secret) {
							t.Fatalf("%s %s answers a credential: %s", method, path, answer)
						}
					}
				}
			}
		}
	}
	if status, answer := call(t, c, http.MethodPost, i.Admin+"/admin/v1/environments/"+env.ID+"/gate?reason=test", i.AdminToken, `{"force":"mollify"}`); status/100 != 2 {
		t.Fatalf("%d %s", status, answer)
	}
	status, body = call(t, c, http.MethodPost, i.HTTP+"/api/v1/tasks/hello/trigger", env.Key,
		`{"payload":{"secret":"`+canary+`"},"options":{"idempotencyKey":"`+canary+`2","tags":["`+canary+`"],"metadata":{"secret":"`+canary+`"}}}`)
	var buffered struct{ ID string }
	if err := json.Unmarshal([]byte(body), &buffered); status != http.StatusOK || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	_, metrics := call(t, c, http.MethodGet, i.Admin+metricsPath, "", "")
	shown := map[string]string{}
	for _, path := range []string{
		"live", "stats", "overrides", "buffer", "audit", "explain/" + run.ID, "explain/" + buffered.ID,
		"explain?task=hello&environment=" + url.QueryEscape(env.ID) + "&key=" + canary,
	} {
		token := ""
		if path == "audit" { // which alone asks for it
			token = i.AdminToken
		}
		status, answer := call(t, c, http.MethodGet, i.Admin+"/admin/v1/"+path, token, "")
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, answer)
		}
		// An explanation names its key, which is what it is about.
		shown[path] = strings.ReplaceAll(answer, `"key":"`+canary, "")
	}
	node.stop(t)
	for path, answer := range shown {
		for _, secret := range []string{canary, env.Key, once, reader, signature, i.AdminToken} {
			if at := strings.Index(answer, secret); at >= 0 {
				t.Errorf("/admin/v1/%s shows %q: ...%s", path, secret, answer[max(0, at-200):min(len(answer), at+100)])
			}
		}
	}
	if !strings.Contains(metrics, `http_route="/api/v1/tasks/{taskId}/trigger"`) || !strings.Contains(spans(), "mollifier.trigger") {
		t.Errorf("nothing was measured, or nothing was traced:\n%s", metrics)
	}
	for _, secret := range []string{canary, strings.ToLower(canary), env.Key, once, reader, signature} {
		if strings.Contains(metrics, secret) || strings.Contains(spans(), secret) {
			t.Errorf("a metric or a span holds %q", secret)
		}
		if log := node.stderr.String(); strings.Contains(log, secret) {
			i := strings.Index(log, secret)
			t.Errorf("the log holds what a caller sent: ...%s", log[max(0, i-300):min(len(log), i+100)])
		}
	}
}

// A large payload through a node, and back after its restart.
func TestLargePayload(t *testing.T) {
	t.Parallel()
	stores, postgres := sharedStores(t)
	data := folder(t)
	code, stdout, stderr := runHere(t, "env", "add", "-data", data, "-postgres", postgres, "-json", "-organisation", "acme", "-name", "live", "-type", "prod")
	var env struct{ ID, Key string }
	if err := json.Unmarshal([]byte(stdout), &env); code != 0 || err != nil {
		t.Fatalf("%d %s", code, stderr)
	}
	node, c := startNode(t, data, stores...), client(t)
	at := info(t, data).HTTP
	var made struct{ PresignedURL, StoragePath string }
	_, body := call(t, c, http.MethodPut, at+"/api/v2/packets/"+url.PathEscape("trigger/packet_1/payload.json"), env.Key, "")
	if err := json.Unmarshal([]byte(body), &made); err != nil {
		t.Fatal(body)
	}
	payload := `{"json":"` + strings.Repeat("x", 1<<20) + `"}`
	if status, body := call(t, c, http.MethodPut, made.PresignedURL, "", payload); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	status, body := call(t, c, http.MethodPost, at+"/api/v1/tasks/hello/trigger", env.Key, `{"payload":"`+made.StoragePath+`","options":{"payloadType":"application/store"}}`)
	var run struct{ ID, PayloadPresignedURL string }
	if err := json.Unmarshal([]byte(body), &run); status != http.StatusOK || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	node.stop(t)
	startNode(t, data, stores...)
	_, body = call(t, c, http.MethodGet, info(t, data).HTTP+"/api/v3/runs/"+run.ID, env.Key, "")
	if err := json.Unmarshal([]byte(body), &run); err != nil {
		t.Fatal(body)
	}
	if status, body := call(t, c, http.MethodGet, run.PayloadPresignedURL, "", ""); status != http.StatusOK || body != payload {
		t.Errorf("%d, %d bytes", status, len(body))
	}
}
