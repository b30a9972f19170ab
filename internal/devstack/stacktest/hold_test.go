//go:build unix

package stacktest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// holderVar makes the test binary act as a process that holds the servers.
const holderVar = "STACKTEST_HOLDER"

func TestMain(m *testing.M) {
	if os.Getenv(holderVar) != "" {
		if err := holder(); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	Main(m, NoLeaks())
}

// holder holds the servers, says how to reach Postgres, and lets go when its
// input ends.
func holder() error {
	release, err := Hold(context.Background())
	if err != nil {
		return err
	}
	fmt.Println(held.stack.postgres.URL())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return release()
}

type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	stdin    io.Closer
	stdout   *bufio.Reader
	postgres string // URL
}

func startHolder(t *testing.T, tmp string) *process {
	t.Helper()
	p := launchHolder(t, tmp)
	p.wait()
	return p
}

// launchHolder starts a holder; wait returns once it holds the servers.
func launchHolder(t *testing.T, tmp string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderVar+"=1", "TMPDIR="+tmp)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &process{t: t, cmd: cmd, stdin: stdin, stdout: bufio.NewReader(stdout)}
}

func (p *process) wait() {
	p.t.Helper()
	line, err := p.stdout.ReadString('\n')
	if !strings.HasPrefix(line, "postgres://") {
		p.kill()
		p.t.Fatalf("the holder said %q, %v", line, err)
	}
	p.postgres = strings.TrimSpace(line)
}

func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); err == nil {
		p.t.Error("a killed holder ended without an error")
	}
}

func (p *process) finish() {
	p.t.Helper()
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the holder: %v", err)
	}
}

// serverPids reads the pids of the shared servers below tmp, zero for one that
// was never started or has ended in an orderly way: it removes its pid file.
func serverPids(t *testing.T, tmp string) (pids [2]int) {
	t.Helper()
	base := filepath.Join(tmp, "mollifier-test-"+strconv.Itoa(os.Getuid()))
	for i, file := range []string{"redis/redis.pid", "postgres/postmaster.pid"} {
		text, err := os.ReadFile(filepath.Join(base, file))
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		pids[i] = pid
	}
	return pids
}

func TestServersAreShared(t *testing.T) {
	t.Parallel()
	tmp, err := os.MkdirTemp("", "stacktest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(tmp, 0o711); err != nil {
		t.Fatal(err)
	}

	// Many at once start one pair.
	a, b, c := launchHolder(t, tmp), launchHolder(t, tmp), launchHolder(t, tmp)
	for _, p := range []*process{a, b, c} {
		p.wait()
	}
	pids := serverPids(t, tmp)
	if pids[0] == 0 || pids[1] == 0 || a.postgres != b.postgres || b.postgres != c.postgres {
		t.Fatalf("servers %v for three holders", pids)
	}

	// Those who leave do not stop it under the others.
	a.finish()
	b.finish()
	conn, err := pgx.Connect(t.Context(), c.postgres)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE t_left_behind"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	// A killed one leaves the servers, the next finds them, and cleans up.
	c.kill()
	d := startHolder(t, tmp)
	if got := serverPids(t, tmp); got != pids {
		t.Errorf("servers %v after a kill, want %v", got, pids)
	}
	if conn, err := pgx.Connect(t.Context(), strings.Replace(d.postgres, "/mollifier?", "/t_left_behind?", 1)); err == nil {
		conn.Close(t.Context())
		t.Error("the database of a killed run is still there")
	}

	// The last one stops them.
	d.finish()
	if got := serverPids(t, tmp); got != [2]int{} {
		t.Errorf("servers %v run after the last one left", got)
	}

	// A damaged database is made anew.
	base := filepath.Join(tmp, "mollifier-test-"+strconv.Itoa(os.Getuid()))
	if err := os.Truncate(filepath.Join(base, "postgres", "global", "pg_control"), 0); err != nil {
		t.Fatal(err)
	}
	startHolder(t, tmp).finish()
}

func TestFolderOfSomebodyElseIsRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	base := filepath.Join(os.TempDir(), "mollifier-test-"+strconv.Itoa(os.Getuid()))
	if err := os.Symlink(t.TempDir(), base); err != nil {
		t.Fatal(err)
	}
	if _, err := baseFolder(); err == nil {
		t.Error("a link that anybody may have made was followed")
	}
}

func TestHeldServersHaveADeadline(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := enter(ctx, t.TempDir()); err == nil {
		t.Error("servers were started in no time")
	}
}
