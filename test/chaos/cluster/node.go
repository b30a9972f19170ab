package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/mollifiertest/link"
)

// readyWithin is how long a node may take to serve, on a busy machine.
const readyWithin = time.Minute

// Node is one process of the program under test, with a link of its own to each
// store. Its methods are safe for concurrent use, one of them at a time.
type Node struct {
	Name     string
	Drains   bool
	Redis    *link.Link
	Postgres *link.Link

	program string
	args    []string
	env     []string
	dir     string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	info   devstack.Info
}

// Start runs the process and returns when it serves.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("%s runs already", n.Name)
	}
	log, err := os.OpenFile(n.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(n.program, n.args...)
	cmd.Env = append(os.Environ(), n.env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C reaches only who watches.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		info, err := devstack.ReadInfo(n.dir)
		if err == nil && info.State == devstack.StateRunning && info.PID == cmd.Process.Pid && info.HTTP != "" {
			n.cmd, n.exited, n.info = cmd, exited, info
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("%s ended at its start (%v); see %s.log", n.Name, cmd.ProcessState, n.dir)
		case <-ctx.Done():
			_ = cmd.Process.Kill() // it may have ended by itself
			<-exited
			return fmt.Errorf("%s did not start: %w", n.Name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Drain says whether a node that drains does so from its next start on.
func (n *Node) Drain(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, arg := range n.args {
		if strings.HasPrefix(arg, "-drain=") {
			n.args[i] = fmt.Sprintf("-drain=%t", on && n.Drains)
		}
	}
}

// Use says which program a node that is down is from its next start on.
func (n *Node) Use(program string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.program = program
}

// Info says where the node listens, and with which keys it is spoken to. It
// stays as it was while the node is down.
func (n *Node) Info() devstack.Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.info
}

// Kill ends the process at once.
func (n *Node) Kill() error { return n.end(syscall.SIGKILL, readyWithin) }

// ErrExit is a node that did not end by itself and in order when it was asked to.
var ErrExit = errors.New("did not end in order")

// Stop ends the process as an operator does, and reports if it does not obey.
func (n *Node) Stop(within time.Duration) error { return n.end(syscall.SIGTERM, within) }

func (n *Node) end(s syscall.Signal, within time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var late error
	select {
	case <-n.exited:
	case <-time.After(within):
		late = fmt.Errorf("%s %w within %s", n.Name, ErrExit, within)
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
	state := n.cmd.ProcessState
	n.cmd = nil
	if late == nil && s == syscall.SIGTERM && !state.Success() {
		late = fmt.Errorf("%s %w: %v", n.Name, ErrExit, state)
	}
	return late
}

// Gone reports a node that ended although nobody asked it to.
func (n *Node) Gone() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil
	}
	select {
	case <-n.exited:
		return fmt.Errorf("%s ended by itself: %v", n.Name, n.cmd.ProcessState)
	default:
		return nil
	}
}

// Running reports whether the process was started and not ended.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// Pause freezes the process; Resume lets it go on.
func (n *Node) Pause() error { return n.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() error { return n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// kept is how many runs the node keeps because only Redis has them.
func (n *Node) kept(ctx context.Context) (int64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Info().Admin+"/admin/v1/stats", http.NoBody)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var stats struct {
		Ring struct{ Entries int64 }
	}
	err = json.NewDecoder(answer.Body).Decode(&stats)
	return stats.Ring.Entries, err
}

// Log is the file with everything that the node printed.
func (n *Node) Log() string { return filepath.Clean(n.dir + ".log") }
