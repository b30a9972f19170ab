package runstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

var (
	cutSQL       = statement("cut")
	tombstoneSQL = statement("tombstone")
	nowSQL       = statement("now")
)

// Reset ends the interval of an idempotency key's run and leaves a tombstone
// in the slot, so that every later acceptance makes a new run and one that was
// already under way is moved behind the cut. It answers the instant of the cut,
// which lies after cut, after the holder's acceptance and after every
// acceptance merged into it; and the run that lost the key, zero if no live run
// held it. A cut of zero means Postgres's clock.
//
// Keys of other kinds can not be reset: run.ErrConflict. Other errors are
// run.ErrInvalid without an environment or hash, and *run.RefusedError. A reset
// whose reply was lost is not repeated by itself, since the second would clear
// nothing: see [OutcomeUnknown].
func (s *Store) Reset(ctx context.Context, environment string, hash run.Hash, cut run.Instant) (at run.Instant, cleared run.ID, err error) {
	if environment == "" {
		return 0, run.ID{}, missing("environment")
	}
	if hash == (run.Hash{}) {
		return 0, run.ID{}, missing("key hash")
	}
	var done cutDone
	c := s.retry(ctx, s.cold, ifSure, func(ctx context.Context, conn *pgxpool.Conn) error {
		for range maxRounds {
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
				done, err = cutLocked(ctx, tx, environment, hash, cut)
				return err
			})
			switch {
			case errors.Is(err, errRaceLost):
				continue
			case err != nil || done.at != 0 || done.refused != nil:
				return err
			}
		}
		return &cause{verdict: hopeless, text: "the holder of the key kept changing"}
	})
	if c != nil {
		return 0, run.ID{}, outward(c)
	}
	return done.at, done.cleared, done.refused
}

// cutDone is what one transaction of a reset did; nothing, if at is zero.
type cutDone struct {
	at      run.Instant
	cleared run.ID
	refused error
}

func cutLocked(ctx context.Context, tx pgx.Tx, environment string, hash run.Hash, cut run.Instant) (done cutDone, err error) {
	locked, err := lock(ctx, tx, []string{environment}, [][]byte{hash[:]})
	if err != nil {
		return cutDone{}, err
	}
	if cut == 0 {
		if err := tx.QueryRow(ctx, nowSQL).Scan(&cut); err != nil {
			return cutDone{}, err
		}
	}
	l, found := locked[slotName{environment, hash}]
	if found {
		row := &l.row
		if kind := value(row.keyKind); kind != string(rune(run.KindIdempotency)) {
			return cutDone{refused: fmt.Errorf("runstore: reset: a key of kind %q can not be reset: %w", kind, run.ErrConflict)}, nil
		}
		if !mutant.On("cut-below-what-merged") {
			cut = max(cut, run.Instant(value(row.acceptedAt))+1, run.Instant(value(row.last))+1)
		}
		if row.liveAt(cut) {
			h, err := row.holder(run.ID{})
			if err != nil {
				return cutDone{}, err
			}
			done.cleared = h.Canonical
		}
		if _, err := tx.Exec(ctx, cutSQL, environment, *row.id, hash[:], cut); err != nil {
			return cutDone{}, err
		}
	}
	if mutant.On("no-tombstone") {
		return cutDone{at: cut, cleared: done.cleared}, nil
	}
	tag, err := tx.Exec(ctx, tombstoneSQL, environment, hash[:], cut)
	if err != nil {
		return cutDone{}, err
	}
	if tag.RowsAffected() == 0 && found {
		return cutDone{}, errRaceLost // never leave a slot empty
	}
	if tag.RowsAffected() == 0 {
		// Somebody settled the key's first run since we looked: nothing was
		// changed yet, and the next look finds it.
		return cutDone{}, nil
	}
	done.at = cut
	return done, nil
}
