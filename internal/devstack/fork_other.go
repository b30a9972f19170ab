//go:build unix && !linux

package devstack

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// startBound starts a command. Only Linux can bind its life to this process;
// elsewhere a server left behind by a killed test is swept by the next run.
func startBound(cmd *exec.Cmd) error { return cmd.Start() }

// runsIn reports whether pid is a live server that was started for dir: without
// /proc, its command line has to name the folder.
func runsIn(pid int, dir string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "state=,command=", "-p", strconv.Itoa(pid)).Output()
	state, command, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return err == nil && !strings.HasPrefix(state, "Z") && strings.Contains(command, dir)
}

// childrenOf lists the direct children of pid.
func childrenOf(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("devstack: list processes: %w", err)
	}
	var children []int
	for line := range strings.Lines(string(out)) {
		var child, parent int
		if _, err := fmt.Sscan(line, &child, &parent); err == nil && parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

// allIn lists the processes that run in dir. Without /proc they cannot be told
// from others; a server that finds remains of its last run waits for their end.
func allIn(string) []int { return nil }
