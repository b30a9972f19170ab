package runstore

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	debounceLockSQL    = statement("debounce_lock")
	debounceFindSQL    = statement("debounce_find")
	debounceReleaseSQL = statement("debounce_release")
	debounceHoldSQL    = statement("debounce_hold")
	debouncePushSQL    = statement("debounce_push")
	debounceJoinSQL    = statement("debounce_join")
)

// settleDebounced settles one debounced trigger in a transaction of its own; see
// "Debouncing" in the package's text.
func (s *Store) settleDebounced(ctx context.Context, it item) Settled {
	var settled Settled
	c := s.retry(ctx, s.hot, untilDone, func(ctx context.Context, conn *pgxpool.Conn) error {
		for range maxRounds {
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
				settled, err = s.debounce(ctx, tx, it)
				return err
			})
			if !errors.Is(err, errRaceLost) {
				return err
			}
		}
		return &cause{verdict: hopeless, text: "the holder of the key kept changing"}
	})
	if c != nil {
		return Settled{Err: outward(c)}
	}
	return settled
}

// debounce settles the trigger under the lock on its debounce key. errRaceLost
// voids the transaction: somebody else took the slot of the trigger's own key.
func (s *Store) debounce(ctx context.Context, tx pgx.Tx, it item) (Settled, error) {
	hash := it.snapshot.Trigger.DebounceHash()
	if _, err := tx.Exec(ctx, debounceLockSQL, int64(binary.BigEndian.Uint64(hash[:8]))); err != nil {
		return Settled{}, err
	}
	found, err := whatStands(ctx, tx, []item{it})
	if err != nil {
		return Settled{}, err
	}
	mine, at := &found[0].mine, it.acceptance(found[0].now)
	if mine.found() {
		h, err := mine.holder(it.snapshot.ID)
		if err != nil || h.Canonical == it.snapshot.ID {
			return Settled{Outcome: Replayed, Holder: h}, err
		}
		return it.debouncedInto(h.Canonical, at), nil
	}
	outcome := Created
	if found[0].slot.found() {
		// Its own key decides first.
		var held *Settled
		if at, held, err = succeed(ctx, tx, &it, &found[0].slot, at); err != nil || held != nil {
			return value(held), err
		}
		outcome = TookOver
	}
	env := it.snapshot.Trigger.Environment
	var (
		id  string
		due bool
	)
	err = tx.QueryRow(ctx, debounceFindSQL, env, hash[:]).Scan(&id, &due)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return s.beDebounced(ctx, tx, it, hash, at, found[0].now, outcome)
	case err != nil:
		return Settled{}, err
	case due:
		if _, err := tx.Exec(ctx, debounceReleaseSQL, env, id); err != nil {
			return Settled{}, err
		}
		return s.beDebounced(ctx, tx, it, hash, at, found[0].now, outcome)
	}
	into, err := run.ParseID(id)
	if err != nil {
		return Settled{}, unreadable("id")
	}
	return it.push(ctx, tx, into, at)
}

// succeed takes the ended holder of the trigger's own key out of its slot, and
// returns the acceptance that may follow it; or the answer, if it holds the key.
func succeed(ctx context.Context, tx pgx.Tx, it *item, seen *holderRow, at run.Instant) (run.Instant, *Settled, error) {
	row := seen
	if !seen.liveAt(at) {
		locked, err := lockSlots(ctx, tx, []item{*it})
		if err != nil {
			return 0, nil, err
		}
		l, ok := locked[it.name()]
		if !ok {
			return 0, nil, errRaceLost
		}
		row = &l.row
	}
	if row.liveAt(at) {
		h, err := row.holder(run.ID{})
		return at, &Settled{Outcome: Held, Holder: h}, err
	}
	_, err := tx.Exec(ctx, handoverSQL, []string{it.snapshot.Trigger.Environment}, []string{*row.id}, [][]byte{it.slot()})
	return max(at, row.floor()), nil, err
}

// beDebounced inserts the trigger's own run, and puts it into the slot of the
// debounce key.
func (s *Store) beDebounced(ctx context.Context, tx pgx.Tx, it item, hash run.Hash, at, now run.Instant, outcome Outcome) (Settled, error) {
	delayed := *it.snapshot
	delayed.Trigger.DelayUntil = now.Add(delayed.Trigger.Debounce.Delay).Time()
	it.snapshot = &delayed
	c := newColumns(false)
	defer c.release()
	c.add(&it, at)
	born, err := insertRows(ctx, tx, c)
	if err != nil {
		return Settled{}, err
	}
	b, ok := born[delayed.ID.String()]
	if !ok {
		return Settled{}, errRaceLost
	}
	if _, err := tx.Exec(ctx, debounceHoldSQL, delayed.Trigger.Environment, delayed.ID.String(), hash[:]); err != nil {
		return Settled{}, err
	}
	l := landing{hook: s.hook}
	l.add(&it, b)
	return Settled{Outcome: outcome, Holder: b.holder(&delayed)}, l.tell(ctx, tx)
}

// push merges the trigger into a run that is still delayed.
func (it *item) push(ctx context.Context, tx pgx.Tx, into run.ID, at run.Instant) (Settled, error) {
	s := it.snapshot
	t := &s.Trigger
	news, err := json.Marshal(options{Attempts: t.MaxAttempts, Duration: t.MaxDuration})
	if err != nil {
		return Settled{}, err
	}
	var tags *string
	if len(t.Tags) > 0 {
		text := arrayText(t.Tags)
		tags = &text
	}
	if _, err := tx.Exec(ctx, debouncePushSQL,
		t.Environment, into.String(), t.Debounce.Delay.Microseconds(), t.Debounce.MaxDelay.Microseconds(), t.Debounce.Trailing,
		t.Payload, t.PayloadType, t.PayloadSize, t.Metadata, t.MetadataType, tags, t.Machine, string(news)); err != nil {
		return Settled{}, err
	}
	kind, until := "", (*int64)(nil)
	settled := it.debouncedInto(into, at)
	if !s.Key.IsZero() {
		end := int64(settled.Until)
		kind, until = string(rune(s.Key.Kind)), &end
	}
	rows, err := tx.Query(ctx, debounceJoinSQL,
		s.ID.String(), t.Environment, t.Organisation, t.Task, into.String(), kind, it.slot(), int64(at), until,
		t.PayloadType, t.PayloadSize, s.PayloadHash[:], digestBytes(s.RequestHash),
		t.IdempotencyKey, t.BatchItem.Batch, t.BatchItem.Index)
	if err != nil {
		return Settled{}, err
	}
	joined, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(joined) == 0 {
		err = errRaceLost
	}
	return settled, err
}

// debouncedInto is the answer to a trigger that pushed a run.
func (it *item) debouncedInto(into run.ID, at run.Instant) Settled {
	s := it.snapshot
	h := Holder{ID: into, Canonical: into, AcceptedAt: at, Status: run.Delayed, PayloadHash: s.PayloadHash, RequestHash: s.RequestHash}
	if !s.Key.IsZero() {
		h.Until = at.Add(s.Trigger.IdentityTTL())
	}
	return Settled{Outcome: Debounced, Holder: h}
}
