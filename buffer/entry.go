package buffer

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Status is where an entry is in its life.
type Status byte

// The statuses. All but Materialised take changes.
const (
	Queued       Status = 'q' // never leased nor settled, and Postgres was asked of its key: nothing can have happened to it
	Returned     Status = 'r' // waits, after a lease or because something is unsure; Postgres is to be asked
	Leased       Status = 'l' // being drained, or held back until a retry
	Materialised Status = 'm' // in Postgres, which is to be asked; readable for [Grace]
)

// String names the status, for logs.
func (s Status) String() string {
	switch s {
	case Queued:
		return "queued"
	case Returned:
		return "returned"
	case Leased:
		return "leased"
	case Materialised:
		return "materialised"
	}
	return "no status"
}

// Entry is a buffered run as it was when it was read. Its byte slices are its
// own.
type Entry struct {
	// Snapshot as it was accepted, with acceptance and interval.
	Snapshot run.Snapshot
	// Patches in the order of their versions, 1 to Ver.
	Patches  []run.Patch
	Ver      int64
	Status   Status
	Attempts int   // counted by drainers
	Lapsed   int   // how often a lease ran out
	Size     int64 // bytes of snapshot and patches
	// Now is Redis's TIME when the entry was read.
	Now run.Instant

	stored stored
}

// stored is what an entry was read from.
type stored struct {
	snapshot string
	hash     string // blank without a key
	patches  []string
}

// Patched is what the run has become.
func (e *Entry) Patched() run.Patched { return e.Snapshot.Apply(e.Patches...) }

// nonceLen is how many bytes in front of a stored patch name its writing.
const nonceLen = 16

// The head of an entry, by the places of its fields; lua/common.lua has the
// same. Instants and counts are decimal digits with leading zeros.
const (
	atStatus    = 1
	atToken     = 2
	atLapsed    = atToken + 22
	atAttempts  = atLapsed + 6
	atAccepted  = atAttempts + 6
	atUntil     = atAccepted + 16
	atVer       = atUntil + 16
	atPatches   = atVer + 5
	atHash      = atPatches + 10
	headSize    = atHash + 43
	frameLen    = 4 // in front of each patch: its length
	entryForm   = '2'
	noHashFirst = ' '
)

// parseEntry reads a whole entry. It is total. Nothing that a caller may change
// shares memory with the text.
func parseEntry(v any, now run.Instant) (Entry, error) {
	text, ok := v.(string)
	if !ok || len(text) < headSize || text[0] != entryForm {
		return Entry{}, errUnreadable
	}
	e := Entry{Status: Status(text[atStatus]), Now: now}
	if e.Status.String() == "no status" {
		return Entry{}, errUnreadable
	}
	var numbers [6]int64
	for i, field := range [...]string{
		text[atLapsed:atAttempts], text[atAttempts:atAccepted], text[atAccepted:atUntil], text[atUntil:atVer],
		text[atVer:atPatches], text[atPatches:atHash],
	} {
		n, err := strconv.ParseUint(field, 10, 53)
		if err != nil {
			return Entry{}, errUnreadable
		}
		numbers[i] = int64(n)
	}
	e.Lapsed, e.Attempts, e.Ver = int(numbers[0]), int(numbers[1]), numbers[4]
	accepted, until, patches := run.Instant(numbers[2]), run.Instant(numbers[3]), numbers[5]
	size := int64(len(text) - headSize)
	if accepted > redisdb.MaxInstant || patches > size || e.Ver > patches/frameLen {
		return Entry{}, errUnreadable
	}
	e.Size = size - e.Ver*frameLen
	end := len(text) - int(patches)
	e.stored = stored{snapshot: text[headSize:end], hash: text[atHash:headSize]}
	snap, err := run.DecodeSnapshot([]byte(e.stored.snapshot))
	if err != nil {
		return Entry{}, fmt.Errorf("buffer: entry: %w", err)
	}
	e.Snapshot = snap
	e.Snapshot.AcceptedAt, e.Snapshot.KeyUntil = accepted, 0
	if text[atHash] != noHashFirst {
		e.Snapshot.KeyUntil = until
	}
	rest := text[end:]
	for n := int64(1); n <= e.Ver; n++ {
		if len(rest) < frameLen {
			return Entry{}, errUnreadable
		}
		length := int(binary.BigEndian.Uint32([]byte(rest[:frameLen])))
		if rest = rest[frameLen:]; len(rest) < length {
			return Entry{}, errUnreadable
		}
		patch, err := parsePatch(rest[:length], n)
		if err != nil {
			return Entry{}, err
		}
		e.Patches, e.stored.patches = append(e.Patches, patch), append(e.stored.patches, rest[:length])
		rest = rest[length:]
	}
	if rest != "" {
		return Entry{}, errUnreadable
	}
	return e, nil
}

// count reads a number that is absent for 0.
func count(text string, n *int64) bool {
	if text == "" {
		return true
	}
	v, err := strconv.ParseUint(text, 10, 53)
	*n = int64(v)
	return err == nil
}

func parsePatch(text string, ver int64) (run.Patch, error) {
	if len(text) < nonceLen {
		return run.Patch{}, errUnreadable
	}
	patch, err := run.DecodePatch([]byte(text[nonceLen:]))
	if err != nil {
		return run.Patch{}, fmt.Errorf("buffer: patch %d of an entry: %w", ver, err)
	}
	if patch.Ver != ver {
		return run.Patch{}, errUnreadable
	}
	return patch, nil
}

// Got is what [Store.Get] found of one run.
type Got struct {
	Entry Entry
	Found bool
	Err   error
}

// Get reads entries in one round trip and answers each in its place. Not to be
// found, without an error, means that Redis does not have it.
func (s *Store) Get(ctx context.Context, refs []Ref) []Got {
	got := make([]Got, len(refs))
	var items []item
	var at []int
	for i, r := range refs {
		p, ok := s.partition(r.ID)
		if !ok {
			continue
		}
		items = append(items, item{partition: p, keys: []string{s.names.Entry(p, redisdb.EnvTag(r.Environment), r.ID)}})
		at = append(at, i)
	}
	for j, a := range s.each(ctx, getScript, nil, items) {
		g := &got[at[j]]
		if a.err != nil {
			g.Err = a.err
		} else if a.value != "" {
			g.Entry, g.Err = parseEntry(a.value, a.now)
			g.Found = g.Err == nil
		}
	}
	return got
}
