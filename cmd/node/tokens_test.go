package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/token"
)

// call sends a request and returns its status and its body.
func call(t *testing.T, c *http.Client, method, url, credential, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func sign(t *testing.T, environment, key string, once bool, scopes ...string) string {
	t.Helper()
	c := token.Claims{Environment: environment, Scopes: scopes, OneTime: once, Expires: time.Now().Add(15 * time.Minute)}
	text, err := c.Sign([]byte(key), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Tokens of both kinds of keys, on two nodes; a one-time token under concurrent
// use; a run in the buffer, which is read like any other.
func TestPublicTokens(t *testing.T) {
	t.Parallel()
	stores, postgres := sharedStores(t)
	data := folder(t)
	here := func(document any, args ...string) {
		t.Helper()
		code, stdout, stderr := runHere(t, append(args[:2:2], append([]string{"-data", data, "-postgres", postgres, "-json"}, args[2:]...)...)...)
		if code != 0 {
			t.Fatalf("%v: status %d, %s", args, code, stderr)
		}
		if err := json.Unmarshal([]byte(stdout), document); err != nil {
			t.Fatal(err)
		}
	}
	var env struct{ ID, Key string }
	here(&env, "env", "add", "-organisation", "acme", "-name", "live", "-type", "prod")
	second := folder(t)
	startNode(t, data, append(stores, "-drain=false")...)
	startNode(t, second, append(stores, "-drain=false", "-secret-key-file", data+"/secret.key")...)
	one, two, c := info(t, data), info(t, second), client(t)

	var additional struct{ Key string }
	here(&additional, "env", "add-key", "-name", "ci", env.ID)
	status, body := call(t, c, http.MethodPost, one.HTTP+"/api/v1/auth/public-tokens", additional.Key, `{"scopes":["trigger:tasks:hello"],"oneTimeUse":true}`)
	var made struct{ Token string }
	if err := json.Unmarshal([]byte(body), &made); status != http.StatusOK || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	for name, once := range map[string]string{"of the node": made.Token, "of a client": sign(t, env.ID, env.Key, true, "trigger:tasks:hello")} {
		var mu sync.Mutex
		var all sync.WaitGroup
		seen := map[int]int{}
		for i := range 20 {
			url := one.HTTP
			if i%2 == 0 {
				url = two.HTTP
			}
			all.Go(func() {
				a, err := trigger(t.Context(), c, url, once, "")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				seen[a.status]++
			})
		}
		all.Wait()
		if seen[http.StatusOK] != 1 || seen[http.StatusUnprocessableEntity] != 19 {
			t.Errorf("a token %s, 20 times: %v", name, seen)
		}
	}

	// The gate passes what a one-time token triggers, and mollifies what another does.
	force := func(on devstack.Info) {
		if status, body := call(t, c, http.MethodPost, on.Admin+"/admin/v1/environments/"+env.ID+"/gate", on.AdminToken, `{"force":"mollify"}`); status/100 != 2 {
			t.Fatalf("%d %s", status, body)
		}
	}
	force(one)
	trigger := one.HTTP + "/api/v1/tasks/hello/trigger"
	if status, body := call(t, c, http.MethodPost, trigger, sign(t, env.ID, env.Key, true, "trigger:tasks:hello", "x"), `{}`); status != http.StatusOK || !strings.Contains(body, "materialised") {
		t.Errorf("through the gate: %d %s", status, body)
	}
	status, body = call(t, c, http.MethodPost, trigger, sign(t, env.ID, env.Key, false, "trigger:tasks:hello"), `{"payload":1,"options":{"tags":["user:1"]}}`)
	var run struct{ ID, State string }
	if err := json.Unmarshal([]byte(body), &run); status != http.StatusOK || err != nil || run.State != "buffered" {
		t.Fatalf("mollified: %d %s", status, body)
	}
	for scope, want := range map[string]int{
		"read:runs:" + run.ID: 200, "read:tags:user:1": 200, "read:tasks:hello": 200, "read:all": 200, "admin": 200,
		"read:tags:user": 403, "read:batch:x": 403, "write:runs": 403,
	} {
		if status, body := call(t, c, http.MethodGet, two.HTTP+"/api/v3/runs/"+run.ID, sign(t, env.ID, env.Key, false, scope), ""); status != want {
			t.Errorf("%s reads a buffered run: %d %s", scope, status, body)
		}
	}
	if status, body := call(t, c, http.MethodGet, two.HTTP+"/api/v1/runs?filter[tag]=user:1", sign(t, env.ID, env.Key, false, "read:tags:user:1"), ""); status != 200 || !strings.Contains(body, run.ID) {
		t.Errorf("listed: %d %s", status, body)
	}

	// A leaked key ends at once, with its tokens, on all nodes.
	old := sign(t, env.ID, env.Key, false, "admin")
	var rotated struct{ Key string }
	here(&rotated, "env", "rotate", "-now", env.ID)
	here(&struct{}{}, "env", "revoke-key", "-name", "ci", env.ID)
	for _, gone := range []string{old, env.Key, additional.Key} {
		for _, url := range []string{one.HTTP, two.HTTP} {
			eventually(t, func() bool {
				status, _ := call(t, c, http.MethodGet, url+"/api/v1/runs", gone, "")
				return status == http.StatusUnauthorized
			})
		}
	}
	if status, body := call(t, c, http.MethodGet, two.HTTP+"/api/v1/runs", sign(t, env.ID, rotated.Key, false, "read:runs"), ""); status != 200 {
		t.Errorf("the new key's token: %d %s", status, body)
	}
}

// eventually asks until it is so, for as long as a change may take to be heard of.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it never was so")
		}
	}
}
