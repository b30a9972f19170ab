//go:build unix

package devstack

import (
	"context"
	"path/filepath"
)

// KillRemains kills whatever still runs in the folder of a private server whose
// keeper is gone, and returns when it has ended or ctx ends. It is for folders
// that are about to be removed.
func KillRemains(ctx context.Context, dir string) error {
	dir, err := resolve(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{"redis.pid", "postmaster.pid"} {
		if p := adopt(readPid(filepath.Join(dir, name)), dir); p != nil {
			if err := kill(p); err != nil {
				return err
			}
		}
	}
	return killRemains(ctx, dir)
}
