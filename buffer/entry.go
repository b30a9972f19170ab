package buffer

import (
	"context"
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
}

// Patched is what the run has become.
func (e *Entry) Patched() run.Patched { return e.Snapshot.Apply(e.Patches...) }

// nonceLen is how many bytes in front of a stored patch name its writing.
const nonceLen = 16

// parseEntry reads the fields of an entry. It is total.
func parseEntry(v any, now run.Instant) (Entry, error) {
	flat, ok := v.([]any)
	if !ok || len(flat)%2 != 0 {
		return Entry{}, errUnreadable
	}
	f := make(map[string]string, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		name, ok1 := flat[i].(string)
		value, ok2 := flat[i+1].(string)
		if !ok1 || !ok2 {
			return Entry{}, errUnreadable
		}
		f[name] = value
	}
	if f["v"] != "1" || len(f["st"]) != 1 {
		return Entry{}, errUnreadable
	}
	e := Entry{Status: Status(f["st"][0]), Now: now}
	if e.Status.String() == "no status" {
		return Entry{}, errUnreadable
	}
	snap, err := run.DecodeSnapshot([]byte(f["s"]))
	if err != nil {
		return Entry{}, fmt.Errorf("buffer: entry: %w", err)
	}
	e.Snapshot = snap
	if e.Snapshot.AcceptedAt, ok = redisdb.ParseInstant(f["acc"]); !ok {
		return Entry{}, errUnreadable
	}
	if until, keyed := f["until"]; keyed {
		if e.Snapshot.KeyUntil, ok = redisdb.ParseInstant(until); !ok {
			return Entry{}, errUnreadable
		}
	}
	for name, number := range map[string]*int64{"ver": &e.Ver, "b": &e.Size} {
		if !count(f[name], number) {
			return Entry{}, errUnreadable
		}
	}
	var attempts, lapsed int64
	if !count(f["n"], &attempts) || !count(f["x"], &lapsed) || e.Ver > int64(len(flat)) {
		return Entry{}, errUnreadable
	}
	e.Attempts, e.Lapsed = int(attempts), int(lapsed)
	for n := int64(1); n <= e.Ver; n++ {
		patch, err := parsePatch(f["p"+strconv.FormatInt(n, 10)], n)
		if err != nil {
			return Entry{}, err
		}
		e.Patches = append(e.Patches, patch)
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
		} else if flat, ok := a.value.([]any); !ok || len(flat) > 0 {
			g.Entry, g.Err = parseEntry(a.value, a.now)
			g.Found = g.Err == nil
		}
	}
	return got
}
