//go:build unix

package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is one server process: a child of this process, or one that another
// process of ours started and left behind (adopted).
//
// It has no goroutine. A child's exit is collected when somebody asks, so a
// server that is up is invisible to leak checks, and a pid is never signalled
// after it could belong to somebody else: a child's pid stays reserved until it
// is collected here, and an adopted pid is checked against its folder first.
type process struct {
	dir string // the server's working folder, by which a pid is known as ours

	mu    sync.Mutex
	pid   int
	child bool
	exit  error // why it is gone; nil while it runs
}

var errExited = errors.New("exited")

// spawnConfig is what a server is started with.
type spawnConfig struct {
	program       string
	args          []string
	dir           string // working folder, after the change of user
	log           *os.File
	user          *account // nil: as this process
	dieWithParent bool
}

// spawn starts a server in a session of its own, so that Ctrl-C in the terminal,
// and a terminal that closes, reach the node only: the node drains first and
// stops its stores last.
func spawn(c spawnConfig) (*process, error) {
	cmd := exec.Command(c.program, c.args...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.Env = serverEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.user != nil {
		cmd.SysProcAttr.Credential = c.user.credential()
	}
	start := cmd.Start
	if c.dieWithParent {
		start = func() error { return startBound(cmd) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	// The handle is given up, not the child: wait4 below collects it.
	if err := cmd.Process.Release(); err != nil {
		return nil, err
	}
	return &process{dir: c.dir, pid: pid, child: true}, nil
}

// serverEnv is the environment of servers: what programs need to run, and none
// of the node's own variables, some of which are secrets.
func serverEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// adopt takes over a server that already runs in dir, or returns nil.
func adopt(pid int, dir string) *process {
	if pid <= 1 || !runsIn(pid, dir) {
		return nil
	}
	return &process{dir: dir, pid: pid}
}

// exited reports why the process is gone, or nil while it lives.
func (p *process) exited() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exitedLocked()
}

func (p *process) exitedLocked() error {
	if p.exit != nil {
		return p.exit
	}
	if !p.child {
		if !runsIn(p.pid, p.dir) {
			p.exit = errExited
		}
		return p.exit
	}
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // ECHILD: collected elsewhere, as under SIGCHLD ignored
			p.exit = errExited
		case pid == p.pid && status.Signaled():
			p.exit = fmt.Errorf("%w on signal %d (%v)", errExited, int(status.Signal()), status.Signal())
		case pid == p.pid:
			p.exit = fmt.Errorf("%w with status %d", errExited, status.ExitStatus())
		}
		return p.exit
	}
}

// signal sends sig to the process itself. A process that is gone is no error.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exitedLocked() != nil {
		return nil
	}
	return ignoreGone(syscall.Kill(p.pid, sig))
}

// signalTree sends sig to the process and then to its children: Postgres serves
// each connection in a process of its own, so stopping only the first would
// leave every open connection served. The parent goes first so that it starts
// no more of them.
func (p *process) signalTree(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exitedLocked() != nil {
		return nil
	}
	before, err := childrenOf(p.pid)
	if err != nil {
		return err
	}
	if err := ignoreGone(syscall.Kill(p.pid, sig)); err != nil {
		return err
	}
	// A child forked between the listing and the signal; after a kill the parent
	// is gone and its last children are found among those listed before only.
	after, err := childrenOf(p.pid)
	if err != nil {
		return err
	}
	sent := make(map[int]bool, len(before))
	for _, child := range append(before, after...) {
		if sent[child] {
			continue
		}
		sent[child] = true
		if err := ignoreGone(syscall.Kill(child, sig)); err != nil {
			return err
		}
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// waitExit returns nil once the process is gone, or ctx's error.
func (p *process) waitExit(ctx context.Context) error {
	return poll(ctx, func() (bool, error) { return p.exited() != nil, nil })
}

// poll calls done, with pauses that grow from 2 to 100 milliseconds, until it
// reports true or an error, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	pause := 2 * time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, 100*time.Millisecond)
		timer.Reset(pause)
	}
}

// maxLog is the size, in bytes, from which a server's log is put aside (one
// generation is kept) when the server starts next.
const maxLog = 8 << 20

// openLog opens a log for appending and returns its present length, where the
// output of the coming start begins.
func openLog(file string) (*os.File, int64, error) {
	if st, err := os.Stat(file); err == nil && st.Size() > maxLog {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// maxTail is how many bytes of a log an error carries.
const maxTail = 2048

// tail is the end of what a server wrote to its log since offset.
func tail(file string, offset int64) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size()-offset > maxTail {
		offset = st.Size() - maxTail
	}
	text, err := io.ReadAll(io.NewSectionReader(f, offset, maxTail))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text))
}
