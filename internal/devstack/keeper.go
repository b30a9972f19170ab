//go:build unix

package devstack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// adoptWithin is how long a server that was left behind may take to answer
	// before it is stopped and started anew.
	adoptWithin = 10 * time.Second
	// killWithin is how long a killed server may take to vanish.
	killWithin = 10 * time.Second
)

// keeper starts, takes over and stops one server; what differs between Redis and
// Postgres is in its functions. Its methods may be called from any goroutine and
// follow one another.
type keeper struct {
	name       string         // in errors
	dir        string         // the working folder, resolved
	logFile    string         // where the server's output goes
	recordFile string         // see record
	pidFile    string         // written by the server; its first line is the pid
	stopSignal syscall.Signal // asks for an orderly, quick end
	user       *account       // nil: as this process
	bound      bool           // dies with this process

	// command is how to start it on the recorded port; it may write the server's
	// configuration file first.
	command func(r record) (program string, args []string, err error)
	// ping returns nil once the server on the recorded port is ours and ready.
	ping func(ctx context.Context, r record) error

	mu     sync.Mutex
	record record
	pinned bool     // this process has given the address out: the port must stay
	proc   *process // nil before the first start and after a stop
}

// record is what has to survive this process for a server to be found again. It
// is written before the server starts and readable by its owner only.
type record struct {
	Port     int      `json:"port"`
	Password string   `json:"password"`
	Settings []string `json:"settings"` // a server that runs with others is restarted
}

// loadRecord reads the record, or makes one with a new password.
func (k *keeper) loadRecord() (known bool, err error) {
	if k.record.Password != "" {
		return true, nil
	}
	text, err := os.ReadFile(k.recordFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.record = record{Password: rand.Text()}
		return false, nil
	case err != nil:
		return false, err
	}
	if err := json.Unmarshal(text, &k.record); err != nil || k.record.Password == "" {
		k.record = record{}
		return false, fmt.Errorf("devstack: %s is damaged: without its password the server's data cannot be opened (%v)", k.recordFile, err)
	}
	return true, nil
}

func (k *keeper) saveRecord() error {
	text, err := json.Marshal(k.record)
	if err != nil {
		return err
	}
	return writeFileAtomic(k.recordFile, text)
}

