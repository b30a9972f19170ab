//go:build unix

package devstack

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func newRedis(t *testing.T, cfg RedisConfig) *Redis {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(openDir(t), "redis")
	}
	r, err := NewRedis(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newPostgres(t *testing.T, cfg PostgresConfig) *Postgres {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(openDir(t), "postgres")
	}
	p, err := NewPostgres(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// A server that does not start says why, in its own words.
func TestFailedStartTellsTheLog(t *testing.T) {
	t.Parallel()
	r := newRedis(t, RedisConfig{Settings: map[string]string{"no-such-directive": "1"}})
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no-such-directive") || !strings.Contains(err.Error(), "redis.log") {
		t.Errorf("Redis: %v", err)
	} else if strings.Contains(err.Error(), r.record.Password) {
		t.Errorf("Redis: the error holds the password: %v", err)
	}
	p := newPostgres(t, PostgresConfig{Ephemeral: true, Settings: map[string]string{"no_such_parameter": "1"}})
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no_such_parameter") || !strings.Contains(err.Error(), "postgres.log") {
		t.Errorf("Postgres: %v", err)
	} else if strings.Contains(err.Error(), p.record.Password) {
		t.Errorf("Postgres: the error holds the password: %v", err)
	}
	if r.PID() != 0 || p.PID() != 0 {
		t.Error("a server that failed to start has a process")
	}
}

// An address that was given out stays: a restart fails rather than moves.
func TestRestartKeepsItsAddress(t *testing.T) {
	t.Parallel()
	r := newRedis(t, RedisConfig{})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("a running server was started")
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), errPortTaken.Error()) {
		t.Errorf("start on a taken port: %v", err)
	}
	// Another process, which has told nobody, takes another port.
	other := newRedis(t, RedisConfig{Dir: r.cfg.Dir})
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other.Addr() == r.Addr() {
		t.Error("two listeners on one port")
	}
	if err := other.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	l.Close()
}

// A server that runs with other settings than those now wanted is replaced.
func TestOtherSettingsReplaceTheServer(t *testing.T) {
	t.Parallel()
	first := newRedis(t, RedisConfig{})
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	same := newRedis(t, RedisConfig{Dir: first.cfg.Dir})
	if err := same.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !same.Adopted() || same.PID() != first.PID() {
		t.Error("a server with the same settings was replaced")
	}
	other := newRedis(t, RedisConfig{Dir: first.cfg.Dir, Settings: map[string]string{"maxclients": "77"}})
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other.Adopted() || first.PID() != 0 {
		t.Error("a server with other settings was kept")
	}
}

// A frozen server that was left behind is thawed, not waited for.
func TestFrozenServerIsTakenOver(t *testing.T) {
	t.Parallel()
	first := newPostgres(t, PostgresConfig{Ephemeral: true})
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Pause(); err != nil {
		t.Fatal(err)
	}
	second := newPostgres(t, PostgresConfig{Dir: first.cfg.Dir, Ephemeral: true})
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second.PID() != first.PID() {
		t.Error("it was replaced")
	}
}

// Kill ends Postgres with all its processes: nothing of it serves on.
func TestKillLeavesNoConnection(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc to see them")
	}
	p := newPostgres(t, PostgresConfig{Ephemeral: true})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return len(allIn(p.dir)) == 0, nil }); err != nil {
		t.Errorf("processes %v run on: %v", allIn(p.dir), err)
	}
}

// An initdb that was interrupted left a folder that is no database.
func TestInterruptedInitdbIsRepeated(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "postgres")
	if err := os.MkdirAll(filepath.Join(dir+".new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := newPostgres(t, PostgresConfig{Dir: dir, Ephemeral: true}).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDatabaseOfALostPasswordIsRefused(t *testing.T) {
	t.Parallel()
	p := newPostgres(t, PostgresConfig{Ephemeral: true})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.recordFile); err != nil {
		t.Fatal(err)
	}
	again := newPostgres(t, PostgresConfig{Dir: p.cfg.Dir, Ephemeral: true})
	if err := again.Start(t.Context()); err == nil || !strings.Contains(err.Error(), p.recordFile) {
		t.Errorf("start without the password: %v", err)
	}
}

// Servers of a test go with its process, however that ends.
func TestBoundServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux binds a child's life to its parent's")
	}
	dir := openDir(t)
	parent := startOther(t, "bound", dir, nil)
	if len(allIn(filepath.Join(dir, "redis"))) != 1 {
		t.Fatal("no server runs")
	}
	parent.kill()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return len(allIn(filepath.Join(dir, "redis"))) == 0, nil }); err != nil {
		t.Errorf("the server runs on: %v", err)
	}
}

func TestServersGetNoneOfOurSecrets(t *testing.T) {
	t.Setenv("MOLLIFIER_SECRET", "xyzzy")
	if slices.ContainsFunc(serverEnv(), func(v string) bool { return strings.Contains(v, "xyzzy") }) {
		t.Error("the environment is passed on")
	}
}

func TestLogIsPutAside(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "server.log")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", maxLog+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, offset, err := openLog(file)
	if err != nil || offset != 0 {
		t.Fatalf("offset %d, %v", offset, err)
	}
	defer f.Close()
	if st, err := os.Stat(file + ".1"); err != nil || st.Size() != maxLog+1 {
		t.Errorf("the old log: %v, %v", st, err)
	}
	if _, err := f.WriteString(strings.Repeat("a", maxTail) + "the end\n"); err != nil {
		t.Fatal(err)
	}
	if got := tail(file, offset); len(got) > maxTail || !strings.HasSuffix(got, "the end") {
		t.Errorf("the tail has %d bytes and ends with %q", len(got), got[max(0, len(got)-10):])
	}
}
