package runstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"

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

// maxBounces is how many debounce keys one transaction locks. A server has room for
// some thousands of locks in all.
const maxBounces = 64

// debounceRounds settles debounced triggers, in one transaction for up to maxBounces
// debounce keys; see "Debouncing" in the package's text. Those of one key that come
// twice take a round each. It returns the items that have no answer yet.
func (s *Store) debounceRounds(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Settled) ([]item, error) {
	rest, _, err := s.debounce(ctx, conn, items, func(at int, a Settled) { answers[at] = a })
	return rest, err
}

// debounceBuffered does the same for what comes out of a buffer. What is there
// already, and what has a key that is not free, goes the way of all others.
func (s *Store) debounceBuffered(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Materialised) ([]item, error) {
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(
			cmp.Compare(a.snapshot.AcceptedAt, b.snapshot.AcceptedAt),
			strings.Compare(a.snapshot.ID.String(), b.snapshot.ID.String()))
	})
	rest, aside, err := s.debounce(ctx, conn, items, func(at int, a Settled) {
		answers[at] = Materialised{Outcome: a.Outcome, Holder: a.Holder, Err: a.Err}
	})
	if err != nil || len(aside) == 0 {
		return append(rest, aside...), err
	}
	return s.materialiseRounds(ctx, conn, aside, answers)
}

// debounce repeats the transaction until every item is answered or put aside.
func (s *Store) debounce(ctx context.Context, conn *pgxpool.Conn, items []item, answer func(at int, a Settled)) (rest, aside []item, err error) {
	for idle := 0; len(items) > 0; idle++ {
		if idle == maxRounds {
			c := &cause{verdict: hopeless, text: "the holder of the key kept changing"}
			if len(items) > 1 {
				c.verdict = poison // one of them may be at fault
			}
			return items, aside, c
		}
		var b bouncer
		batch, again := fewBounces(items)
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			b = bouncer{landing: landing{hook: s.hook}, decided: make(map[int]Settled, len(batch)), aside: map[int]bool{}}
			return b.run(ctx, tx, batch)
		})
		if errors.Is(err, errRaceLost) {
			continue
		}
		if err != nil {
			return items, aside, err
		}
		for _, it := range batch {
			if a, ok := b.decided[it.at]; ok {
				answer(it.at, a)
			} else if b.aside[it.at] {
				aside = append(aside, it)
			} else {
				again = append(again, it)
			}
		}
		if len(again) < len(items) {
			idle = -1
		}
		items = again
	}
	return nil, aside, nil
}

// fewBounces are the items of the first maxBounces debounce keys, and the others.
func fewBounces(items []item) (few, others []item) {
	keys := map[slotName]bool{}
	for _, it := range items {
		t := &it.snapshot.Trigger
		if name := (slotName{t.Environment, t.DebounceHash()}); keys[name] || len(keys) < maxBounces {
			keys[name] = true
			few = append(few, it)
		} else {
			others = append(others, it)
		}
	}
	return few, others
}

// bouncer is one transaction over debounced triggers.
type bouncer struct {
	landing  landing
	buffered bool
	now      run.Instant
	decided  map[int]Settled
	aside    map[int]bool // to be materialised like all others
	free     []*bounced   // whose own key is free
	handover struct {
		envs, ids []string
		hashes    [][]byte
	}
}

// run decides about the items under the locks on their debounce keys. errRaceLost
// voids the transaction: somebody else took the slot of a trigger's own key.
func (b *bouncer) run(ctx context.Context, tx pgx.Tx, items []item) error {
	b.buffered = items[0].buffered
	if err := lockBounces(ctx, tx, items); err != nil {
		return err
	}
	found, err := whatStands(ctx, tx, items)
	if err != nil {
		return err
	}
	b.now = found[0].now
	if err := b.ownKeys(ctx, tx, items, found); err != nil {
		return err
	}
	windows, err := b.windows(ctx, tx)
	if err != nil {
		return err
	}
	if err := b.write(ctx, tx, windows); err != nil {
		return err
	}
	return b.landing.tell(ctx, tx)
}

func lockBounces(ctx context.Context, tx pgx.Tx, items []item) error {
	bits := make([]int64, len(items))
	for i := range items {
		hash := items[i].snapshot.Trigger.DebounceHash()
		bits[i] = int64(binary.BigEndian.Uint64(hash[:8]))
	}
	slices.Sort(bits)
	_, err := tx.Exec(ctx, debounceLockSQL, slices.Compact(bits))
	return err
}

