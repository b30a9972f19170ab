package packet

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"
)

const (
	temporaryPrefix = ".upload-"
	temporaryLife   = time.Hour // longer than any upload takes
)

func temporaryName() string { return temporaryPrefix + rand.Text() }

// Sweep removes what uploads left that never ended, and the packets that are older
// than they are to be kept; and counts anew what each environment keeps. It should
// be called now and then. It returns how many packets were removed.
func (d *Disk) Sweep(ctx context.Context) (removed int, err error) {
	now := d.cfg.Now()
	found := map[string]int64{}
	d.usage.begin()
	err = fs.WalkDir(d.root.FS(), ".", func(at string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was renamed or removed meanwhile
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		age, temporary := now.Sub(info.ModTime()), strings.HasPrefix(path.Base(at), temporaryPrefix)
		switch {
		case temporary && age < temporaryLife:
			return nil // counted by whoever writes it
		case temporary, d.cfg.Keep > 0 && age >= d.cfg.Keep:
			if err := d.root.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if !temporary {
				removed++
			}
			return nil
		}
		environment, _, _ := strings.Cut(at, "/")
		found[environment] += info.Size()
		return nil
	})
	if err != nil {
		return removed, bare(err)
	}
	d.usage.end(found)
	return removed, nil
}

// usage counts the bytes of each environment. A count while packets come and go may
// be too high by what came during it, never too low; the next one corrects it.
type usage struct {
	most  int64
	mu    sync.Mutex // guards all below
	bytes map[string]int64
	since map[string]int64 // what has come since the count began
}

func (u *usage) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.since = map[string]int64{}
}

func (u *usage) end(found map[string]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for environment, n := range u.since {
		found[environment] += max(0, n)
	}
	u.bytes, u.since = found, nil
}

func (u *usage) full(environment string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes[environment] >= u.most
}

func (u *usage) take(environment string, n int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bytes[environment]+n > u.most {
		return false
	}
	u.addLocked(environment, n)
	return true
}

func (u *usage) give(environment string, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.addLocked(environment, -n)
}

func (u *usage) addLocked(environment string, n int64) {
	u.bytes[environment] += n
	if u.since != nil {
		u.since[environment] += n
	}
}
