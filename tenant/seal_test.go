package tenant

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func newTestSealer(t *testing.T) *sealer {
	t.Helper()
	key, _ := mintSecretKey()
	s, err := newSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedBytesDifferAndOpen(t *testing.T) {
	t.Parallel()
	s := newTestSealer(t)
	key := mintRootKey(Prod)
	seen := map[string]bool{}
	for range 100 {
		sealed := s.seal("env_a", key)
		if seen[string(sealed)] {
			t.Fatal("the same bytes twice")
		}
		seen[string(sealed)] = true
		if bytes.Contains(sealed, []byte(key.Reveal())) {
			t.Fatal("sealed bytes hold the key")
		}
		got, err := s.open("env_a", sealed)
		if err != nil || got.Reveal() != key.Reveal() {
			t.Fatalf("open: %v", err)
		}
	}
}

func TestSealedBytesOpenNowhereElse(t *testing.T) {
	t.Parallel()
	s := newTestSealer(t)
	sealed := s.seal("env_a", mintRootKey(Dev))
	if _, err := s.open("env_b", sealed); !errors.Is(err, ErrSecretKey) {
		t.Errorf("another environment: %v", err)
	}
	if _, err := newTestSealer(t).open("env_a", sealed); !errors.Is(err, ErrSecretKey) {
		t.Errorf("another secret key: %v", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := s.open("env_a", changed); !errors.Is(err, ErrSecretKey) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for n := range len(sealed) {
		if _, err := s.open("env_a", sealed[:n]); !errors.Is(err, ErrSecretKey) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestSecretKeyOfWrongLengthNamesTheSetting(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33} {
		_, err := NewAdmin(Config{URL: "postgres://localhost/x", SecretKey: NewSecret(strings.Repeat("k", n))})
		if err == nil || !strings.Contains(err.Error(), "Config.SecretKey") || strings.Contains(err.Error(), "kkk") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzParseSecretKey(f *testing.F) {
	_, text := mintSecretKey()
	for _, s := range []string{text, strings.TrimRight(text, "="), " " + text + "\n", "", "=", text + text, strings.Repeat("_-", 21) + "8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseSecretKey(text)
		if err != nil {
			if !key.IsZero() {
				t.Fatal("a key together with an error")
			}
			return
		}
		if len(key.Reveal()) != SecretKeyLen {
			t.Fatalf("%d bytes", len(key.Reveal()))
		}
		again, err := ParseSecretKey(base64.URLEncoding.EncodeToString([]byte(key.Reveal())))
		if err != nil || again.Reveal() != key.Reveal() {
			t.Fatalf("its own form is not read back: %v", err)
		}
	})
}
