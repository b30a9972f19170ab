package devstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A node's stores are NOT bound to its life: they outlive a node that was killed,
// because other nodes may be using them, and the next start takes them over.
// Servers of a single test are bound to it, because nobody will look for them.
//
// The kernel sends the death signal when the THREAD that forked ends, not the
// process. Go ends a thread when a goroutine exits while locked to it, so a fork
// from an ordinary goroutine may die early for a reason nobody would find. All
// bound forks therefore happen on one thread that is locked and never ends.

type bound struct {
	cmd  *exec.Cmd
	done chan error
}

var boundForks = sync.OnceValue(func() chan<- bound {
	forks := make(chan bound)
	go forkBound(forks)
	return forks
})

func forkBound(forks <-chan bound) {
	runtime.LockOSThread()
	for f := range forks {
		f.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		f.done <- f.cmd.Start()
	}
}

// startBound starts a command that the kernel kills when this process ends.
func startBound(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	boundForks() <- bound{cmd, done}
	return <-done
}

// runsIn reports whether pid is a live process whose working folder is dir. A
// process that has ended but was not collected has none.
func runsIn(pid int, dir string) bool {
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	return err == nil && cwd == dir
}

// childrenOf lists the direct children of pid.
func childrenOf(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state ppid ...: the name may hold spaces and brackets.
		_, rest, ok := cutLast(string(stat), ")")
		fields := strings.Fields(rest)
		if ok && len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// allIn lists every live process whose working folder is dir.
func allIn(dir string) []int {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil // the pattern is constant and correct
	}
	var pids []int
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || cwd != dir {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
