package tenant

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"
)

const (
	keyRandomLen = 24 // characters of 62: 142 bits
	idRandomLen  = 20 // characters of 32: 100 bits
	hintLen      = 4
)

// Kind says what a key may do beyond opening its environment.
type Kind string

// The kinds of keys.
const (
	// Root: the environment's own key; clients also sign public tokens with it.
	Root Kind = "root"
	// Additional: opens the environment, signs nothing, and is not kept sealed.
	Additional Kind = "additional"
)

// keyHash is how a key is known in Postgres and in memory. A plain SHA-256 is
// enough because keys are random, not chosen by people.
type keyHash [sha256.Size]byte

func hashKey(key string) keyHash { return sha256.Sum256([]byte(key)) }

// mintRootKey makes "tr_<type>_" and 24 random characters of [0-9A-Za-z]. An
// additional key has "sk_" in between, so the two forms never meet: clients tell
// by it that they can sign nothing themselves.
func mintRootKey(t Type) Secret {
	return NewSecret("tr_" + string(t) + "_" + randomAlphanumerics(keyRandomLen))
}

func mintAdditionalKey(t Type) Secret {
	return NewSecret("tr_" + string(t) + "_sk_" + randomAlphanumerics(keyRandomLen))
}

func randomAlphanumerics(n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const fair = 256 - 256%len(alphabet) // bytes from here on would favour the first characters
	out := make([]byte, 0, n)
	var draw [2 * keyRandomLen]byte
	for {
		_, _ = rand.Read(draw[:]) // never fails (Go 1.24 and later abort the program instead)
		for _, b := range draw {
			if len(out) == n {
				return string(out)
			}
			if int(b) < fair {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
}

func mintID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:idRandomLen]) }

// hint is what of a key may be shown, for a person to tell keys apart.
func hint(key Secret) string {
	text := key.Reveal()
	return text[max(0, len(text)-hintLen):]
}
