package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Two nodes on one pair of stores are one: a key has one run.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	dataA, dataB := folder(t), folder(t)
	startNode(t, dataA, stores...)

	// The secret key has to be the first node's.
	stranger := command(t, nil, append([]string{"-data", dataB, "-listen", "127.0.0.1:0"}, stores...)...)
	if code := stranger.wait(t); code != exitFailure || !strings.Contains(stranger.stderr.String(), "-secret-key-file") {
		t.Errorf("with a secret key of its own: status %d, %s", code, stranger.stderr)
	}
	startNode(t, dataB, append(stores, "-secret-key-file", filepath.Join(dataA, "secret.key"))...)

	a, b := info(t, dataA), info(t, dataB)
	if a.Environments[0].Key != b.Environments[0].Key || a.HTTP == b.HTTP {
		t.Fatal("the nodes do not share environments, or share an address")
	}
	const callers = 200
	var (
		c      = client(t)
		wait   sync.WaitGroup
		makers atomic.Int32
		ids    sync.Map
	)
	for i := range callers {
		url := []string{a.HTTP, b.HTTP}[i%2]
		wait.Go(func() {
			got, err := trigger(t.Context(), c, url, a.Environments[0].Key, "shared")
			if err != nil || got.status != http.StatusOK {
				t.Errorf("status %d, %v", got.status, err)
				return
			}
			ids.Store(got.ID, true)
			if !got.IsCached {
				makers.Add(1)
			}
		})
	}
	wait.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 || makers.Load() != 1 {
		t.Errorf("%d runs of one key, made by %d callers", n, makers.Load())
	}
}

// A stop under load loses no answer: what a caller was told is in Postgres.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	stores, postgres := sharedStores(t)
	data := folder(t)
	// Without the gate, so that what is acknowledged is in Postgres at the stop.
	node := startNode(t, data, append(stores, "-gate", "off")...)
	i := info(t, data)
	var (
		c      = client(t)
		wait   sync.WaitGroup
		acks   atomic.Int64
		plenty = make(chan struct{})
		mu     sync.Mutex
		ids    []string
	)
	for w := range 32 {
		wait.Go(func() {
			for n := 0; ; n++ {
				key := ""
				if n%2 == 0 {
					key = fmt.Sprintf("key-%d", (w+n)%50)
				}
				a, err := trigger(t.Context(), c, i.HTTP, i.Environments[0].Key, key)
				if err != nil {
					return // the node has gone
				}
				if a.status != http.StatusOK {
					continue
				}
				mu.Lock()
				ids = append(ids, a.ID)
				mu.Unlock()
				if acks.Add(1) == 300 {
					close(plenty)
				}
			}
		})
	}
	select {
	case <-plenty:
	case <-node.exited:
		t.Fatal(node.stderr)
	}
	node.stop(t)
	wait.Wait()

	conn, err := pgx.Connect(t.Context(), postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var missing int
	if err := conn.QueryRow(t.Context(),
		`select count(*) from unnest($1::text[]) as acknowledged(id) where not exists (select from runs where runs.id = acknowledged.id)`,
		ids).Scan(&missing); err != nil {
		t.Fatal(err)
	}
	if missing != 0 || len(ids) < 300 {
		t.Errorf("%d of %d acknowledged runs are not in Postgres", missing, len(ids))
	}
}

// halfRequest is a request whose body does not come, which keeps a stop waiting.
func halfRequest(t *testing.T, url, key string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// The server answers 100 Continue when it has begun to read the body.
	fmt.Fprintf(conn, "POST /api/v1/tasks/t/trigger HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", key)
	begun := make([]byte, len("HTTP/1.1 100"))
	if _, err := conn.Read(begun); err != nil || string(begun) != "HTTP/1.1 100" {
		t.Fatalf("%q, %v", begun, err)
	}
}

// A second signal does not wait for anything.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data := folder(t)
	node := startNode(t, data, stores...)
	i := info(t, data)
	halfRequest(t, i.HTTP, i.Environments[0].Key)
	node.signal(t, syscall.SIGTERM)
	node.waitOut(t, node.stderr, "msg=stopping")
	node.signal(t, syscall.SIGINT)
	if code := node.wait(t); code != exitFailure {
		t.Errorf("exit status %d", code)
	}
}

