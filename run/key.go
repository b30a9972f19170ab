package run

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// keyVersion is the first byte of every encoded key. A new encoding takes a
// new byte, so that hashes of two encodings never meet.
const keyVersion = 1

// Kind says which promise a key makes. It is part of the hashed identity, so
// keys of different kinds never meet whatever their text.
type Kind byte

// The kinds of identity.
const (
	// KindIdempotency is the caller's idempotency key: lives for its TTL
	// (default 30 days), ends early by reset or by a status that clears it.
	KindIdempotency Kind = 'k'
	// KindRequest is the key of one transport request, equal on each of its
	// retries: lives 24 hours, is neither reset nor cleared by a failure.
	KindRequest Kind = 'q'
	// KindBatchItem is one item of a batch, by batch id and index.
	KindBatchItem Kind = 'b'
)

// Key names what may have only one live run: a kind, an environment, a task
// and a text. The zero Key means "no key".
type Key struct {
	Kind        Kind
	Environment string
	Task        string
	Text        string
}

// kindDebounce keeps debounce keys apart from identities: they make no promise.
const kindDebounce Kind = 'd'

// DebounceHash is the hash of the trigger's debounce key within its environment
// and task; the trigger must have one.
func (t *Trigger) DebounceHash() Hash {
	return Key{kindDebounce, t.Environment, t.Task, t.Debounce.Key}.Hash()
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.Kind == 0 }

// Encode appends the injective encoding of k to b: a version byte, the kind,
// and each part behind its length. It is what [Key.Hash] hashes and what the
// partition is drawn from.
func (k Key) Encode(b []byte) []byte {
	b = append(b, keyVersion, byte(k.Kind))
	for _, part := range [...]string{k.Environment, k.Task, k.Text} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// Hash returns the identity of the key, as Redis and Postgres know it.
func (k Key) Hash() Hash {
	var scratch [256]byte
	return sha256.Sum256(k.Encode(scratch[:0]))
}

// Hash is the SHA-256 of an encoded [Key].
type Hash [sha256.Size]byte

// String returns the hash as 43 characters of unpadded base64url: the form in
// Redis keys and logs. It reveals nothing of the key's text.
func (h Hash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// Append appends [Hash.String].
func (h Hash) Append(b []byte) []byte { return base64.RawURLEncoding.AppendEncode(b, h[:]) }

// ParseHash reads what [Hash.String] wrote.
func ParseHash(text string) (h Hash, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(h) {
		return Hash{}, false
	}
	return Hash(b), true
}

// Digest is a 128-bit fingerprint of a payload or of a request key, kept with
// the run so that a repeat can be compared without keeping the text. The zero
// Digest means "none".
type Digest [16]byte

// DigestPayload fingerprints a payload together with its type: the same bytes
// under another type are another payload.
func DigestPayload(payloadType string, payload []byte) Digest {
	var scratch [1024]byte
	b := binary.AppendUvarint(scratch[:0], uint64(len(payloadType)))
	b = append(b, payloadType...)
	if len(b)+len(payload) <= len(scratch) {
		sum := sha256.Sum256(append(b, payload...))
		return Digest(sum[:16])
	}
	h := sha256.New()
	h.Write(b)
	h.Write(payload)
	var sum [sha256.Size]byte
	return Digest(h.Sum(sum[:0])[:16])
}

// DigestRequest fingerprints the transport request key of a trigger, within
// its environment and task; no request key gives the zero Digest.
func DigestRequest(environment, task, requestKey string) Digest {
	if requestKey == "" {
		return Digest{}
	}
	h := Key{KindRequest, environment, task, requestKey}.Hash()
	return Digest(h[:16])
}

// IsZero reports whether there is no fingerprint.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns 22 characters of unpadded base64url, or "-" for none: the
// form in Redis records.
func (d Digest) String() string {
	if d.IsZero() {
		return "-"
	}
	return base64.RawURLEncoding.EncodeToString(d[:])
}

// Append appends [Digest.String].
func (d Digest) Append(b []byte) []byte {
	if d.IsZero() {
		return append(b, '-')
	}
	return base64.RawURLEncoding.AppendEncode(b, d[:])
}

// ParseDigest reads what [Digest.String] wrote.
func ParseDigest(text string) (d Digest, ok bool) {
	if text == "-" {
		return Digest{}, true
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(d) {
		return Digest{}, false
	}
	return Digest(b), true
}
