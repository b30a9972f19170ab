package buffer

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Outcome is what a change of a buffered run came to.
type Outcome uint8

// The outcomes. The zero Outcome comes with an error.
const (
	Applied    Outcome = iota + 1 // the change is in the entry, or there was nothing to change
	NotFound                      // no such entry
	InPostgres                    // materialised: Postgres is to be changed
)

// maxTries is how often a change is computed anew because another came first.
// Of n writers at once one succeeds in each round, so the last needs n.
const maxTries = 200

// Patch changes a buffered run. change is called with the entry as it is and
// returns the patch, whose Ver is set here; an empty patch changes nothing. If
// another change came first it is called again, with the entry as it is then;
// an error from it ends Patch and is returned. The entry returned has the patch.
//
// [run.ErrOverloaded] means that the entry holds too many changes, or that
// others came first again and again.
func (s *Store) Patch(ctx context.Context, r Ref, change func(*Entry) (run.Patch, error)) (Entry, Outcome, error) {
	p, ok := s.partition(r.ID)
	if !ok {
		return Entry{}, NotFound, nil
	}
	got := s.Get(ctx, []Ref{r})[0]
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = time.Millisecond, 20*time.Millisecond, 1
	for range maxTries {
		e := got.Entry
		switch {
		case got.Err != nil:
			return Entry{}, 0, got.Err
		case !got.Found:
			return Entry{}, NotFound, nil
		case e.Status == Materialised:
			return e, InPostgres, nil
		}
		patch, err := change(&e)
		if err != nil {
			return e, 0, err
		}
		if patch.Empty() {
			return e, Applied, nil
		}
		var outcome Outcome
		if got, outcome, err = s.write(ctx, p, r, &e, patch, newNonce()); err != nil || outcome != 0 {
			return e, outcome, err
		}
		wait := time.NewTimer(pause.NextBackOff())
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return e, 0, ctx.Err()
		}
	}
	return Entry{}, 0, full()
}

func full() error {
	return &run.RefusedError{Reason: run.ErrOverloaded, Part: "buffer", RetryAfter: time.Second}
}

func newNonce() (n [nonceLen]byte) {
	_, _ = rand.Read(n[:]) // never fails
	return n
}

// write sends one patch as the next version, under a name of this writing. A zero
// Outcome without an error means that another came first, and how the entry is now.
// e takes the patch in if it was applied, and is kept.
func (s *Store) write(ctx context.Context, partition int, r Ref, e *Entry, patch run.Patch, nonce [nonceLen]byte) (Got, Outcome, error) {
	patch.Ver = e.Ver + 1
	stored, err := patch.Append(append(make([]byte, 0, 256), nonce[:]...))
	if err != nil {
		return Got{}, 0, err
	}
	tag := redisdb.EnvTag(r.Environment)
	it := []item{{
		partition: partition,
		keys:      []string{s.names.Entry(partition, tag, r.ID), s.names.Usage(partition)},
		args:      []any{tag, e.Ver, stored, s.cfg.MaxPatches, s.cfg.MaxEntryBytes},
	}}
	a := s.each(ctx, patchScript, nil, it)[0]
	for again := 0; again < 2 && a.err != nil && redisdb.OutcomeUnknown(a.err) && ctx.Err() == nil; again++ {
		a = s.each(ctx, patchScript, nil, it)[0] // its first bytes tell whether it was executed
	}
	if a.err != nil {
		return Got{}, 0, a.err
	}
	if text, ok := a.value.(string); ok && len(text) > 1 {
		now, err := parseEntry(a.value, a.now)
		return Got{Entry: now, Found: err == nil, Err: err}, 0, nil
	}
	switch a.value {
	case "d":
		e.stored.patches = append(slices.Clip(e.stored.patches), string(stored))
		s.keepStored(r, e)
		e.Patches = append(e.Patches[:len(e.Patches):len(e.Patches)], patch)
		e.Ver, e.Size = patch.Ver, e.Size+int64(len(stored))
		return Got{}, Applied, nil
	case "g":
		return Got{}, NotFound, nil
	case "m":
		return Got{}, InPostgres, nil
	case "f":
		return Got{}, 0, full()
	}
	return Got{}, 0, errUnreadable
}