// The stop timeout holds whoever keeps a connection busy.
func TestStopTimeout(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data := folder(t)
	node := startNode(t, data, append(stores, "-stop-timeout", "600ms", "-log-format", "json")...)
	i := info(t, data)
	halfRequest(t, i.HTTP, i.Environments[0].Key)
	began := time.Now()
	node.signal(t, syscall.SIGTERM)
	if code := node.wait(t); code != exitFailure || !strings.Contains(node.stderr.String(), "requests were cut off") {
		t.Errorf("exit status %d:\n%s", code, node.stderr)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if first, _, _ := strings.Cut(node.stderr.String(), "\n"); !json.Valid([]byte(first)) {
		t.Errorf("-log-format json logs %q", first)
	}
}

// The admin listener has counters and profiles, and no command line with its
// passwords. "off" leaves it out.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data := folder(t)
	node := startNode(t, data, stores...)
	i := info(t, data)
	c := client(t)
	answered(t)(trigger(t.Context(), c, i.HTTP, i.Environments[0].Key, "k"))
	work, err := readWork(t.Context(), i.Admin)
	if err != nil || work.Claims == 0 || work.RedisCalls == 0 || work.PostgresCalls == 0 {
		t.Errorf("counters %+v, %v", work, err)
	}
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/cmdline": 404} {
		resp, err := c.Get(i.Admin + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	node.stop(t)
	startNode(t, data, append(stores, "-admin", "off")...)
	if admin := info(t, data).Admin; admin != "" {
		t.Errorf("-admin off listens at %s", admin)
	}
}

// Environments are made, listed, rotated and enrolled from the command line.
func TestEnvCommands(t *testing.T) {
	t.Parallel()
	stores, postgres := sharedStores(t)
	data := folder(t)
	run := func(args ...string) map[string]any {
		t.Helper()
		code, stdout, stderr := runHere(t, append(args, "-data", data, "-postgres", postgres, "-json")...)
		if code != 0 {
			t.Fatalf("%v: status %d, %s", args, code, stderr)
		}
		var document map[string]any
		if err := json.Unmarshal([]byte(stdout), &document); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, stdout)
		}
		return document
	}
	live := run("env", "add", "-organisation", "acme", "-name", "live", "-type", "prod")
	oldKey, _ := live["key"].(string)
	id, _ := live["id"].(string)

	startNode(t, data, stores...)
	i, c := info(t, data), client(t)
	answered(t)(trigger(t.Context(), c, i.HTTP, oldKey, "k"))

	// Flags stand before the argument.
	code, stdout, stderr := runHere(t, "env", "rotate", "-data", data, "-postgres", postgres, "-json", "acme/live")
	var rotated struct{ ID, Key string }
	if err := json.Unmarshal([]byte(stdout), &rotated); code != 0 || err != nil || rotated.ID != id || rotated.Key == oldKey {
		t.Fatalf("env rotate: status %d, %v\n%s", code, err, stderr)
	}
	for _, key := range []string{rotated.Key, oldKey} {
		if a := answered(t)(trigger(t.Context(), c, i.HTTP, key, "k")); !a.IsCached {
			t.Error("after the rotation a key opens another environment")
		}
	}
	code, stdout, stderr = runHere(t, "env", "mismatch", "-data", data, "-postgres", postgres, "acme/live")
	if code != 0 || !strings.Contains(stdout, "yes") {
		t.Errorf("env mismatch: status %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = runHere(t, "env", "enrol", "-data", data, "-postgres", postgres, "-off", "acme")
	if code != 0 || !strings.Contains(stdout, "no") {
		t.Errorf("env enrol -off: status %d\n%s", code, stdout)
	}
	code, stdout, _ = runHere(t, "env", "list", "-data", data, "-postgres", postgres)
	if code != 0 || !strings.Contains(stdout, "acme") || !strings.Contains(stdout, "until") || strings.Contains(stdout, rotated.Key) {
		t.Errorf("env list: status %d\n%s", code, stdout)
	}
	for _, c := range []struct {
		want int
		says string
		args []string
	}{
		{exitUsage, "-name", []string{"env", "add", "-organisation", "acme"}},
		{exitUsage, "-type", []string{"env", "add", "-organisation", "acme", "-name", "x", "-type", "toy"}},
		{exitFailure, "exists", []string{"env", "add", "-organisation", "acme", "-name", "live"}},
		{exitFailure, "not found", []string{"env", "rotate", "acme/none"}},
	} {
		args := append([]string{c.args[0], c.args[1], "-data", data, "-postgres", postgres}, c.args[2:]...)
		if code, _, stderr := runHere(t, args...); code != c.want || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: status %d, %s", c.args, code, stderr)
		}
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	_, postgres := sharedStores(t)
	for range 2 {
		if code, stdout, stderr := runHere(t, "migrate", "-postgres", postgres); code != 0 || !strings.Contains(stdout, "up to date") {
			t.Errorf("status %d: %s%s", code, stdout, stderr)
		}
	}
}
