package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

// What a stranger does with a fresh machine: start, paste, stop, start again, and
// kill it.
func TestFirstSteps(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a private Postgres")
	}
	data := folder(t)
	c := client(t)
	node := startNode(t, data)
	first := info(t, data)
	key := first.Environments[0].Key

	if mode := fileMode(t, filepath.Join(data, devstack.InfoFile)); mode != 0o600 {
		t.Errorf("stack.json has mode %o", mode)
	}
	if first.PID != node.cmd.Process.Pid || first.Redis.PID == 0 || first.Postgres.PID == 0 || first.Admin == "" ||
		!strings.Contains(node.stdout.String(), "ready at "+first.HTTP+"\n") {
		t.Errorf("stack.json does not describe the node: pid %d, stores' %d and %d, HTTP %q, admin %q",
			first.PID, first.Redis.PID, first.Postgres.PID, first.HTTP, first.Admin)
	}
	if len(first.Environments) != 2 || first.Environments[0].Name != "dev" || first.Environments[1].Name != "prod" {
		t.Fatalf("%d environments in stack.json", len(first.Environments))
	}

	one := answered(t)(trigger(t.Context(), c, first.HTTP, key, "order-1"))
	if again := answered(t)(trigger(t.Context(), c, first.HTTP, key, "order-1")); one.IsCached || again.ID != one.ID || !again.IsCached {
		t.Errorf("same key: %+v, then %+v", one, again)
	}
	if other := answered(t)(trigger(t.Context(), c, first.HTTP, first.Environments[1].Key, "order-1")); other.ID == one.ID {
		t.Error("two environments share a key's run")
	}
	if a, err := trigger(t.Context(), c, first.HTTP, "tr_dev_wrong", "order-1"); err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("wrong key: status %d, %v", a.status, err)
	}
	readBack := func(url string) {
		t.Helper()
		if r := answered(t)(get(t.Context(), c, url+"/api/v3/runs/"+one.ID, key)); r.ID != one.ID || r.Status != any("QUEUED") {
			t.Errorf("read back: %+v", r)
		}
	}
	readBack(first.HTTP)
	answered(t)(get(t.Context(), c, first.HTTP+"/readyz", ""))
	pasteCommands(t, node.stdout.String())

	second := command(t, nil, "-data", data, "-listen", "127.0.0.1:0")
	if code := second.wait(t); code != exitFailure || !strings.Contains(second.stderr.String(), "in use by another process") {
		t.Errorf("a second node on the folder: status %d, %s", code, second.stderr)
	}
	code, listed, _ := runHere(t, "env", "list", "-data", data)
	if code != 0 || !strings.Contains(listed, "prod") || strings.Contains(listed, key) {
		t.Errorf("env list beside the node: status %d:\n%s", code, listed)
	}
	if log := node.stderr.String(); strings.Contains(log, "tr_dev_") || strings.Contains(log, "tr_prod_") || strings.Contains(log, "://") {
		t.Errorf("the log holds keys or addresses with passwords:\n%s", log)
	}

	node.stop(t)
	if i := info(t, data); i.State != devstack.StateStopped {
		t.Errorf("after the stop stack.json says %q", i.State)
	}
	if !refuses(t.Context(), first.Redis.URL) || !refuses(t.Context(), first.Postgres.URL) {
		t.Error("a private store has outlived its node")
	}

	node = startNode(t, data)
	next := info(t, data)
	if next.Environments[0].Key != key || next.Environments[1].Key != first.Environments[1].Key {
		t.Error("the second start has other keys")
	}
	readBack(next.HTTP)

	node.signal(t, syscall.SIGKILL)
	node.wait(t)
	node = startNode(t, data)
	killed := info(t, data)
	readBack(killed.HTTP)
	if again := answered(t)(trigger(t.Context(), c, killed.HTTP, key, "order-1")); again.ID != one.ID {
		t.Errorf("after a kill the key has run %s, not %s", again.ID, one.ID)
	}
	node.stop(t)
	if !refuses(t.Context(), killed.Redis.URL) || !refuses(t.Context(), killed.Postgres.URL) {
		t.Error("a private store that was taken over has outlived the node")
	}

	code, listed, stderr := runHere(t, "env", "list", "-data", data)
	if code != 0 || !strings.Contains(listed, "prod") {
		t.Errorf("env list without a node: status %d:\n%s%s", code, listed, stderr)
	}
}

