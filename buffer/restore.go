package buffer

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Stand is how an entry stands to what a node keeps of it.
type Stand uint8

// The stands. The zero Stand comes with an error.
const (
	Gone    Stand = iota + 1 // Redis does not have it: it left, or was lost
	Waiting                  // it is there, with all that is kept
	Landed                   // as Waiting, and materialised: all that is kept is in Postgres
	Lacking                  // it is there, without the last patch that is kept
)

// Standing answers one [Kept].
type Standing struct {
	Stand Stand
	Err   error
}

// Standing compares entries with what is kept of them, in one round trip, and
// answers each in its place.
func (s *Store) Standing(ctx context.Context, kept []Kept) []Standing {
	out := make([]Standing, len(kept))
	items, at := make([]item, 0, len(kept)), make([]int, 0, len(kept))
	for i := range kept {
		k := &kept[i]
		p, ok := s.partition(k.ID)
		if !ok {
			out[i].Stand = Gone
			continue
		}
		name := ""
		if n := len(k.Patches); n > 0 {
			name = k.Patches[n-1][:nonceLen]
		}
		items = append(items, item{
			partition: p, keys: []string{s.names.Entry(p, redisdb.EnvTag(k.Environment), k.ID)}, args: []any{k.Ver(), name},
		})
		at = append(at, i)
	}
	stands := map[any]Stand{"g": Gone, "a": Waiting, "m": Landed, "x": Lacking}
	for j, a := range s.each(ctx, standsScript, nil, items) {
		o := &out[at[j]]
		if o.Err = a.err; a.err == nil {
			if o.Stand = stands[a.value]; o.Stand == 0 {
				o.Err = errUnreadable
			}
		}
	}
	return out
}

// Restored answers one [Kept] that was to be restored.
type Restored struct {
	Run     bool // the whole entry was written again
	Patches int  // that were written again in an entry that was there
	Anew    bool // the patches are there among others, and all of it was kept anew: see [Keeper]
	Err     error
}

// Restore writes again what Redis has lost of entries, and answers each in its
// place: the entry and its place in the queue, never the record of its key. What is
// there stays. It is for entries that are not in Postgres, or not with all their
// patches. Where the lost patches met others, what came of it is kept anew.
func (s *Store) Restore(ctx context.Context, kept []Kept) []Restored {
	out := make([]Restored, len(kept))
	items, at := make([]item, 0, len(kept)), make([]int, 0, len(kept))
	for i := range kept {
		k := &kept[i]
		p, ok := s.partition(k.ID)
		if !ok {
			continue
		}
		tag, hash := redisdb.EnvTag(k.Environment), ""
		if k.Hash != (run.Hash{}) {
			hash = k.Hash.String()
		}
		args := []any{
			k.ID.String(), tag, appendTenant(nil, k.Organisation, k.Environment), k.Snapshot,
			int64(k.AcceptedAt), int64(k.Until), hash, len(k.Patches), framed(k.Patches),
		}
		items = append(items, item{partition: p, keys: []string{
			s.names.Entry(p, tag, k.ID), s.names.Queue(p, tag), s.names.Index(p, tag), s.names.Usage(p), s.names.Envs(p),
		}, args: args})
		at = append(at, i)
	}
	for j, a := range s.each(ctx, restoreScript, nil, items) {
		k, o := &kept[at[j]], &out[at[j]]
		switch {
		case a.err != nil:
			o.Err = a.err
		case a.value == "n":
			o.Run, o.Patches = true, len(k.Patches)
		case a.value == "a":
		case a.value == "c":
			*o = s.rejoin(ctx, k)
		default:
			text, _ := a.value.(string)
			n, ok := strings.CutPrefix(text, "p")
			if o.Patches, _ = strconv.Atoi(n); !ok {
				*o = Restored{Err: errUnreadable}
			}
		}
	}
	return out
}

// framed are patches as an entry holds them.
func framed(patches []string) (b []byte) {
	for _, p := range patches {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

// rejoin brings kept patches into an entry that was changed otherwise after they
// were lost. They are added as new versions, under the names that they had, so that
// a second rejoin finds them; and then what the entry had of its own is repeated:
// it came later, and its versions may be ones that Postgres takes for those lost.
func (s *Store) rejoin(ctx context.Context, k *Kept) (r Restored) {
	p, _ := s.partition(k.ID)
	mine := make(map[string]bool, len(k.Patches))
	for _, text := range k.Patches {
		mine[text[:nonceLen]] = true
	}
	for range maxTries {
		got := s.Get(ctx, []Ref{k.Ref})[0]
		if r.Err = got.Err; r.Err != nil || !got.Found || got.Entry.Status == Materialised {
			return r // the next look tells what became of it
		}
		e := &got.Entry
		have, theirs := map[string]bool{}, []string(nil)
		for _, text := range e.stored.patches {
			have[text[:nonceLen]] = true
			if !mine[text[:nonceLen]] {
				theirs = append(theirs, text)
			}
		}
		var missing []string
		for _, text := range k.Patches {
			if !have[text[:nonceLen]] {
				missing = append(missing, text)
			}
		}
		if len(missing) == 0 {
			s.keepStored(k.Ref, e)
			r.Anew = s.cfg.Keeper != nil
			return r
		}
		if r.Err = s.append(ctx, p, k.Ref, e, missing, theirs, &r.Patches); r.Err != nil {
			return r
		}
	}
	r.Err = full()
	return r
}

// append writes lost patches under their names and others once more under new
// names, as long as nobody else changes the entry.
func (s *Store) append(ctx context.Context, p int, r Ref, e *Entry, lost, again []string, added *int) error {
	for i, text := range append(lost[:len(lost):len(lost)], again...) {
		patch, err := run.DecodePatch([]byte(text[nonceLen:]))
		if err != nil {
			return err
		}
		nonce := newNonce()
		if i < len(lost) {
			nonce = [nonceLen]byte([]byte(text[:nonceLen]))
		}
		_, outcome, err := s.write(ctx, p, r, e, patch, nonce)
		if err != nil || outcome != Applied {
			return err
		}
		if i < len(lost) {
			*added++
		}
	}
	return nil
}
