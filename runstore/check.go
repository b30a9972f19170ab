package runstore

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	checkSQL = statement("check")
	keysSQL  = statement("keys")
)

// Check asks whether a run still holds a key.
type Check struct {
	Environment string
	Hash        run.Hash
	ID          run.ID
}

// Checked is the answer to one [Check].
type Checked struct {
	Found bool // there is such a run, or an alias of that name
	// Holds: the run sits in the key's slot and was neither reset nor cleared.
	// Whether its interval has ended is for the key's clock to say: see Until.
	Holds bool
	Holder
	// Err is run.ErrInvalid if the question names nothing, else a *run.RefusedError.
	Err error
}

// Check answers every question with one statement on the primary, in order.
// Aliases are followed: the holder's Canonical is what was judged.
func (s *Store) Check(ctx context.Context, checks []Check) []Checked {
	answers := make([]Checked, len(checks))
	var (
		at        []int
		envs, ids []string
		hashes    [][]byte
	)
	for i := range checks {
		q := &checks[i]
		if answers[i].Err = q.validate(); answers[i].Err != nil {
			continue
		}
		at, envs, ids, hashes = append(at, i), append(envs, q.Environment), append(ids, q.ID.String()), append(hashes, q.Hash[:])
	}
	if len(at) == 0 {
		return answers
	}
	type reply struct {
		inSlot bool
		row    holderRow
	}
	var replies []reply
	c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, checkSQL, envs, ids, hashes)
		if err != nil {
			return err
		}
		replies, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r reply, err error) {
			err = row.Scan(append([]any{&r.inSlot}, r.row.targets()...)...)
			return r, err
		})
		if err == nil && len(replies) != len(at) {
			return errRowsLost
		}
		return err
	})
	for n, i := range at {
		if c != nil {
			answers[i].Err = refusal(c)
			continue
		}
		r := &replies[n]
		if !r.row.found() {
			continue
		}
		h, err := r.row.holder(checks[i].ID)
		if err != nil {
			answers[i].Err = refusal(diagnose(err))
			continue
		}
		answers[i] = Checked{Found: true, Holds: r.inSlot && !r.row.ended(), Holder: h}
	}
	return answers
}

func (q *Check) validate() error {
	switch {
	case q.Environment == "":
		return missing("environment")
	case q.ID.IsZero():
		return missing("id")
	case q.Hash == run.Hash{}:
		return missing("key hash")
	}
	return nil
}

// KeyRef names a key.
type KeyRef struct {
	Environment string
	Hash        run.Hash
	// ID of a run to be looked for, too; zero for none.
	ID run.ID
}

// KeyState is who sits in a key's slot.
type KeyState struct {
	Holder
	Known bool // the run of KeyRef.ID has a row
	Found bool // the key has a holder, of whatever kind
	// Live: the holder is a run that was neither reset nor cleared. Whether its
	// interval has ended is for the key's clock to say: see Until.
	Live bool
	// Floor is the earliest acceptance that may follow the holder, apart from
	// Until of a live one; zero if nothing was found.
	Floor run.Instant
}

// Keys reads the slots of keys with one statement on the primary, in order.
// The error is run.ErrInvalid if a key has no environment or hash, else a
// *run.RefusedError. The Holder of a tombstone has status RESET, which is none
// of a run's.
func (s *Store) Keys(ctx context.Context, keys []KeyRef) ([]KeyState, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	envs, hashes, ids := make([]string, len(keys)), make([][]byte, len(keys)), make([]string, len(keys))
	for i := range keys {
		if keys[i].Environment == "" {
			return nil, missing("environment")
		}
		if keys[i].Hash == (run.Hash{}) {
			return nil, missing("key hash")
		}
		envs[i], hashes[i], ids[i] = keys[i].Environment, keys[i].Hash[:], keys[i].ID.String()
	}
	var states []KeyState
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, keysSQL, envs, hashes, ids)
		if err != nil {
			return err
		}
		states, err = pgx.CollectRows(rows, scanKeyState)
		if err == nil && len(states) != len(keys) {
			return errRowsLost
		}
		return err
	})
	if c != nil {
		return nil, refusal(c)
	}
	return states, nil
}

func scanKeyState(row pgx.CollectableRow) (KeyState, error) {
	var (
		h     holderRow
		known bool
	)
	if err := row.Scan(append([]any{&known}, h.targets()...)...); err != nil {
		return KeyState{}, err
	}
	if !h.found() {
		return KeyState{Known: known}, nil
	}
	holder, err := h.holder(run.ID{})
	if err != nil {
		return KeyState{}, err
	}
	k := KeyState{Holder: holder, Known: known, Found: true, Live: !h.ended()}
	switch {
	case !k.Live:
		k.Floor = h.floor()
	case h.last != nil:
		k.Floor = run.Instant(*h.last) + 1
	}
	return k, nil
}
