package runstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

var (
	lockSQL     = statement("lock")
	handoverSQL = statement("handover")
)

// errRaceLost ends a takeover whose own row turned out to be there already: all
// of it is rolled back, and the items look again.
var errRaceLost = errors.New("runstore: own row appeared meanwhile")

// slotName names a key within the batch.
type slotName struct {
	env  string
	hash run.Hash
}

// lockedSlot is a slot's row, locked by this transaction.
type lockedSlot struct {
	now run.Instant
	row holderRow
}

// takeOver puts items in the slots of holders that have ended, in one
// transaction: lock the slots, judge them again now that nobody can change
// them, empty and fill them. It returns the items that have to look again: a
// second item of one key, one whose holder was replaced before it was locked,
// or all of them if the transaction could not keep what it had decided.
func (s *Store) takeOver(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Settled) (again []item, err error) {
	first := make(map[slotName]bool, len(items))
	var batch, later []item
	for _, it := range items {
		name := slotName{it.snapshot.Trigger.Environment, it.snapshot.Hash}
		if first[name] {
			later = append(later, it)
			continue
		}
		first[name] = true
		batch = append(batch, it)
	}
	var decided map[int]Settled
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		decided, err = s.takeOverLocked(ctx, tx, batch)
		return err
	})
	if errors.Is(err, errRaceLost) {
		return items, nil
	}
	if err != nil {
		return items, err
	}
	for _, it := range batch {
		if answer, ok := decided[it.at]; ok {
			answers[it.at] = answer
			continue
		}
		again = append(again, it)
	}
	return append(again, later...), nil
}

func (s *Store) takeOverLocked(ctx context.Context, tx pgx.Tx, items []item) (map[int]Settled, error) {
	locked, err := lockSlots(ctx, tx, items)
	if err != nil {
		return nil, err
	}
	var (
		decided   = make(map[int]Settled, len(items))
		ins       = newColumns(false)
		entering  []item
		envs, ids []string
		hashes    [][]byte
	)
	defer ins.release()
	for i := range items {
		it := &items[i]
		l, ok := locked[slotName{it.snapshot.Trigger.Environment, it.snapshot.Hash}]
		if !ok {
			continue
		}
		if l.row.later(it.snapshot.AcceptedAt) {
			decided[it.at] = Settled{Outcome: Stale, Floor: l.row.floor()}
			continue
		}
		at := it.acceptance(l.now)
		if l.row.liveAt(at) {
			h, err := l.row.holder(run.ID{})
			if err != nil {
				return nil, err
			}
			decided[it.at] = Settled{Outcome: Held, Holder: h}
			continue
		}
		if !mutant.On("takeover-below-the-floor") {
			at = max(at, l.row.floor())
		}
		ins.add(it, at)
		entering = append(entering, *it)
		envs, ids, hashes = append(envs, it.snapshot.Trigger.Environment), append(ids, *l.row.id), append(hashes, it.slot())
	}
	if len(entering) == 0 {
		return decided, nil
	}
	if _, err := tx.Exec(ctx, handoverSQL, envs, ids, hashes); err != nil {
		return nil, err
	}
	born, err := insertRows(ctx, tx, ins, &inserting)
	if err != nil {
		return nil, err
	}
	l := landing{hook: s.hook}
	for _, it := range entering {
		b, ok := born[it.snapshot.ID.String()]
		if !ok {
			return nil, errRaceLost
		}
		l.add(&it, b)
		delete(born, it.snapshot.ID.String())
		decided[it.at] = Settled{Outcome: TookOver, Holder: b.holder(it.snapshot)}
	}
	return decided, l.tell(ctx, tx)
}

func lockSlots(ctx context.Context, tx pgx.Tx, items []item) (map[slotName]*lockedSlot, error) {
	envs, hashes := make([]string, len(items)), make([][]byte, len(items))
	for i := range items {
		envs[i], hashes[i] = items[i].snapshot.Trigger.Environment, items[i].slot()
	}
	return lock(ctx, tx, envs, hashes)
}

// lock locks the slots that are taken. The slots that are not, or whose row
// was replaced while this waited for it, are not in the map.
func lock(ctx context.Context, tx pgx.Tx, envs []string, hashes [][]byte) (map[slotName]*lockedSlot, error) {
	rows, err := tx.Query(ctx, lockSQL, envs, hashes)
	if err != nil {
		return nil, err
	}
	locked := make(map[slotName]*lockedSlot, len(envs))
	for rows.Next() {
		var (
			name slotName
			hash []byte
			l    lockedSlot
		)
		if err := rows.Scan(append([]any{&name.env, &hash, &l.now}, l.row.targets()...)...); err != nil {
			rows.Close()
			return nil, err
		}
		copy(name.hash[:], hash)
		locked[name] = &l
	}
	return locked, rows.Err()
}
