package runstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

var (
	neighboursSQL = statement("neighbours")
	aliasSQL      = statement("alias")
	mergeSQL      = statement("merge")
)

// merge decides about buffered runs whose key has a holder, in one transaction:
// lock the slots, look at the keys' pasts, and give each run its place. It
// returns the items that have to look again: those whose holder changed before
// it was locked, those behind a run that changed their key in this very call,
// or all of them if the transaction could not keep what it had decided.
func (s *Store) merge(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Materialised) ([]item, error) {
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(
			strings.Compare(a.snapshot.Trigger.Environment, b.snapshot.Trigger.Environment),
			bytes.Compare(a.slot(), b.slot()),
			cmp.Compare(a.snapshot.AcceptedAt, b.snapshot.AcceptedAt),
			strings.Compare(a.snapshot.ID.String(), b.snapshot.ID.String()))
	})
	var m merger
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		m = merger{landing: landing{hook: s.hook}, decided: make(map[int]Materialised, len(items)), ins: newColumns(true)}
		defer m.ins.release()
		return m.run(ctx, tx, items)
	})
	if errors.Is(err, errRaceLost) {
		return items, nil
	}
	if err != nil {
		return items, err
	}
	var again []item
	for _, it := range items {
		if answer, ok := m.decided[it.at]; ok {
			answers[it.at] = answer
			continue
		}
		again = append(again, it)
	}
	return again, nil
}

// merger collects what one transaction is going to write.
type merger struct {
	landing landing
	decided map[int]Materialised

	ins      *columns
	entering []entry
	handover struct {
		envs, ids []string
		hashes    [][]byte
	}
	aliases aliasColumns
	winners map[winnerName]*winnerNews
}

// entry is an item that is to be inserted, and as what.
type entry struct {
	item    *item
	outcome Outcome
}

type winnerName struct{ env, id string }

type winnerNews struct {
	last run.Instant
	tags []string
}

func (m *merger) run(ctx context.Context, tx pgx.Tx, items []item) error {
	var (
		envs   []string
		hashes [][]byte
		named  = make(map[slotName]bool, len(items))
	)
	for i := range items {
		if name := items[i].name(); !named[name] {
			named[name] = true
			envs, hashes = append(envs, name.env), append(hashes, items[i].slot())
		}
	}
	locked, err := lock(ctx, tx, envs, hashes)
	if err != nil {
		return err
	}
	pasts, err := neighbours(ctx, tx, items, locked)
	if err != nil {
		return err
	}
	changed, ids := make(map[slotName]bool), make(map[run.ID]bool, len(items))
	for i := range items {
		it := &items[i]
		name := it.name()
		l, ok := locked[name]
		if !ok || changed[name] || ids[it.snapshot.ID] {
			continue
		}
		ids[it.snapshot.ID] = true // an id that comes twice is there the next time
		if changed[name], err = m.decide(it, &l.row, pasts[i]); err != nil {
			return err
		}
	}
	return m.write(ctx, tx)
}

func (it *item) name() slotName {
	return slotName{it.snapshot.Trigger.Environment, it.snapshot.Hash}
}

// past is what lies in a key's past and meets an item's interval.
type past struct {
	cut run.Instant // the first reset after the item's acceptance; 0 if none
	row holderRow   // the run that its interval, so ended, overlaps
}

// neighbours looks at the pasts of keys for the items that were accepted before
// their holder's interval ended. The others lie behind everything.
func neighbours(ctx context.Context, tx pgx.Tx, items []item, locked map[slotName]*lockedSlot) ([]past, error) {
	pasts := make([]past, len(items))
	var (
		at            []int
		envs          []string
		hashes        [][]byte
		starts, stops []int64
	)
	for i := range items {
		it := &items[i]
		l, ok := locked[it.name()]
		if !ok || int64(it.snapshot.AcceptedAt) >= value(l.row.until) {
			continue
		}
		at, envs, hashes = append(at, i), append(envs, it.snapshot.Trigger.Environment), append(hashes, it.slot())
		starts, stops = append(starts, int64(it.snapshot.AcceptedAt)), append(stops, int64(it.snapshot.KeyUntil))
	}
	if len(at) == 0 {
		return pasts, nil
	}
	rows, err := tx.Query(ctx, neighboursSQL, envs, hashes, starts, stops)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p past, err error) {
		err = row.Scan(append([]any{&p.cut}, p.row.targets()...)...)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	if len(found) != len(at) {
		return nil, errRowsLost
	}
	for n, i := range at {
		pasts[i] = found[n]
	}
	return pasts, nil
}

// decide gives an item its place beside the locked holder of its key's slot. It
// reports whether later items of the key would now see something else.
func (m *merger) decide(it *item, holder *holderRow, p past) (changed bool, err error) {
	s := it.snapshot
	at, until := s.AcceptedAt, s.KeyUntil
	if at >= run.Instant(value(holder.until)) {
		if it.late {
			m.late(it)
			return false, nil
		}
		m.insert(it, TookOver)
		h := &m.handover
		h.envs, h.ids, h.hashes = append(h.envs, s.Trigger.Environment), append(h.ids, *holder.id), append(h.hashes, it.slot())
		return true, nil
	}
	if p.cut > 0 {
		until = min(until, p.cut) // a reset after its acceptance ended its interval
	}
	winner := &p.row
	if value(holder.kind) == kindRun && run.Instant(value(holder.acceptedAt)) < until {
		winner = holder
	}
	switch {
	case !winner.found() && it.late:
		m.late(it)
		return false, nil
	case !winner.found() || mutant.On("no-alias"):
		m.insert(it, OwnClosed)
		m.ins.outside(it.slot(), it.snapshot.AcceptedAt, until)
		return true, nil
	case it.ended == run.Canceled && !mutant.On("cancelled-becomes-alias"):
		m.insert(it, Cancelled)
		m.ins.outside(nil, it.snapshot.AcceptedAt, at)
		return false, nil
	}
	h, err := winner.holder(run.ID{})
	if err != nil {
		return false, err
	}
	h.ID = s.ID
	m.decided[it.at] = Materialised{Outcome: Aliased, Holder: h}
	m.aliases.add(it, h.Canonical.String())
	m.tell(s.Trigger.Environment, h.Canonical.String(), at, s.Trigger.Tags)
	if h.Canonical.String() != *winner.id { // a name of the run holds the key
		m.tell(s.Trigger.Environment, *winner.id, at, nil)
	}
	return false, nil
}