// ownKeys answers the items that are there already and those whose own key is held,
// which decides before the debounce key does. An id or a key that comes twice waits
// for the next round, which sees what became of the first.
func (b *bouncer) ownKeys(ctx context.Context, tx pgx.Tx, items []item, found []standing) error {
	ids, names := make(map[run.ID]bool, len(items)), make(map[slotName]bool, len(items))
	var ended []*item
	for i := range items {
		it, stands := &items[i], &found[i]
		name := it.name()
		if ids[it.snapshot.ID] || !it.snapshot.Key.IsZero() && names[name] {
			continue
		}
		ids[it.snapshot.ID], names[name] = true, true
		at := it.acceptance(stands.now)
		switch {
		case b.buffered && (stands.mine.found() || stands.slot.found() || stands.late(it)):
			b.aside[it.at] = true
		case stands.mine.found():
			h, err := stands.mine.holder(it.snapshot.ID)
			switch {
			case err != nil:
				return err
			case h.Canonical == it.snapshot.ID:
				b.decided[it.at] = Settled{Outcome: Replayed, Holder: h}
			default:
				b.decided[it.at] = it.debouncedInto(h.Canonical, at)
			}
		case stands.late(it):
			b.decided[it.at] = Settled{Err: rejection(errLate)}
		case !stands.slot.found():
			b.admit(it, at, Created)
		default:
			decided, err := b.met(it, &stands.slot, at)
			if err != nil {
				return err
			}
			if !decided {
				ended = append(ended, it)
			}
		}
	}
	return b.succeed(ctx, tx, ended)
}

// met answers the item if the row in its key's slot does not give way to it.
func (b *bouncer) met(it *item, row *holderRow, at run.Instant) (bool, error) {
	switch {
	case row.later(it.snapshot.AcceptedAt):
		b.decided[it.at] = Settled{Outcome: Stale, Floor: row.floor()}
	case row.liveAt(at):
		h, err := row.holder(run.ID{})
		if err != nil {
			return false, err
		}
		b.decided[it.at] = Settled{Outcome: Held, Holder: h}
	default:
		return false, nil
	}
	return true, nil
}

// succeed locks the slots of keys whose holders have ended, judges these again, and
// notes whose place the items take.
func (b *bouncer) succeed(ctx context.Context, tx pgx.Tx, ended []*item) error {
	if len(ended) == 0 {
		return nil
	}
	envs, hashes := make([]string, len(ended)), make([][]byte, len(ended))
	for i, it := range ended {
		envs[i], hashes[i] = it.snapshot.Trigger.Environment, it.slot()
	}
	locked, err := lock(ctx, tx, envs, hashes)
	if err != nil {
		return err
	}
	for _, it := range ended {
		l, ok := locked[it.name()]
		if !ok {
			continue // its holder was replaced: the next round looks again
		}
		at := it.acceptance(l.now)
		decided, err := b.met(it, &l.row, at)
		if err != nil {
			return err
		}
		if decided {
			continue
		}
		h := &b.handover
		h.envs, h.ids, h.hashes = append(h.envs, it.snapshot.Trigger.Environment), append(h.ids, *l.row.id), append(h.hashes, it.slot())
		b.admit(it, max(at, l.row.floor()), TookOver)
	}
	return nil
}

func (b *bouncer) admit(it *item, at run.Instant, outcome Outcome) {
	t := &it.snapshot.Trigger
	due := b.now.Add(t.Debounce.Delay)
	if b.buffered {
		if due = run.Instant(instantOf(t.DelayUntil)); due == 0 {
			due = at.Add(t.Debounce.Delay)
		}
	}
	b.free = append(b.free, &bounced{item: it, at: at, due: due, outcome: outcome})
}

// bounceWindows are the runs of one debounce key, as the transaction leaves them.
type bounceWindows struct {
	slotName
	all []*window
}

