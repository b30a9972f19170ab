package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/explain"
)

// An operator overrides, pauses, looks, purges and explains from the command line, and
// a second node goes by it; who has no token changes nothing.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data, second := folder(t), folder(t)
	startNode(t, data, append(stores, "-name", "one")...)
	startNode(t, second, append(stores, "-name", "two", "-secret-key-file", filepath.Join(data, "secret.key"))...)
	one, two := info(t, data), info(t, second)
	env := one.Environments[1]
	named := env.Organisation + "/" + env.Name
	ok := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := runHere(t, args...)
		if code != exitOK {
			t.Fatalf("%q: %d %s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	at := []string{"-data", data}
	with := func(command string, rest ...string) []string {
		return append(append(strings.Fields(command), at...), rest...)
	}
	ok(with("drain pause", "-reason", "vacuum", named)...)
	ok(with("gate set", "-force", "mollify", "-for", "1h", "-reason", "a storm", named)...)
	if text := ok(with("gate list")...); !strings.Contains(text, "force mollify") || !strings.Contains(text, "drain paused") || !strings.Contains(text, "a storm") {
		t.Errorf("%s", text)
	}
	c := client(t)
	var id string
	for i, node := range []string{one.HTTP, two.HTTP, one.HTTP} {
		status, body := call(t, c, http.MethodPost, node+"/api/v1/tasks/hello/trigger", env.Key, `{"options":{"idempotencyKey":"k/1"}}`)
		var run struct{ ID, State string }
		if err := json.Unmarshal([]byte(body), &run); err != nil || status != http.StatusOK || i > 0 && run.ID != id {
			t.Fatalf("%d %s %v", status, body, err)
		}
		id = run.ID
	}
	if text := ok(with("explain", id)...); !strings.Contains(text, id+" waits in the buffer, QUEUED; mollified: the gate was overridden for the environment.") || !strings.Contains(text, "the drain is paused") {
		t.Errorf("%s", text)
	}
	var x explain.Explanation
	text := ok(with("explain", "-json", "-environment", named, "-task", "hello", "-key", "k/1")...)
	if err := json.Unmarshal([]byte(text), &x); err != nil || x.Key.Holder != id || x.Node != "one" || len(x.Decisions) != 2 {
		t.Errorf("%v %s", err, text)
	}
	if text := ok(with("buffer list")...); !strings.Contains(text, env.ID+"          1") && !strings.Contains(text, env.ID) {
		t.Errorf("%s", text)
	}
	if code, _, stderr := runHere(t, with("buffer purge", named)...); code != exitUsage || !strings.Contains(stderr, "-yes") {
		t.Errorf("unasked: %d %s", code, stderr)
	}
	if text := ok(with("buffer purge", "-yes", "-json", named)...); !strings.Contains(text, `"cancelled": 1`) {
		t.Errorf("%s", text)
	}
	ok("drain", "resume", "-admin-url", two.Admin, "-admin-tokens", filepath.Join(second, "admin.tokens"), named)
	if text := ok(with("drain wait", env.ID)...); !strings.Contains(text, "DRAINED") {
		t.Errorf("%s", text)
	}
	if text := ok(with("explain", id)...); !strings.Contains(text, "is in Postgres, CANCELED") {
		t.Errorf("%s", text)
	}
	ok(with("gate clear", named)...)
	text = ok(with("audit", "-environment", named)...)
	for _, line := range []string{"two", "gate.clear", "drain.clear", "buffer.purge", "gate.set", "drain.set", "vacuum"} {
		if !strings.Contains(text, line) {
			t.Errorf("the audit has no %s:\n%s", line, text)
		}
	}

	// What is wrong is said.
	wrong := filepath.Join(second, "wrong.tokens")
	if err := os.WriteFile(wrong, []byte("mallory mat_guessedguessedguessed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"Invalid or missing admin token":            {"gate", "clear", "-data", data, "-admin-tokens", wrong, named},
		"No such environment":                       with("gate clear", "acme/typo"),
		"Nothing of this kind":                      with("drain resume"),
		"no node runs in -data":                     {"gate", "list", "-data", folder(t)},
		"-admin-url":                                {"gate", "list", "-admin-url", "nowhere"},
		"the admin listener does not answ":          {"gate", "list", "-admin-url", "http://127.0.0.1:1"},
		"the command needs an environment":          with("gate set"),
		"must set window, threshold, hold or force": with("gate set", named),
		"threshold":                                 with("gate set", "-threshold", "-1", named),
		"Run not found":                             with("explain", "run_nobody"),
		"unknown command \"gate sit\"":              {"gate", "sit"},
	} {
		code, _, stderr := runHere(t, args...)
		if code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s, want %q", args, code, stderr, want)
		}
	}
	if code, _, stderr := runHere(t, "gate", "list", "-data", data, "-admin-tokens", filepath.Join(data, "stack.json")); code == exitOK || strings.Contains(stderr, one.AdminToken) {
		t.Errorf("%d %s", code, stderr)
	}
}
