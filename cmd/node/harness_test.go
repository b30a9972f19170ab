package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

// asNode has the test binary be the program, so that tests run what users run.
const asNode = "NODE_TEST_AS_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		main()
	}
	stacktest.Main(m, stacktest.NoLeaks())
}

// patience bounds every wait of a test; it only shows when something hangs.
const patience = time.Minute

// proc is the program as a child process.
type proc struct {
	cmd            *exec.Cmd
	stdout, stderr *transcript
	exited         chan struct{}
}

// command starts the program with some arguments and further variables.
func command(t *testing.T, variables []string, args ...string) *proc {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, envPrefix+"_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, asNode+"=1"), variables...)
	return launch(t, cmd)
}

// launch starts a command that ends with the test at the latest.
func launch(t *testing.T, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{cmd: cmd, stdout: newTranscript(), stderr: newTranscript(), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its outcome is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(patience):
			p.signal(t, syscall.SIGKILL)
			<-p.exited
			t.Errorf("a node did not stop:\n%s", p.stderr)
		}
	})
	return p
}

// node starts a serving node on free ports and waits for its ready line.
func startNode(t *testing.T, data string, args ...string) *proc {
	t.Helper()
	p := command(t, nil, append([]string{"-data", data, "-listen", "127.0.0.1:0"}, args...)...)
	p.waitOut(t, p.stdout, "mollifier is ready at")
	return p
}

func (p *proc) waitOut(t *testing.T, where *transcript, text string) {
	t.Helper()
	select {
	case <-where.has(text):
	case <-p.exited:
		select {
		case <-where.has(text):
		default:
			t.Fatalf("the node ended (%v) without %q:\n%s%s", p.cmd.ProcessState, text, p.stdout, p.stderr)
		}
	case <-time.After(patience):
		t.Fatalf("the node did not say %q:\n%s%s", text, p.stdout, p.stderr)
	}
}

func (p *proc) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// wait returns the exit status; -1 after a signal.
func (p *proc) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("the program did not end:\n%s%s", p.stdout, p.stderr)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends a node as an operator does.
func (p *proc) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Fatalf("exit status %d after SIGTERM:\n%s", code, p.stderr)
	}
}

// transcript keeps what a process prints, and tells who waits for a text.
type transcript struct {
	mu      sync.Mutex
	text    bytes.Buffer
	waiting map[string]chan struct{}
}

func newTranscript() *transcript { return &transcript{waiting: map[string]chan struct{}{}} }

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	w.tellLocked()
	return len(b), nil
}

func (w *transcript) tellLocked() {
	for text, told := range w.waiting {
		if strings.Contains(w.text.String(), text) {
			close(told)
			delete(w.waiting, text)
		}
	}
}

// has is closed once the text was printed. One waits for a text at a time.
func (w *transcript) has(text string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	told, ok := w.waiting[text]
	if !ok {
		told = make(chan struct{})
		w.waiting[text] = told
	}
	w.tellLocked()
	return told
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// runHere runs the program within the test.
func runHere(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return runWith(ctx, args...)
}

func runWith(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(ctx, args, nil, &out, &err)
	return code, out.String(), err.String()
}

// folder is a temporary folder that the user Postgres runs as may pass, which
// t.TempDir is not. What still runs in it when the test ends is killed.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mollifier-node-test-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(removeDemoFolder(ctx, filepath.Join(dir, "data")), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "data")
}

// sharedStores are flags that point a node at stores of this test's own.
func sharedStores(t *testing.T) (flags []string, postgres string) {
	t.Helper()
	postgres = stacktest.Postgres(t)
	redis, prefix := stacktest.Redis(t)
	return []string{"-redis", redis, "-postgres", postgres, "-prefix", prefix, "-seed"}, postgres
}

func info(t *testing.T, data string) devstack.Info {
	t.Helper()
	i, err := devstack.ReadInfo(data)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// client is one user's HTTP client, whose connections end with the test.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

type answer struct {
	status   int
	ID       string `json:"id"`
	IsCached bool   `json:"isCached"`
	Status   any    `json:"status"` // of a run its status, of a problem the HTTP status
	Error    string `json:"error"`
}

// trigger sends one trigger of the task "hello"; without a key if key is empty.
func trigger(ctx context.Context, c *http.Client, url, apiKey, key string) (answer, error) {
	options := ""
	if key != "" {
		options = fmt.Sprintf(`,"options":{"idempotencyKey":%q}`, key)
	}
	body := strings.NewReader(`{"payload":{"hello":"world"}` + options + `}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/tasks/hello/trigger", body)
	if err != nil {
		return answer{}, err
	}
	return send(c, req, apiKey)
}

func get(ctx context.Context, c *http.Client, url, apiKey string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	return send(c, req, apiKey)
}

func send(c *http.Client, req *http.Request, apiKey string) (answer, error) {
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(bufio.NewReader(resp.Body))
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode}
	return a, json.Unmarshal(text, &a)
}

// answered takes the answers that a test can not go on without.
func answered(t *testing.T) func(answer, error) answer {
	return func(a answer, err error) answer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusOK {
			t.Fatalf("status %d: %s", a.status, a.Error)
		}
		return a
	}
}

// persist triggers until the node is not refusing any more.
func persist(t *testing.T, c *http.Client, url, apiKey, key string) answer {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		a, err := trigger(t.Context(), c, url, apiKey, key)
		if err == nil && a.status == http.StatusServiceUnavailable && time.Now().Before(end) {
			continue
		}
		return answered(t)(a, err)
	}
}
