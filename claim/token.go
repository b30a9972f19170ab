package claim

import (
	"crypto/rand"
	"encoding/base64"
)

// Token proves who made a claim: 128 bits that nobody can guess. It is made
// once for a claim and used for every repetition of it, for its renewals, and
// for the publish or release that ends it. The zero Token is refused.
type Token [16]byte

// NewToken returns a fresh token from crypto/rand, which never fails.
func NewToken() (t Token) {
	_, _ = rand.Read(t[:])
	return t
}

// IsZero reports whether t proves nothing.
func (t Token) IsZero() bool { return t == Token{} }

// String hides the token: it is a credential, and logs are not the place.
func (t Token) String() string { return "claim token" }

func (t Token) append(b []byte) []byte { return base64.RawURLEncoding.AppendEncode(b, t[:]) }
