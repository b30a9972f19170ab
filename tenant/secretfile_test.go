//go:build unix

package tenant_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/e0ff5a15/mollifier/tenant"
)

func TestNodesThatStartTogetherAgreeOnOneSecret(t *testing.T) {
	t.Parallel()
	for range 20 {
		path := filepath.Join(t.TempDir(), "secret.key")
		var got [8]tenant.Secret
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				var err error
				if got[i], err = tenant.LoadOrCreateSecret(path); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, s := range got {
			if s.Reveal() != got[0].Reveal() || len(s.Reveal()) != tenant.SecretKeyLen {
				t.Fatal("not one key of 32 bytes")
			}
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
	}
}

func TestSecretFileIsRefused(t *testing.T) {
	t.Parallel()
	make0600 := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "secret.key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := strings.Repeat("A", 43) + "=\n"
	if _, err := tenant.LoadOrCreateSecret(make0600(t, good)); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o666} {
		path := make0600(t, good)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := tenant.LoadOrCreateSecret(path)
		if err == nil || !strings.Contains(err.Error(), "secret.key has mode") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, text := range []string{"", "A", good + good, strings.Repeat("!", 43)} {
		path := make0600(t, text)
		_, err := tenant.LoadOrCreateSecret(path)
		if err == nil || !strings.Contains(err.Error(), "base64 of 32 bytes") || strings.Contains(err.Error(), "!!") {
			t.Errorf("%q: %v", text, err)
		}
		if after, _ := os.ReadFile(path); string(after) != text {
			t.Errorf("%q was changed", text)
		}
	}
	if _, err := tenant.LoadOrCreateSecret(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.LoadOrCreateSecret(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
	nowhere := filepath.Join(t.TempDir(), "no", "secret.key")
	_, err := tenant.LoadOrCreateSecret(nowhere)
	if err == nil || strings.Contains(err.Error(), filepath.Dir(nowhere)) {
		t.Errorf("no folder: %v", err)
	}
}