// windows finds the runs in the slots, and brings the triggers together.
func (b *bouncer) windows(ctx context.Context, tx pgx.Tx) ([]bounceWindows, error) {
	if len(b.free) == 0 {
		return nil, nil
	}
	var names []slotName
	lists := map[slotName][]*bounced{}
	for _, f := range b.free {
		t := &f.item.snapshot.Trigger
		name := slotName{t.Environment, t.DebounceHash()}
		if lists[name] == nil {
			names = append(names, name)
		}
		lists[name] = append(lists[name], f)
	}
	slices.SortFunc(names, func(a, b slotName) int {
		return cmp.Or(strings.Compare(a.env, b.env), bytes.Compare(a.hash[:], b.hash[:]))
	})
	envs, hashes := make([]string, len(names)), make([][]byte, len(names))
	for i := range names {
		envs[i], hashes[i] = names[i].env, names[i].hash[:]
	}
	rows, err := tx.Query(ctx, debounceFindSQL, envs, hashes)
	if err != nil {
		return nil, err
	}
	standing := make(map[slotName]*window, len(names))
	for rows.Next() {
		var (
			name slotName
			hash []byte
			id   string
			w    window
		)
		if err := rows.Scan(&name.env, &hash, &id, &w.from, &w.due, &w.fresh); err != nil {
			rows.Close()
			return nil, err
		}
		copy(name.hash[:], hash)
		if w.id, err = run.ParseID(id); err != nil {
			rows.Close()
			return nil, unreadable("id")
		}
		standing[name] = &w
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	all := make([]bounceWindows, len(names))
	for i, name := range names {
		all[i] = bounceWindows{name, gather(standing[name], lists[name], b.now)}
	}
	return all, nil
}

// write carries out what was decided.
func (b *bouncer) write(ctx context.Context, tx pgx.Tx, keys []bounceWindows) error {
	if h := &b.handover; len(h.ids) > 0 {
		if _, err := tx.Exec(ctx, handoverSQL, h.envs, h.ids, h.hashes); err != nil {
			return err
		}
	}
	var (
		leaders []*window
		holds   holdColumns
		pushes  pushColumns
		joins   joinColumns
		over    struct{ envs, ids []string }
	)
	for _, k := range keys {
		in := holder(k.all, b.now)
		for _, w := range k.all {
			switch {
			case w.leader != nil:
				leaders = append(leaders, w)
				if w == in {
					holds.add(&k, w)
				}
			case in != nil && w != in:
				over.envs, over.ids = append(over.envs, k.env), append(over.ids, w.id.String())
			}
			if w.leader == nil && len(w.names) > 0 {
				if err := pushes.add(k.env, w); err != nil {
					return err
				}
			}
			for _, n := range w.names {
				joins.add(n, w.id)
			}
		}
	}
	// First what is there, then what takes its place.
	if len(pushes.id) > 0 {
		if _, err := tx.Exec(ctx, debouncePushSQL, pushes.args()...); err != nil {
			return err
		}
	}
	if len(over.ids) > 0 {
		if _, err := tx.Exec(ctx, debounceReleaseSQL, over.envs, over.ids); err != nil {
			return err
		}
	}
	if err := b.insert(ctx, tx, leaders); err != nil {
		return err
	}
	if len(holds.id) > 0 {
		if _, err := tx.Exec(ctx, debounceHoldSQL, holds.env, holds.id, holds.hash, holds.fresh); err != nil {
			return err
		}
	}
	return b.join(ctx, tx, keys, &joins)
}

// insert makes the runs of triggers that pushed none, as what pushed them left them.
func (b *bouncer) insert(ctx context.Context, tx pgx.Tx, leaders []*window) error {
	if len(leaders) == 0 {
		return nil
	}
	c := newColumns(b.buffered)
	defer c.release()
	items := make([]item, len(leaders))
	for i, w := range leaders {
		made := *w.leader.item.snapshot
		made.Trigger.DelayUntil = w.due.Time()
		if w.trailing {
			overlay(&made.Trigger, &w.news)
		}
		items[i] = *w.leader.item
		items[i].snapshot = &made
		var err error
		if items[i].options, err = encodeOptions(&made.Trigger); err != nil {
			return err
		}
	}
	c.addAll(items, func(i int) run.Instant { return leaders[i].leader.at })
	born, err := insertRows(ctx, tx, c, &inserting)
	if err != nil {
		return err
	}
	for i, w := range leaders {
		was, ok := born[w.id.String()]
		if !ok {
			return errRaceLost
		}
		b.decided[items[i].at] = Settled{Outcome: w.leader.outcome, Holder: was.holder(items[i].snapshot)}
		b.landing.add(&items[i], was)
	}
	return nil
}

// join makes the ids of those that pushed names of what they pushed.
func (b *bouncer) join(ctx context.Context, tx pgx.Tx, keys []bounceWindows, joins *joinColumns) error {
	if len(joins.id) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, debounceJoinSQL, append(joins.args(), !b.buffered)...)
	if err != nil {
		return err
	}
	made, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(made) != len(joins.id) {
		return errRaceLost
	}
	for _, k := range keys {
		for _, w := range k.all {
			for _, n := range w.names {
				if n.item.ver > 0 {
					b.aside[n.item.at] = true // what was changed of it is still to be told to the run
					continue
				}
				b.decided[n.item.at] = n.item.debouncedInto(w.id, n.at)
			}
		}
	}
	return nil
}

