//go:build unix

package devstack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// helperVar makes the test binary act as another process instead: its value is
// the role, and the folder is the first argument.
const helperVar = "DEVSTACK_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperVar); role != "" {
		if err := helper(role, os.Args[1]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/e0ff5a15/mollifier/internal/devstack.forkBound"))
}

// helper is what the other process does: it starts something, says so in one
// line, and holds it until its input ends.
func helper(role, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var stop func(context.Context) error
	switch role {
	case "stack":
		s, err := Start(ctx, Options{Dir: dir})
		if err != nil {
			return err
		}
		stop = s.Stop
	case "bound":
		r, err := NewRedis(RedisConfig{Dir: filepath.Join(dir, "redis"), DieWithParent: true})
		if err != nil {
			return err
		}
		if err := r.Start(ctx); err != nil {
			return err
		}
		stop = r.Stop
	default:
		return fmt.Errorf("no role %q", role)
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return stop(ctx)
}

// other is a running helper process.
type other struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
}

// startOther starts a helper, as the given user if there is one, and waits until
// it says that it is ready.
func startOther(t *testing.T, role, dir string, as *account) *other {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if as != nil {
		program = copyProgram(t, program)
	}
	cmd := exec.Command(program, dir)
	cmd.Env = append(os.Environ(), helperVar+"="+role)
	cmd.Stderr = os.Stderr
	if as != nil {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as.credential()}
	}
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
	o := &other{t, cmd, stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		o.kill()
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return o
}

func (o *other) kill() {
	o.t.Helper()
	if err := o.cmd.Process.Kill(); err != nil {
		o.t.Error(err)
	}
	if err := o.cmd.Wait(); err == nil {
		o.t.Error("a killed process ended without an error")
	}
}

func (o *other) finish() {
	o.t.Helper()
	o.stdin.Close()
	if err := o.cmd.Wait(); err != nil {
		o.t.Errorf("the other process: %v", err)
	}
}

// copyProgram puts the test binary where any user can run it.
func copyProgram(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(openDir(t), "helper.test")
	if err := os.WriteFile(file, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// openDir makes a folder that every user can pass, which t.TempDir is not.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if dir, err = resolve(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Servers of a test that failed half way.
		for _, f := range []string{"redis", "postgres", "data/redis", "data/postgres"} {
			if _, err := os.Stat(filepath.Join(dir, f)); err == nil {
				if err := KillRemains(context.Background(), filepath.Join(dir, f)); err != nil {
					t.Error(err)
				}
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func mustStart(t *testing.T, o Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustStop(t, s) })
	return s
}

func mustStop(t *testing.T, s *Stack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// write leaves a mark in both stores, and marks reads it back.
func write(t *testing.T, redisURL, postgresURL, mark string) {
	t.Helper()
	withStores(t, redisURL, postgresURL, func(r *redis.Client, p *pgx.Conn) {
		if err := r.RPush(t.Context(), "marks", mark).Err(); err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{
			"CREATE TABLE IF NOT EXISTS marks (n serial, mark text)",
			"INSERT INTO marks (mark) VALUES ('" + mark + "')",
		} {
			if _, err := p.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func marks(t *testing.T, redisURL, postgresURL string) (inRedis, inPostgres string) {
	t.Helper()
	withStores(t, redisURL, postgresURL, func(r *redis.Client, p *pgx.Conn) {
		list, err := r.LRange(t.Context(), "marks", 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		inRedis = strings.Join(list, " ")
		if err := p.QueryRow(t.Context(), "SELECT string_agg(mark, ' ' ORDER BY n) FROM marks").Scan(&inPostgres); err != nil {
			t.Fatal(err)
		}
	})
	return inRedis, inPostgres
}

func wantMarks(t *testing.T, redisURL, postgresURL, want string) {
	t.Helper()
	if r, p := marks(t, redisURL, postgresURL); r != want || p != want {
		t.Errorf("Redis holds %q and Postgres %q, want %q in both", r, p, want)
	}
}

func withStores(t *testing.T, redisURL, postgresURL string, f func(*redis.Client, *pgx.Conn)) {
	t.Helper()
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	r := redis.NewClient(opts)
	defer r.Close()
	p, err := pgx.Connect(t.Context(), postgresURL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	f(r, p)
}