// pasteCommands runs what the welcome offers, as it stands.
func pasteCommands(t *testing.T, welcome string) {
	t.Helper()
	for _, program := range []string{"sh", "curl", "grep", "sort", "uniq", "head"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("the printed commands are not tried: %v", err)
			return
		}
	}
	lines := regexp.MustCompile(`(?m)^ +(curl .*)$`).FindAllStringSubmatch(welcome, -1)
	if len(lines) != 5 {
		t.Fatalf("%d curl commands in the welcome, not 5:\n%s", len(lines), welcome)
	}
	said := make([]string, len(lines))
	for i, line := range lines {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line[1]).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line[1], err, out)
		}
		said[i] = string(out)
	}
	id := regexp.MustCompile(`run_[0-9a-z]+`).FindString(said[0])
	if id == "" || !strings.Contains(said[1], id) || !strings.Contains(said[1], `"hello":"world"`) {
		t.Errorf("triggered:\n%s\nread back:\n%s", said[0], said[1])
	}
	if storm := strings.Fields(said[2]); len(storm) != 2 || storm[0] != "1000" {
		t.Errorf("the storm printed:\n%s", said[2])
	}
	sum, mollified := 0, 0
	for line := range strings.Lines(said[3]) {
		n, state := 0, ""
		if _, err := fmt.Sscan(line, &n, &state); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += n
		if strings.Contains(state, "buffered") {
			mollified = n
		}
	}
	if sum != 1000 || mollified == 0 {
		t.Errorf("the storm of keys printed:\n%s", said[3])
	}
	if !strings.Contains(said[4], `"outcome":"mollify","reason":"rate"`) {
		t.Errorf("the counters are:\n%s", said[4])
	}
}

// A private store that dies is started again, and the node goes on.
func TestPrivateStoreDies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a private Postgres")
	}
	data := folder(t)
	c := client(t)
	// Without diversion, and with a gate that lets pass whatever Postgres does and however
	// fast this test asks again: with both stores gone for a moment, a key may otherwise get
	// a second, provisional name.
	node := startNode(t, data, "-divert=false", "-gate-pressure=false", "-gate-threshold=100000")
	before := info(t, data)
	key := before.Environments[0].Key
	one := answered(t)(trigger(t.Context(), c, before.HTTP, key, "order-1"))

	if err := syscall.Kill(before.Redis.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	node.waitOut(t, node.stderr, "a private store has died")
	node.waitOut(t, node.stderr, "the private stores are back")
	after := info(t, data)
	if after.Redis.PID == before.Redis.PID || after.Redis.URL != before.Redis.URL || after.Postgres.URL != before.Postgres.URL ||
		after.HTTP != before.HTTP || len(after.Environments) != 2 {
		t.Error("stack.json does not describe the node after its stores were started again")
	}
	again := persist(t, c, after.HTTP, key, "order-1")
	if again.ID != one.ID {
		t.Errorf("the key has run %s, not %s, after its store was started again", again.ID, one.ID)
	}

	if err := syscall.Kill(after.Postgres.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	node.waitOut(t, node.stderr, "store=postgres")
	if again := persist(t, c, after.HTTP, key, "order-1"); again.ID != one.ID {
		t.Errorf("the key has run %s, not %s, after Postgres was started again", again.ID, one.ID)
	}
	persist(t, c, after.HTTP, key, "order-2")
	node.stop(t)
}

// A signal while the first start is slow ends it, and spoils nothing.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a private Postgres")
	}
	data := folder(t)
	node := command(t, nil, "-data", data, "-listen", "127.0.0.1:0")
	node.waitOut(t, node.stderr, "making a private Postgres")
	node.signal(t, syscall.SIGINT)
	if code := node.wait(t); code != 0 || node.stdout.String() != "" {
		t.Errorf("exit status %d:\n%s%s", code, node.stdout, node.stderr)
	}
	startNode(t, data).stop(t)
}

func fileMode(t *testing.T, file string) os.FileMode {
	t.Helper()
	i, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return i.Mode().Perm()
}

// The demo holds its promise at a small size, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a private Postgres")
	}
	tmp := filepath.Dir(folder(t))
	p := command(t, []string{"TMPDIR=" + tmp}, "demo", "-triggers", "400", "-keys", "20", "-connections", "32", "-storm", "1000")
	if code := p.wait(t); code != 0 || !strings.Contains(p.stdout.String(), "The promise held") {
		t.Errorf("status %d:\n%s%s", code, p.stdout, p.stderr)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("the demo left %v, %v", left, err)
	}
}