// debouncedInto is the answer to a trigger that pushed a run.
func (it *item) debouncedInto(into run.ID, at run.Instant) Settled {
	s := it.snapshot
	h := Holder{ID: into, Canonical: into, AcceptedAt: at, Status: run.Delayed, PayloadHash: s.PayloadHash, RequestHash: s.RequestHash}
	if it.buffered {
		h.ID = s.ID
	}
	h.Until = it.keyUntil(at)
	return Settled{Outcome: Debounced, Holder: h}
}

// keyUntil is the end of its key's interval if it is accepted at that instant; 0
// without a key.
func (it *item) keyUntil(at run.Instant) run.Instant {
	switch s := it.snapshot; {
	case s.Key.IsZero():
		return 0
	case it.buffered:
		return s.KeyUntil
	default:
		return at.Add(s.Trigger.IdentityTTL())
	}
}

// holdColumns are the parameters of sql/debounce_hold.sql.
type holdColumns struct {
	env, id []string
	hash    [][]byte
	fresh   []int64
}

func (c *holdColumns) add(k *bounceWindows, w *window) {
	c.env, c.id = append(c.env, k.env), append(c.id, w.id.String())
	c.hash, c.fresh = append(c.hash, k.hash[:]), append(c.fresh, int64(w.fresh))
}

// pushColumns are the parameters of sql/debounce_push.sql.
type pushColumns struct {
	env, id              []string
	due, fresh           []int64
	trailing             []bool
	payload              [][]byte
	payloadType          []string
	payloadSize          []int64
	metadata             [][]byte
	metadataType, tags   []string
	machine, optionsText []string
}

func (c *pushColumns) add(env string, w *window) error {
	t := &w.news
	news, err := json.Marshal(options{Attempts: t.MaxAttempts, Duration: t.MaxDuration})
	if err != nil {
		return err
	}
	c.env, c.id = append(c.env, env), append(c.id, w.id.String())
	c.due, c.fresh = append(c.due, int64(w.due)), append(c.fresh, int64(w.fresh))
	c.trailing = append(c.trailing, w.trailing)
	c.payload, c.payloadType = append(c.payload, t.Payload), append(c.payloadType, t.PayloadType)
	c.payloadSize = append(c.payloadSize, t.PayloadSize)
	c.metadata, c.metadataType = append(c.metadata, t.Metadata), append(c.metadataType, t.MetadataType)
	c.tags, c.machine = append(c.tags, arrayText(t.Tags)), append(c.machine, t.Machine)
	c.optionsText = append(c.optionsText, string(news))
	return nil
}

func (c *pushColumns) args() []any {
	return []any{
		c.env, c.id, c.due, c.fresh, c.trailing, c.payload, c.payloadType, c.payloadSize,
		c.metadata, c.metadataType, c.tags, c.machine, c.optionsText,
	}
}

// joinColumns are the parameters of sql/debounce_join.sql, but for the last.
type joinColumns struct {
	id, env, org, task, aliasOf, keyKind []string
	slot                                 [][]byte
	acceptedAt, keyUntil                 []int64
	payloadType                          []string
	payloadSize                          []int64
	payloadHash, requestHash             [][]byte
	idempotencyKey, batch                []string
	batchIndex                           []int64
}

func (c *joinColumns) add(b *bounced, into run.ID) {
	s := b.item.snapshot
	t := &s.Trigger
	kind := ""
	if !s.Key.IsZero() {
		kind = string(rune(s.Key.Kind))
	}
	c.id, c.env = append(c.id, s.ID.String()), append(c.env, t.Environment)
	c.org, c.task = append(c.org, t.Organisation), append(c.task, t.Task)
	c.aliasOf, c.keyKind = append(c.aliasOf, into.String()), append(c.keyKind, kind)
	c.slot = append(c.slot, b.item.slot())
	c.acceptedAt, c.keyUntil = append(c.acceptedAt, int64(b.at)), append(c.keyUntil, int64(b.item.keyUntil(b.at)))
	c.payloadType, c.payloadSize = append(c.payloadType, t.PayloadType), append(c.payloadSize, t.PayloadSize)
	c.payloadHash, c.requestHash = append(c.payloadHash, s.PayloadHash[:]), append(c.requestHash, digestBytes(s.RequestHash))
	c.idempotencyKey, c.batch = append(c.idempotencyKey, t.IdempotencyKey), append(c.batch, t.BatchItem.Batch)
	c.batchIndex = append(c.batchIndex, int64(t.BatchItem.Index))
}

func (c *joinColumns) args() []any {
	return []any{
		c.id, c.env, c.org, c.task, c.aliasOf, c.keyKind, c.slot, c.acceptedAt, c.keyUntil,
		c.payloadType, c.payloadSize, c.payloadHash, c.requestHash, c.idempotencyKey, c.batch, c.batchIndex,
	}
}
