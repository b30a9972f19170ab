package buffer

import (
	"slices"

	"github.com/e0ff5a15/mollifier/run"
)

// Keeper is told of every entry that this node acknowledges, before it does: a run
// that was accepted, and a run with a change that was taken. Keep must return at
// once, may be called by many goroutines, and may keep all that it is given.
type Keeper interface{ Keep(k Kept) }

// Kept is an entry as a node knew it, in the form in which it is stored: enough to
// write it again.
type Kept struct {
	Ref
	Organisation string
	Snapshot     string
	AcceptedAt   run.Instant
	Until        run.Instant // 0 without a key
	Hash         run.Hash    // zero without a key
	Patches      []string    // of versions 1 to len(Patches)
}

// Ver is the last version of the entry that is kept.
func (k *Kept) Ver() int64 { return int64(len(k.Patches)) }

// Size is the bytes of the snapshot and the patches.
func (k *Kept) Size() int {
	n := len(k.Snapshot)
	for _, p := range k.Patches {
		n += len(p)
	}
	return n
}

// keepAccepted keeps a run that was accepted, now or by an earlier call.
func (s *Store) keepAccepted(a *Acceptance, body []byte, got *Accepted) {
	if s.cfg.Keeper == nil || got.Err != nil || got.State != AcceptedNew && got.State != AlreadyThere {
		return
	}
	k := Kept{
		Ref:          Ref{a.Snapshot.Trigger.Environment, a.Snapshot.ID},
		Organisation: a.Snapshot.Trigger.Organisation,
		Snapshot:     string(body), AcceptedAt: got.AcceptedAt, Until: got.Until,
	}
	if !a.Snapshot.Key.IsZero() {
		k.Hash = a.Snapshot.Hash
	}
	s.cfg.Keeper.Keep(k)
}

// keepStored keeps an entry as it was read, or as it is after a write. Who changes a
// run has read the whole of it, so it is kept whole, wherever it was accepted.
func (s *Store) keepStored(r Ref, e *Entry) {
	if s.cfg.Keeper == nil {
		return
	}
	hash, _ := run.ParseHash(e.stored.hash) // without a key there is none
	s.cfg.Keeper.Keep(Kept{
		Ref: r, Organisation: e.Snapshot.Trigger.Organisation,
		Snapshot: e.stored.snapshot, AcceptedAt: e.Snapshot.AcceptedAt, Until: e.Snapshot.KeyUntil, Hash: hash,
		Patches: slices.Clip(e.stored.patches),
	})
}
