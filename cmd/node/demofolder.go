package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

const (
	demoFolderName = "mollifier-demo-"
	// demoFolderAge is how old a folder must be to count as left behind: a younger
	// one may belong to a demo that has not locked it yet.
	demoFolderAge = time.Minute
)

func makeDemoFolder() (string, error) {
	folder, err := os.MkdirTemp("", demoFolderName)
	if err != nil {
		return "", err
	}
	if os.Geteuid() == 0 { // Postgres then runs as another user, who has to pass
		err = os.Chmod(folder, 0o711)
	}
	return folder, err
}

func removeDemoFolder(ctx context.Context, folder string) error {
	var errs []error
	for _, store := range []string{"redis", "postgres"} {
		if _, err := os.Stat(filepath.Join(folder, store)); err == nil {
			errs = append(errs, devstack.KillRemains(ctx, filepath.Join(folder, store)))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(folder))...)
}

// clearDemoFolders removes what demos that were killed have left: their folders,
// and the servers that run in them.
func clearDemoFolders(ctx context.Context) error {
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), demoFolderName+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, folder := range folders {
		if !leftBehind(folder) {
			continue
		}
		lock, err := devstack.OpenLock(filepath.Join(folder, "lock"))
		if err != nil {
			continue // somebody else's
		}
		if free, err := lock.TryExclusive(); err == nil && free {
			errs = append(errs, removeDemoFolder(ctx, folder))
		}
		errs = append(errs, lock.Close())
	}
	return errors.Join(errs...)
}

// leftBehind reports whether a folder is ours and no longer new.
func leftBehind(folder string) bool {
	info, err := os.Lstat(folder)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < demoFolderAge {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}
