package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// adminTokens is the file of who may change a deployment at run time: a line for each,
// a name and a token. It is read anew for each request, which are few: a line that is
// added or taken out counts at once.
type adminTokens struct{ path string }

// make makes the file, mode 0600, with one token if there is none.
func (f adminTokens) make() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		_, err = f.read()
		return err
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "# NAME TOKEN: who may change this deployment through the admin API\nadmin mat_%s\n", strings.ToLower(rand.Text()))
	return errors.Join(err, file.Close())
}

type adminToken struct{ name, token string }

func (f adminTokens) read() (all []adminToken, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the file has mode %04o: it has to be a regular file that only its owner may read (chmod 600)", mode.Perm())
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) != 2 || len(fields[1]) < 16 || len(fields[0]) > 64:
			return nil, fmt.Errorf("line %d is not a name (at most 64 characters) and a token (at least 16)", n+1)
		default:
			all = append(all, adminToken{fields[0], fields[1]})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the file has no token")
	}
	return all, nil
}

// authenticate returns whose token it is. A file that can not be read lets nobody in.
func (f adminTokens) authenticate(bearer string) (name string, ok bool) {
	all, err := f.read()
	if err != nil {
		return "", false
	}
	asked := sha256.Sum256([]byte(bearer))
	for _, t := range all {
		if known := sha256.Sum256([]byte(t.token)); subtle.ConstantTimeCompare(asked[:], known[:]) == 1 {
			name, ok = t.name, true
		}
	}
	return name, ok
}