// tell notes for a row what was merged into it.
func (m *merger) tell(env, id string, at run.Instant, tags []string) {
	name := winnerName{env, id}
	if m.winners == nil {
		m.winners = make(map[winnerName]*winnerNews)
	}
	news := m.winners[name]
	if news == nil {
		news = &winnerNews{}
		m.winners[name] = news
	}
	news.last = max(news.last, at)
	news.tags = append(news.tags, tags...)
}

// late decides about an item that may have been removed: nothing that could run is
// inserted, and nothing that holds the key.
func (m *merger) late(it *item) {
	if it.ended == "" {
		m.decided[it.at] = Materialised{Err: rejection(errLate)}
		return
	}
	m.insert(it, OwnClosed)
	m.ins.outside(nil, it.snapshot.AcceptedAt, it.snapshot.AcceptedAt)
}

func (m *merger) insert(it *item, outcome Outcome) {
	m.ins.add(it, it.snapshot.AcceptedAt)
	m.entering = append(m.entering, entry{it, outcome})
	m.decided[it.at] = Materialised{} // until it is born
}

// write carries out what was decided. Slots are emptied and filled first; a row
// that is there already means that all of it is void.
func (m *merger) write(ctx context.Context, tx pgx.Tx) error {
	if h := &m.handover; len(h.ids) > 0 {
		if _, err := tx.Exec(ctx, handoverSQL, h.envs, h.ids, h.hashes); err != nil {
			return err
		}
	}
	if len(m.entering) > 0 {
		born, err := insertRows(ctx, tx, m.ins, &inserting)
		if err != nil {
			return err
		}
		for _, e := range m.entering {
			b, ok := born[e.item.snapshot.ID.String()]
			if !ok {
				return errRaceLost
			}
			m.landing.add(e.item, b)
			m.decided[e.item.at] = Materialised{Outcome: e.outcome, Holder: b.holder(e.item.snapshot)}
		}
	}
	if len(m.aliases.id) > 0 {
		if err := m.alias(ctx, tx); err != nil {
			return err
		}
	}
	return m.landing.tell(ctx, tx)
}

// alias writes the other names of runs, and tells the runs what was merged into them.
func (m *merger) alias(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, aliasSQL, m.aliases.args()...)
	if err != nil {
		return err
	}
	made, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(made) != len(m.aliases.id) {
		return errRaceLost
	}
	var (
		envs, ids, tags []string
		lasts           []int64
	)
	for name, news := range m.winners {
		envs, ids, tags = append(envs, name.env), append(ids, name.id), append(tags, arrayText(news.tags))
		lasts = append(lasts, int64(news.last))
	}
	_, err = tx.Exec(ctx, mergeSQL, envs, ids, lasts, tags, run.MaxTags)
	return err
}

// aliasColumns are the parameters of sql/alias.sql.
type aliasColumns struct {
	id, env, org, task, aliasOf, keyKind []string
	acceptedAt                           []int64
	payloadType                          []string
	payloadSize                          []int64
	payloadHash, requestHash, metadata   [][]byte
	metadataType, idempotencyKey, tags   []string
	batch                                []string
	batchIndex, delayUntil, bufferVer    []int64
}

func (c *aliasColumns) add(it *item, winner string) {
	s := it.snapshot
	t := &s.Trigger
	c.id, c.env = append(c.id, s.ID.String()), append(c.env, t.Environment)
	c.org, c.task = append(c.org, t.Organisation), append(c.task, t.Task)
	c.aliasOf, c.keyKind = append(c.aliasOf, winner), append(c.keyKind, string(rune(s.Key.Kind)))
	c.acceptedAt = append(c.acceptedAt, int64(s.AcceptedAt))
	c.payloadType, c.payloadSize = append(c.payloadType, t.PayloadType), append(c.payloadSize, t.PayloadSize)
	c.payloadHash, c.requestHash = append(c.payloadHash, s.PayloadHash[:]), append(c.requestHash, digestBytes(s.RequestHash))
	c.metadata, c.metadataType = append(c.metadata, t.Metadata), append(c.metadataType, t.MetadataType)
	c.idempotencyKey, c.tags = append(c.idempotencyKey, t.IdempotencyKey), append(c.tags, arrayText(t.Tags))
	c.batch, c.batchIndex = append(c.batch, t.BatchItem.Batch), append(c.batchIndex, int64(t.BatchItem.Index))
	c.delayUntil, c.bufferVer = append(c.delayUntil, instantOf(t.DelayUntil)), append(c.bufferVer, it.ver)
}

func (c *aliasColumns) args() []any {
	return []any{
		c.id, c.env, c.org, c.task, c.aliasOf, c.keyKind, c.acceptedAt,
		c.payloadType, c.payloadSize, c.payloadHash, c.requestHash, c.metadata, c.metadataType,
		c.idempotencyKey, c.tags, c.batch, c.batchIndex, c.delayUntil, c.bufferVer,
	}
}
