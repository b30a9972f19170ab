package tenant

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// SecretKeyLen is the length of the secret key, in bytes.
const SecretKeyLen = 32

// ErrSecretKey: Config.SecretKey is not the key that the root keys in Postgres
// were sealed with. Every node of one deployment needs the same secret key.
var ErrSecretKey = errors.New("tenant: Config.SecretKey does not open the stored root keys: every node needs the secret key that they were sealed with")

// ParseSecretKey reads a secret key from its text form: the base64 of 32 bytes
// (standard or URL alphabet, padded or not), as [LoadOrCreateSecret] keeps it.
// White space around it is ignored. The error never holds the text.
func ParseSecretKey(text string) (Secret, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != SecretKeyLen {
		return Secret{}, fmt.Errorf("tenant: the secret key must be the base64 of %d bytes", SecretKeyLen)
	}
	return NewSecret(string(b)), nil
}

func mintSecretKey() (s Secret, text string) {
	b := make([]byte, SecretKeyLen)
	_, _ = rand.Read(b) // never fails (Go 1.24 and later abort the program instead)
	return NewSecret(string(b)), base64.StdEncoding.EncodeToString(b)
}

// sealer seals root keys. What it returns is the nonce followed by the
// ciphertext and its tag; the environment's id is authenticated with it, so a
// row moved to another environment does not open. Safe for concurrent use.
type sealer struct{ aead cipher.AEAD }

func newSealer(key Secret) (*sealer, error) {
	if len(key.Reveal()) != SecretKeyLen {
		return nil, fmt.Errorf("tenant: Config.SecretKey must be %d bytes", SecretKeyLen)
	}
	block, err := aes.NewCipher([]byte(key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("tenant: Config.SecretKey: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("tenant: Config.SecretKey: %w", err)
	}
	return &sealer{aead}, nil
}

func (s *sealer) seal(environment string, key Secret) []byte {
	return s.aead.Seal(nil, nil, []byte(key.Reveal()), []byte(environment))
}

// open returns [ErrSecretKey] for whatever it did not seal itself.
func (s *sealer) open(environment string, sealed []byte) (Secret, error) {
	plain, err := s.aead.Open(nil, nil, sealed, []byte(environment))
	if err != nil {
		return Secret{}, ErrSecretKey
	}
	return NewSecret(string(plain)), nil
}
