package tenant

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadOrCreateSecret returns the secret key that the file at path holds, and
// makes the file, mode 0600, when there is none. The file appears complete or
// not at all, so nodes that start together on one folder agree on one key. A
// file that its group or others may read or write is refused: it has to be
// taken for known. The folder must exist. Errors name the file by its base name.
func LoadOrCreateSecret(path string) (Secret, error) {
	key, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createSecret(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return Secret{}, fmt.Errorf("tenant: making secret file %s: %w", filepath.Base(path), bare(err))
	}
	// Read back also what was just made: whoever linked first has decided.
	return readSecret(path)
}

func readSecret(path string) (Secret, error) {
	name := filepath.Base(path)
	// A pipe in its place must not block the start: the mode is looked at first.
	info, err := os.Stat(path)
	if err != nil {
		return Secret{}, fmt.Errorf("tenant: secret file %s: %w", name, bare(err))
	}
	if !info.Mode().IsRegular() {
		return Secret{}, fmt.Errorf("tenant: secret file %s is not a regular file", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, fmt.Errorf("tenant: secret file %s: %w", name, bare(err))
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return Secret{}, fmt.Errorf("tenant: secret file %s: %w", name, bare(err))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Secret{}, fmt.Errorf("tenant: secret file %s has mode %04o: only its owner may have access (chmod 600)", name, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return Secret{}, fmt.Errorf("tenant: secret file %s: %w", name, bare(err))
	}
	key, err := ParseSecretKey(string(text))
	if err != nil {
		return Secret{}, fmt.Errorf("tenant: secret file %s: %w", name, err)
	}
	return key, nil
}

// createSecret writes a whole file beside path and links it into place. The
// link fails with fs.ErrExist when another process was first. File and folder
// are synced: what is sealed with this key outlives the machine's power.
func createSecret(path string) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".secret-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, text := mintSecretKey()
	_, werr := f.WriteString(text + "\n")
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bare drops the paths that errors of package os carry.
func bare(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}