// start returns once the server answers. A server that runs already, started by
// this process or left behind by another, is taken over if it was started with
// the same settings, and replaced otherwise.
func (k *keeper) start(ctx context.Context, settings []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proc != nil && k.proc.exited() == nil {
		return fmt.Errorf("devstack: %s is already started", k.name)
	}
	k.proc = nil
	if err := k.takeOver(ctx, settings); err != nil {
		return err
	}
	if k.proc != nil {
		k.pinned = true
		return nil
	}
	for {
		err := k.startOnce(ctx, settings)
		switch {
		case err == nil:
			k.pinned = true
			return nil
		case errors.Is(err, errPortTaken) && !k.pinned:
			k.record.Port = 0
		case errors.Is(err, errRemains):
		default:
			return err
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

var (
	errPortTaken = errors.New("its port is taken")
	errRemains   = errors.New("processes of its last run have not ended yet")
)

func (k *keeper) startOnce(ctx context.Context, settings []string) error {
	if !k.pinned {
		port, err := freePort(k.record.Port)
		if err != nil {
			return err
		}
		k.record.Port = port
	}
	k.record.Settings = settings
	if err := k.saveRecord(); err != nil {
		return err
	}
	program, args, err := k.command(k.record)
	if err != nil {
		return err
	}
	log, offset, err := openLog(k.logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	p, err := spawn(spawnConfig{
		program: program, args: args, dir: k.dir, log: log,
		user: k.user, dieWithParent: k.bound,
	})
	if err != nil {
		return fmt.Errorf("devstack: start %s: %w", k.name, err)
	}
	if err := k.waitReady(ctx, p); err != nil {
		said := tail(k.logFile, offset)
		reason := err
		if errors.Is(err, errExited) {
			switch {
			case strings.Contains(said, "Address already in use"), strings.Contains(said, "address already in use"):
				reason = errPortTaken
			case strings.Contains(said, "shared memory block"):
				reason = errRemains
			}
		}
		if stopErr := end(p, k.stopSignal); stopErr != nil {
			reason = errors.Join(reason, stopErr)
		}
		return fmt.Errorf("devstack: %s did not start: %w; the end of %s:\n%s", k.name, reason, k.logFile, said)
	}
	k.proc = p
	return nil
}

// waitReady polls the server until it answers, is gone, or ctx ends.
func (k *keeper) waitReady(ctx context.Context, p *process) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		if gone := p.exited(); gone != nil {
			return false, gone
		}
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		last = k.ping(try, k.record)
		return last == nil, nil
	})
	if err != nil && last != nil && !errors.Is(err, errExited) {
		return fmt.Errorf("%w (last try: %w)", err, last)
	}
	return err
}

// takeOver adopts a server that runs in the folder, or clears away what is left
// of one. It sets k.proc if there is nothing left to start.
func (k *keeper) takeOver(ctx context.Context, settings []string) error {
	pid := readPid(k.pidFile)
	if p := adopt(pid, k.dir); p != nil {
		if err := p.signalTree(syscall.SIGCONT); err != nil {
			return err
		}
		if slices.Equal(k.record.Settings, settings) {
			try, cancel := context.WithTimeout(ctx, adoptWithin)
			err := k.waitReady(try, p)
			cancel()
			if err == nil {
				k.proc = p
				return nil
			}
		}
		if err := end(p, k.stopSignal); err != nil {
			return err
		}
	}
	// Nobody leads here any more. Connections of a killed Postgres may still
	// serve their clients and would keep it from starting.
	if err := killRemains(ctx, k.dir); err != nil {
		return err
	}
	// A pid file that names a process of somebody else, as after a reboot, would
	// make Postgres believe that it runs.
	if pid > 0 && syscall.Kill(pid, 0) == nil && !runsIn(pid, k.dir) {
		if err := os.Remove(k.pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// killRemains kills what runs in a folder that no server leads.
func killRemains(ctx context.Context, dir string) error {
	return poll(ctx, func() (bool, error) {
		pids := allIn(dir)
		for _, pid := range pids {
			if err := ignoreGone(syscall.Kill(pid, syscall.SIGKILL)); err != nil {
				return false, err
			}
		}
		return len(pids) == 0, nil
	})
}

// end stops a process in an orderly way, and by force if that takes too long.
func end(p *process, orderly syscall.Signal) error {
	if err := p.signal(orderly); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	if p.waitExit(ctx) == nil {
		return nil
	}
	return kill(p)
}

func kill(p *process) error {
	if err := p.signalTree(syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	return p.waitExit(ctx)
}

// stop asks the server to end and waits for it. If ctx ends first the server is
// killed and ctx's error returned: no server outlives a stop.
func (k *keeper) stop(ctx context.Context) error {
	return k.with(func(p *process) error {
		if err := p.signalTree(syscall.SIGCONT); err != nil {
			return err
		}
		if err := p.signal(k.stopSignal); err != nil {
			return err
		}
		if err := p.waitExit(ctx); err != nil {
			return errors.Join(fmt.Errorf("devstack: %s did not stop in time and was killed: %w", k.name, err), kill(p))
		}
		return nil
	}, true)
}

// Kill ends the server and all its connections at once, as a crash would, and
// returns when it is gone. It is no error if the server is not running.
func (k *keeper) Kill() error { return k.with(kill, true) }

// Pause freezes the server with all its connections (SIGSTOP): they stay open
// and nothing is answered, as on a machine that hangs. Stop, Kill and Resume
// work on a paused server.
func (k *keeper) Pause() error {
	return k.with(func(p *process) error { return p.signalTree(syscall.SIGSTOP) }, false)
}

// Resume ends a Pause.
func (k *keeper) Resume() error {
	return k.with(func(p *process) error { return p.signalTree(syscall.SIGCONT) }, false)
}

// PID is the server's process id, or zero while it is not running.
func (k *keeper) PID() int {
	pid := 0
	// The function cannot fail.
	_ = k.with(func(p *process) error {
		if p.exited() == nil {
			pid = p.pid
		}
		return nil
	}, false)
	return pid
}

// Adopted reports whether the running server was found running by the last
// Start rather than started by it.
func (k *keeper) Adopted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.proc != nil && !k.proc.child
}

// Addr is the server's loopback address, host:port. It stays the same over
// stops and starts; before the first start the port is zero.
func (k *keeper) Addr() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return addr(k.record)
}

func addr(r record) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port))
}

// with runs f on the server's process if there is one, and forgets the process
// afterwards if f ended it.
func (k *keeper) with(f func(*process) error, ends bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proc == nil {
		return nil
	}
	err := f(k.proc)
	if ends && err == nil || k.proc.exited() != nil && ends {
		k.proc = nil
	}
	return err
}

// readPid returns the number in a file's first line, or zero.
func readPid(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0
	}
	return pid
}

// writeFileAtomic replaces a file, mode 0600, such that readers see the old or
// the new content and a crash leaves one of them.
func writeFileAtomic(file string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
