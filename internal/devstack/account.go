//go:build unix

package devstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the unprivileged user that Postgres runs as when we are root:
// Postgres refuses to run as root.
type account struct {
	name     string
	uid, gid uint32
}

func (a *account) credential() *syscall.Credential {
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// postgresAccount is nil when this process is unprivileged itself. A database
// that exists belongs to the user that made it, and runs as that user again.
func postgresAccount(dir string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if st, err := os.Stat(dir); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
			name := strconv.FormatUint(uint64(sys.Uid), 10)
			if u, err := user.LookupId(name); err == nil {
				name = u.Username
			}
			return &account{name: name, uid: sys.Uid, gid: sys.Gid}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr != nil || gidErr != nil || uid == 0 {
			continue
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("devstack: Postgres does not run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// elsewhere is where Postgres's files go when root's data folder cannot be
// reached by the account.
const elsewhere = "/var/lib/mollifier"

// placePostgres returns the real folder for Postgres's files, its parent made
// and passable for the account. Normally that is link itself; below a folder
// that the account may not pass, such as /root, it is a folder under base, named
// after the data folder, and link becomes a symlink to it.
func placePostgres(ctx context.Context, link, base, program string, as *account) (dir string, moved bool, err error) {
	target, err := os.Readlink(link)
	switch {
	case err == nil:
		if _, err := os.Stat(target); err != nil {
			return "", false, fmt.Errorf("devstack: %s points to Postgres's files, which are gone (%w): put them back, or remove the link to begin with an empty database", link, err)
		}
		return target, true, nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EINVAL):
		return "", false, err
	}
	if as == nil || canEnter(ctx, filepath.Dir(link), program, as) {
		return link, false, nil
	}
	if _, err := os.Lstat(link); err == nil {
		return "", false, fmt.Errorf("devstack: the user %s may not reach %s any more: let others pass the folders above it (chmod o+x)", as.name, link)
	}
	sum := sha256.Sum256([]byte(filepath.Dir(link)))
	parent := filepath.Join(base, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return "", false, err
	}
	// Once more by name: MkdirAll is subject to the umask.
	for _, d := range []string{base, parent} {
		if err := os.Chmod(d, 0o711); err != nil {
			return "", false, err
		}
	}
	if !canEnter(ctx, parent, program, as) {
		return "", false, fmt.Errorf("devstack: the user %s can reach neither %s nor %s", as.name, filepath.Dir(link), parent)
	}
	dir = filepath.Join(parent, "postgres")
	if err := os.Symlink(dir, link); err != nil {
		return "", false, err
	}
	return dir, true, nil
}

// canEnter asks the system instead of reading mode bits, which are not the whole
// truth: it runs a program as the account with dir as its working folder.
func canEnter(ctx context.Context, dir, program string, as *account) bool {
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as.credential()}
	return cmd.Run() == nil
}
