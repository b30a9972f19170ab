//go:build unix

package devstack

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestStackContinuesWithItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	s := mustStart(t, Options{Dir: dir})
	write(t, s.RedisURL(), s.PostgresURL(), "first")
	if err := s.Update(func(i *Info) {
		i.HTTP, i.Admin = "http://127.0.0.1:1", "http://127.0.0.1:2"
		i.Environments = []Environment{{Organisation: "o", ID: "e", Name: "dev", Key: "k"}}
	}); err != nil {
		t.Fatal(err)
	}
	info, err := ReadInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.State != StateRunning || info.PID != os.Getpid() || info.Redis.URL != s.RedisURL() || info.Postgres.URL != s.PostgresURL() ||
		info.Redis.PID <= 1 || info.Postgres.PID <= 1 || info.HTTP != "http://127.0.0.1:1" || info.StartedAt.IsZero() {
		t.Errorf("running: %+v", info)
	}
	if st, err := os.Stat(filepath.Join(dir, InfoFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("stack.json: %v, %v", st.Mode(), err)
	}
	mustStop(t, s)
	for name, pid := range map[string]int{"Redis": info.Redis.PID, "Postgres": info.Postgres.PID} {
		if runsIn(pid, filepath.Join(dir, strings.ToLower(name))) {
			t.Errorf("%s runs after the stop", name)
		}
	}
	stopped, err := ReadInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	if stopped.State != StateStopped || stopped.HTTP != "" || stopped.Redis != (Store{}) || len(stopped.Environments) != 1 {
		t.Errorf("stopped: %+v", stopped)
	}
	if err := s.Update(func(*Info) {}); err == nil {
		t.Error("a stopped stack writes stack.json")
	}

	again := mustStart(t, Options{Dir: dir})
	wantMarks(t, again.RedisURL(), again.PostgresURL(), "first")
	if got := again.Info().Environments; len(got) != 1 || got[0].Key != "k" {
		t.Errorf("the environments of the last run are lost: %v", got)
	}
	if again.RedisURL() != info.Redis.URL || again.PostgresURL() != info.Postgres.URL {
		t.Error("the addresses changed though their ports are free")
	}
}

func TestSecondStackOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	s := mustStart(t, Options{Dir: dir})
	other, err := Start(t.Context(), Options{Dir: dir})
	if !errors.Is(err, ErrLocked) || other != nil {
		t.Fatalf("second start: %v, %v", other, err)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the folder: %v", err)
	}
	write(t, s.RedisURL(), s.PostgresURL(), "still here")
}

func TestServersOfAKilledNodeAreTakenOver(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	node := startOther(t, "stack", dir, nil)
	info, err := ReadInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, info.Redis.URL, info.Postgres.URL, "before")
	node.kill()
	// Another node that uses these stores notices nothing.
	write(t, info.Redis.URL, info.Postgres.URL, "between")

	s := mustStart(t, Options{Dir: dir})
	if got := s.Info(); got.Redis != info.Redis || got.Postgres != info.Postgres {
		t.Error("the servers were replaced instead of taken over")
	}
	wantMarks(t, s.RedisURL(), s.PostgresURL(), "before between")
	mustStop(t, s)
	if runsIn(info.Redis.PID, filepath.Join(dir, "redis")) || runsIn(info.Postgres.PID, filepath.Join(dir, "postgres")) {
		t.Error("a server that was taken over was not stopped")
	}
}

// The node is killed, and then its servers are: nothing runs, but the pid files
// name processes, and a connection of the killed Postgres may still be served.
func TestRemainsOfAKilledNodeDoNotBlock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	node := startOther(t, "stack", dir, nil)
	info, err := ReadInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, info.Redis.URL, info.Postgres.URL, "kept")
	node.kill()
	for _, pid := range []int{info.Redis.PID, info.Postgres.PID} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	s := mustStart(t, Options{Dir: dir})
	wantMarks(t, s.RedisURL(), s.PostgresURL(), "kept")
}

