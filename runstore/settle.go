package runstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/run"
)

var standingSQL = statement("standing")

// maxRounds is how often a settlement looks again because a holder changed
// between two of its statements. Each lost race means that somebody else won
// the key, so a second round is rare and a fourth unheard of.
const maxRounds = 8

// Settlement is a run that is to exist. Its AcceptedAt is the claim's, or zero
// to have Postgres's clock decide; its KeyUntil is not looked at: the interval
// is the acceptance plus the trigger's IdentityTTL. It is not changed.
type Settlement struct{ Snapshot *run.Snapshot }

// Outcome says what became of a settlement.
type Outcome int

// The outcomes.
const (
	// Created: the run was inserted; its key, if any, was free.
	Created Outcome = iota + 1
	// TookOver: the run was inserted, and follows a run of its key that had
	// expired or was cleared or reset. Its acceptance may have been raised.
	TookOver
	// Held: a live run holds the key. Nothing was stored.
	Held
	// Stale: the acceptance that the settlement brought lies before that of the
	// row which sits in the slot and has ended: a reset, or a later run that a
	// reset made possible, has come between, and the claim that gave the
	// acceptance is gone. Nothing was stored. Claim again, for an acceptance of at
	// least Settled.Floor.
	Stale
	// Replayed: the run was already there, under its own id, from an earlier
	// settlement whose reply was lost. To be answered as created.
	Replayed
	// Aliased: the run's key was held by another run while it was accepted; its
	// id is another name of that run from now on. Only [Store.Materialise].
	Aliased
	// OwnClosed: the run was inserted with an interval that lies before the
	// holder's, because a reset had ended it. Only [Store.Materialise].
	OwnClosed
	// Cancelled: the run would have become an alias, but was cancelled before;
	// it was inserted as a run of its own that never holds the key. Only
	// [Store.Materialise].
	Cancelled
	// Debounced: the trigger pushed a run of its debounce key that was still
	// delayed. Its id is another name of that run, and its own key holds it.
	Debounced
)

// String names the outcome for logs.
func (o Outcome) String() string {
	switch o {
	case Created:
		return "created"
	case TookOver:
		return "took over"
	case Held:
		return "held"
	case Stale:
		return "stale"
	case Replayed:
		return "replayed"
	case Aliased:
		return "aliased"
	case OwnClosed:
		return "own, closed"
	case Cancelled:
		return "own, cancelled"
	case Debounced:
		return "debounced"
	}
	return "none"
}

// Holder is a run as far as its key is concerned.
type Holder struct {
	ID        run.ID // as asked for, or the run itself
	Canonical run.ID // the run that ID resolves to; ID itself unless it is an alias
	// AcceptedAt and Until are the run's interval. Until is zero without a key.
	AcceptedAt, Until        run.Instant
	Status                   run.Status
	PayloadHash, RequestHash run.Digest
}

// Settled is the answer to one [Settlement]: an outcome and the run that now
// stands for it, or an error. The error is [run.ErrRejected] if this row alone is
// at fault, run.ErrInvalid if it names nothing, and otherwise a
// *run.RefusedError; see [OutcomeUnknown].
type Settled struct {
	Outcome Outcome
	Holder              // zero if Stale
	Floor   run.Instant // if Stale: the earliest acceptance that may follow
	Err     error
}

// item is one settlement under way.
type item struct {
	at       int // its place in the answer
	snapshot *run.Snapshot
	options  string

	// Of a run that comes out of a buffer.
	buffered bool
	patches  []run.Patch // those that the snapshot has, in order
	ver      int64       // the version that the snapshot has
	ended    run.Status  // the final status that it is born with; or empty
	endedAt  run.Instant
	failure  string // the document of its error; or empty
	unfit    bool   // stored as its failure only
	late     bool   // it may have been removed: see errLate
}

func (it *item) slot() []byte {
	if it.snapshot.Key.IsZero() {
		return nil
	}
	return it.snapshot.Hash[:]
}

// Settle makes each run exist, or says which run holds its key: one answer for
// each item, in order. Items of one key may be in one call: one of them is
// first. Nearly always it is one statement. An acceptance from before what retention
// has removed is refused. Errors that may pass are retried
// until ctx ends, so ctx should have a deadline; a row that Postgres refuses
// for good does not harm its neighbours. The caller bounds a call to about 500
// items and 4 MiB.
//
// An item whose settlement failed may be settled again with the same id, any
// number of times.
func (s *Store) Settle(ctx context.Context, settlements []Settlement) []Settled {
	answers := make([]Settled, len(settlements))
	items := make([]item, 0, len(settlements))
	var debounced []item
	for i, st := range settlements {
		it := item{at: i, snapshot: st.Snapshot}
		switch answers[i].Err = it.prepare(); {
		case answers[i].Err != nil:
		case it.snapshot.Trigger.Debounce != nil:
			debounced = append(debounced, it)
		default:
			items = append(items, it)
		}
	}
	s.answer(ctx, items,
		func(ctx context.Context, conn *pgxpool.Conn, items []item) ([]item, error) {
			return s.settleRounds(ctx, conn, items, answers)
		},
		func(it item, err error) { answers[it.at] = Settled{Err: err} })
	s.answer(ctx, debounced,
		func(ctx context.Context, conn *pgxpool.Conn, items []item) ([]item, error) {
			return s.debounceRounds(ctx, conn, items, answers)
		},
		func(it item, err error) { answers[it.at] = Settled{Err: err} })
	return answers
}

