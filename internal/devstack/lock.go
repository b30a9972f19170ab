//go:build unix

package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrLocked says that another live process uses the data folder.
var ErrLocked = errors.New("the data folder is in use by another process")

// FileLock is an advisory lock on a file. The kernel drops it when its holder
// ends, however it ends, so a killed process never blocks the next.
type FileLock struct{ f *os.File }

// OpenLock opens the lock file, creating it if need be, without locking it. The
// file is never removed: a removed lock file would let two holders each lock a
// file of their own.
func OpenLock(file string) (*FileLock, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &FileLock{f}, nil
}

// TryExclusive takes the lock alone, also where it was held shared through l
// itself, and reports false if somebody else holds it. A shared hold may be lost
// by a failed try.
func (l *FileLock) TryExclusive() (bool, error) { return l.try(syscall.LOCK_EX) }

// Exclusive waits until the lock is held alone, or ctx ends.
func (l *FileLock) Exclusive(ctx context.Context) error {
	return poll(ctx, l.TryExclusive)
}

// Shared waits until the lock is held together with other sharers, or ctx ends.
func (l *FileLock) Shared(ctx context.Context) error {
	return poll(ctx, func() (bool, error) { return l.try(syscall.LOCK_SH) })
}

func (l *FileLock) try(how int) (bool, error) {
	for {
		err := syscall.Flock(int(l.f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		default:
			return false, fmt.Errorf("devstack: lock %s: %w", l.f.Name(), err)
		}
	}
}

// Close gives the lock up.
func (l *FileLock) Close() error { return l.f.Close() }
