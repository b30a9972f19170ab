package run

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// MaxPartitions is the most partitions a deployment may have: what the two
// partition characters of an [ID] can name.
const MaxPartitions = 1024

const (
	idPrefix   = "run_"
	timeLen    = 10 // characters of a ULID that carry its millisecond
	partLen    = 2
	bodyLen    = ulid.EncodedSize + partLen
	maxIDLen   = 128
	partDigits = "0123456789abcdefghjkmnpqrstvwxyz"
)

// ID names a run, for ever. The zero ID names nothing: [ID.IsZero] reports it
// and every store refuses it. An ID is comparable and safe to copy.
//
// The engine mints ids of the form "run_" + 10 characters of time + 2 of
// partition + 16 of randomness (80 bits), lower-case Crockford base 32, so ids
// sort by the millisecond they were minted in. Ids of another form (imported
// runs) are legal names too; they carry neither time nor partition.
type ID struct{ text string }

// ErrBadID means that a text can not be a run id at all.
var ErrBadID = errors.New("not a run id")

// MintID returns a new id for a run of the given partition, minted at now. It
// panics when the partition is not in [0, MaxPartitions): that is a bug of the
// caller, never an input.
func MintID(now time.Time, partition int) ID {
	if partition < 0 || partition >= MaxPartitions {
		panic(fmt.Sprintf("run: partition %d outside [0, %d)", partition, MaxPartitions))
	}
	// crypto/rand never fails (Go 1.24 and later abort the program instead).
	u := strings.ToLower(ulid.MustNew(ulid.Timestamp(now), rand.Reader).String())
	var b strings.Builder
	b.Grow(len(idPrefix) + bodyLen)
	b.WriteString(idPrefix)
	b.WriteString(u[:timeLen])
	b.WriteByte(partDigits[partition>>5])
	b.WriteByte(partDigits[partition&31])
	b.WriteString(u[timeLen:])
	return ID{b.String()}
}

// FirstID is no later in the order of ids than any that was minted at or after t.
func FirstID(t time.Time) ID {
	if t.Before(time.Unix(0, 0)) {
		t = time.Unix(0, 0)
	}
	u := strings.ToLower(ulid.MustNew(ulid.Timestamp(t), nil).String())
	return ID{idPrefix + u[:timeLen] + strings.Repeat("0", bodyLen-timeLen)}
}

// ParseID accepts any text that may name a run: 1 to 128 characters of
// [A-Za-z0-9_-]. Whether such a run exists, and whether the text decodes to a
// partition, is another question ([ID.Partition]). The error is [ErrBadID].
func ParseID(text string) (ID, error) {
	if text == "" || len(text) > maxIDLen {
		return ID{}, ErrBadID
	}
	for i := range len(text) {
		c := text[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return ID{}, ErrBadID
		}
	}
	return ID{text}, nil
}

// String returns the id as it is written on the wire and in the stores.
func (id ID) String() string { return id.text }

// IsZero reports whether the id names nothing.
func (id ID) IsZero() bool { return id.text == "" }

// Partition returns the partition that the id carries; ok is false for an id
// that this engine did not mint.
func (id ID) Partition() (partition int, ok bool) {
	if !id.minted() {
		return 0, false
	}
	at := len(idPrefix) + timeLen
	hi := strings.IndexByte(partDigits, id.text[at])
	lo := strings.IndexByte(partDigits, id.text[at+1])
	return hi<<5 | lo, true
}

// Time returns the millisecond in which the id was minted; ok is false for an
// id that this engine did not mint.
func (id ID) Time() (t time.Time, ok bool) {
	if !id.minted() {
		return time.Time{}, false
	}
	body := id.text[len(idPrefix):]
	u, err := ulid.ParseStrict(strings.ToUpper(body[:timeLen] + body[timeLen+partLen:]))
	if err != nil {
		return time.Time{}, false
	}
	return ulid.Time(u.Time()), true
}

// minted reports whether MintID may have returned the id: 28 digits, lower
// case, and a time that fits into 48 bits.
func (id ID) minted() bool {
	body, ok := strings.CutPrefix(id.text, idPrefix)
	if !ok || len(body) != bodyLen || body[0] > '7' {
		return false
	}
	for i := range len(body) {
		if strings.IndexByte(partDigits, body[i]) < 0 {
			return false
		}
	}
	return true
}

// MarshalText writes the id; the zero id is an error, so that it can never
// leave the process as an empty string.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, fmt.Errorf("run: %w: empty", ErrBadID)
	}
	return []byte(id.text), nil
}

// UnmarshalText reads an id as [ParseID] does.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}