func (it *item) prepare() error {
	switch s := it.snapshot; {
	case s == nil || s.ID.IsZero():
		return missing("id")
	case s.Trigger.Environment == "":
		return missing("environment")
	case !s.Key.IsZero() && s.Hash == run.Hash{}:
		return missing("key hash")
	}
	var err error
	if it.options, err = encodeOptions(&it.snapshot.Trigger); err != nil {
		return rejection(&cause{text: "options can not be encoded"})
	}
	if failed := it.snapshot.Trigger.Failed; failed != nil && it.ended == "" {
		it.ended, it.endedAt = run.Failed, it.snapshot.AcceptedAt
		if it.failure, err = encodeFailure(failed); err != nil {
			return rejection(&cause{text: "error can not be encoded"})
		}
	}
	return nil
}

// settleRounds goes through insert, look, take over, until every item has its
// answer. It returns the items that have none yet.
func (s *Store) settleRounds(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Settled) ([]item, error) {
	for range maxRounds {
		var err error
		if items, err = s.insert(ctx, conn, items, answers); err != nil || len(items) == 0 {
			return items, err
		}
		var ended []item
		if items, ended, err = look(ctx, conn, items, answers); err != nil {
			return append(items, ended...), err
		}
		if len(ended) > 0 {
			var again []item
			again, err = s.takeOver(ctx, conn, ended, answers)
			items = append(items, again...)
			if err != nil {
				return items, err
			}
		}
		if len(items) == 0 {
			return nil, nil
		}
	}
	return items, &cause{verdict: hopeless, text: "the holder of the key kept changing"}
}

// insert stores what is new, and returns the items whose id or slot is taken.
func (s *Store) insert(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Settled) ([]item, error) {
	c := newColumns(false)
	defer c.release()
	c.addAll(items, func(i int) run.Instant { return items[i].snapshot.AcceptedAt })
	born, err := s.land(ctx, conn, items, c)
	if err != nil {
		return items, err
	}
	rest := items[:0:0]
	for _, it := range items {
		b, ok := born[it.snapshot.ID.String()]
		if !ok {
			rest = append(rest, it)
			continue
		}
		delete(born, it.snapshot.ID.String()) // an id that comes twice was inserted once
		answers[it.at] = Settled{Outcome: Created, Holder: b.holder(it.snapshot)}
	}
	return rest, nil
}

// querier is a connection or a transaction.
type querier interface {
	Conn() *pgx.Conn
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// whatStands reads what stands in the way of each item, without a lock.
func whatStands(ctx context.Context, q querier, items []item) ([]standing, error) {
	ids, envs, slots := make([]string, len(items)), make([]string, len(items)), make([][]byte, len(items))
	for i := range items {
		ids[i], envs[i], slots[i] = items[i].snapshot.ID.String(), items[i].snapshot.Trigger.Environment, items[i].slot()
	}
	rows, err := q.Query(ctx, standingSQL, ids, envs, slots)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s standing, err error) {
		err = row.Scan(append(append([]any{&s.now, &s.horizon, &s.ver}, s.mine.targets()...), s.slot.targets()...)...)
		return s, err
	})
	if err == nil && len(found) != len(items) {
		return nil, errRowsLost
	}
	return found, err
}

// look answers the items that are already there and those whose key a live run
// holds. It returns those to be tried again, and those whose holder has ended.
func look(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Settled) (again, ended []item, err error) {
	found, err := whatStands(ctx, conn, items)
	if err != nil {
		return items, nil, err
	}
	for i, it := range items {
		s := &found[i]
		outcome, row, id := Held, &s.slot, run.ID{}
		switch {
		case s.mine.found() && !mutant.On("repeat-is-another-run"):
			outcome, row, id = Replayed, &s.mine, it.snapshot.ID
		case s.late(&it) && !(s.slot.found() && s.slot.liveAt(it.snapshot.AcceptedAt)):
			answers[it.at] = Settled{Err: rejection(errLate)}
			continue
		case !s.slot.found():
			again = append(again, it)
			continue
		case s.slot.later(it.snapshot.AcceptedAt):
			answers[it.at] = Settled{Outcome: Stale, Floor: s.slot.floor()}
			continue
		case !s.slot.liveAt(it.acceptance(s.now)):
			ended = append(ended, it)
			continue
		}
		h, err := row.holder(id)
		answers[it.at] = Settled{Outcome: outcome, Holder: h}
		if err != nil {
			answers[it.at] = Settled{Err: refusal(diagnose(err))}
		}
	}
	return again, ended, nil
}

// errRowsLost: a statement that answers each of its parameters did not.
var errRowsLost = &cause{verdict: hopeless, text: "a statement answered too few rows"}

// standing is what stands in the way of an item.
type standing struct {
	now        run.Instant
	horizon    run.Instant // nothing that was accepted before is inserted any more
	ver        int64
	mine, slot holderRow
}

// late reports whether the item may have had its row, and retention removed it.
func (s *standing) late(it *item) bool {
	at := it.snapshot.AcceptedAt
	return at > 0 && at < s.horizon
}

// errLate refuses a settlement of long ago. It is not to be tried again under its id.
var errLate = &cause{verdict: hopeless, text: "it was accepted before what retention has removed"}

// acceptance is the item's own acceptance time, or now.
func (it *item) acceptance(now run.Instant) run.Instant {
	if mutant.On("expiry-by-node-clock") {
		return run.InstantOf(time.Now())
	}
	if it.snapshot.AcceptedAt > 0 {
		return it.snapshot.AcceptedAt
	}
	return now
}
