package nemesis

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
)

// A full disk is stood in for by a limit on the size of files: a write past it
// fails as a write to a full disk does, with another number.
var disks = []Nemesis{
	{Class: "N13", Name: "redis-disk-full", What: "Redis can not write its file any more", Run: func(ctx context.Context, f *Field) error {
		pid := f.Redis().PID()
		return f.during(ctx, func() error { return limitFiles(ctx, pid, "1") }, func() error {
			if f.Redis().PID() == pid { // it serves without being able to write
				return errors.Join(limitFiles(ctx, pid, "unlimited"), f.startRedis(ctx))
			}
			return f.startRedis(ctx)
		})
	}},
}

// limitFiles bounds what a running process may write, in bytes of each file.
func limitFiles(ctx context.Context, pid int, most string) error {
	if pid == 0 {
		return nil
	}
	return exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(pid), "--fsize="+most+":unlimited").Run()
}