// After a reboot the pid in a pid file may be anybody's. That process is left
// alone and does not block the start.
func TestAPidFileOfSomebodyElseIsIgnored(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	s := mustStart(t, Options{Dir: dir})
	write(t, s.RedisURL(), s.PostgresURL(), "kept")
	postmaster := filepath.Join(dir, "postgres", "postmaster.pid")
	text, err := os.ReadFile(postmaster)
	if err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)

	innocent := startOther(t, "bound", openDir(t), nil)
	defer innocent.finish()
	_, rest, _ := strings.Cut(string(text), "\n")
	pid := strconv.Itoa(innocent.cmd.Process.Pid)
	for file, content := range map[string]string{
		postmaster:                            pid + "\n" + rest,
		filepath.Join(dir, "redis/redis.pid"): pid + "\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if sys, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
		owner := sys.Sys().(*syscall.Stat_t)
		if err := os.Chown(postmaster, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	again := mustStart(t, Options{Dir: dir})
	wantMarks(t, again.RedisURL(), again.PostgresURL(), "kept")
}

// Ctrl-C goes to the terminal's foreground process group, and a closed terminal
// to its session: the stores are in neither.
func TestServersAreInSessionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Options{Dir: filepath.Join(openDir(t), "data")})
	for _, pid := range []int{s.Info().Redis.PID, s.Info().Postgres.PID} {
		if group, err := syscall.Getpgid(pid); err != nil || group != pid {
			t.Errorf("process %d is in group %d (%v), want its own", pid, group, err)
		}
	}
}

func TestServersAskForAPasswordAndPersist(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	s := mustStart(t, Options{Dir: dir})
	anonymous := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), "wrong")
		return u.String()
	}
	if err := s.redis.ping(t.Context(), record{Port: s.redis.record.Port, Password: "wrong"}); err == nil {
		t.Error("Redis takes any password")
	}
	if err := s.postgres.ping(t.Context(), record{Port: s.postgres.record.Port, Password: "wrong"}); err == nil {
		t.Error("Postgres takes any password")
	} else if strings.Contains(err.Error(), anonymous(s.PostgresURL())) {
		t.Error("the error holds the address")
	}
	conf, err := os.ReadFile(filepath.Join(dir, "redis", "redis.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"appendonly yes", "appendfsync always", "maxmemory-policy noeviction", "bind 127.0.0.1"} {
		if !strings.Contains(string(conf), line+"\n") {
			t.Errorf("redis.conf lacks %q", line)
		}
	}
	for _, file := range []string{"redis/redis.conf", "redis.json", "postgres.json", InfoFile} {
		if st, err := os.Stat(filepath.Join(dir, file)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, st, err)
		}
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	mustStop(t, mustStart(t, Options{Dir: dir}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Fatalf("start with a context that has ended: %v", err)
	}
	for _, f := range []string{"redis", "postgres"} {
		if pids := allIn(filepath.Join(dir, f)); len(pids) > 0 {
			t.Errorf("%s: %v run", f, pids)
		}
	}
	mustStart(t, Options{Dir: dir})
}

func TestMovedDatabase(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has folders that the user of Postgres cannot reach")
	}
	locked, reachable := filepath.Join(openDir(t), "locked"), openDir(t)
	if err := os.Mkdir(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(locked, "data")
	var log bytes.Buffer
	o := Options{Dir: dir, elsewhere: filepath.Join(reachable, "lib"), Log: slog.New(slog.NewTextHandler(&log, nil))}
	s := mustStart(t, o)
	write(t, s.RedisURL(), s.PostgresURL(), "far away")
	target, err := os.Readlink(filepath.Join(dir, "postgres"))
	if err != nil || !strings.HasPrefix(target, o.elsewhere) {
		t.Fatalf("the link leads to %q, %v", target, err)
	}
	if !strings.Contains(log.String(), target) {
		t.Errorf("the log does not say where the files are: %s", log.String())
	}
	if strings.Contains(log.String(), s.postgres.record.Password) || strings.Contains(log.String(), s.redis.record.Password) {
		t.Error("the log holds a password")
	}

	// A copy of the data folder brings the link along.
	second := filepath.Join(locked, "copy")
	if err := os.Mkdir(second, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(second, "postgres")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Options{Dir: second, elsewhere: o.elsewhere}); err == nil {
		t.Error("two data folders lead to one database at the same time")
	}

	mustStop(t, s)
	again := mustStart(t, o)
	wantMarks(t, again.RedisURL(), again.PostgresURL(), "far away")
	mustStop(t, again)

	if err := os.RemoveAll(target); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("start without the database's files: %v", err)
	}
}

func TestStackAsUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("every other test runs as a user here")
	}
	nobody := &account{name: "nobody", uid: 65534, gid: 65534}
	parent := openDir(t)
	if err := os.Chown(parent, int(nobody.uid), int(nobody.gid)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "data")
	node := startOther(t, "stack", dir, nobody)
	info, err := ReadInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, info.Redis.URL, info.Postgres.URL, "as a user")
	node.finish()
	if stopped, err := ReadInfo(dir); err != nil || stopped.State != StateStopped {
		t.Errorf("after the stop: %+v, %v", stopped, err)
	}

	// Root continues with the user's data: Postgres runs as their owner.
	s := mustStart(t, Options{Dir: dir})
	wantMarks(t, s.RedisURL(), s.PostgresURL(), "as a user")
}
