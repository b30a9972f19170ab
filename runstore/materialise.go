package runstore

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

// Materialisation is a buffered run that is to have its row.
type Materialisation struct {
	// Snapshot is the run as it was accepted. AcceptedAt must be set: it is the
	// run's created-at, for ever. KeyUntil is the end of its key's interval;
	// zero means the acceptance plus the trigger's IdentityTTL.
	Snapshot *run.Snapshot
	// Patches are all changes that were made to it since, in any order; Ver is
	// the version of the buffer's entry, at least that of the last patch.
	Patches []run.Patch
	Ver     int64
	// Failed is set for a run that can not be stored as it is: it becomes a
	// visible SYSTEM_FAILURE of this error, without payload, metadata and
	// context, with its key, its tags and its place in its batch.
	Failed *run.Failure
}

// Materialised is the answer to one [Materialisation]. ID is the run's id and
// Canonical the run that it stands for: another one if it is an alias, and the
// rest of Holder is then the other's. Err is as in [Settled].
type Materialised struct {
	Outcome Outcome
	Holder
	Err error
}

// Materialise gives each buffered run its row: one answer for each, in order.
// Nothing of an accepted run is refused because of its key: where its interval
// meets that of another run it becomes an alias of the other, whose tags take
// in its tags (as many as fit), and whose metadata and delay stay. An interval
// ends at the first reset after its start. A cancelled run never becomes an
// alias: it gets a row of its own. A debounced one whose own key is free pushes the
// run of its debounce key that it meets, and is [Debounced].
//
// A run is born as what it is by now: CANCELED, EXPIRED, DELAYED or QUEUED. One
// that has its row already is [Replayed]: patches that the row lacks are applied
// to it, each once, whatever became of the reply to an earlier call; a delay
// only while the run is DELAYED, a cancellation unless it is final. Patches of
// an alias add tags to the other run and cancel it; metadata and delay stay
// with the alias.
//
// A run from before what retention has removed may have been here: it becomes an alias
// if its key is held, else it is run.ErrRejected, or, if it has ended already, a row
// that never held its key.
//
// Retries and rows at fault are as with [Store.Settle]: an item may be
// materialised any number of times.
func (s *Store) Materialise(ctx context.Context, materialisations []Materialisation) []Materialised {
	answers := make([]Materialised, len(materialisations))
	items := make([]item, 0, len(materialisations))
	var debounced []item
	for i := range materialisations {
		it, err := buffered(&materialisations[i])
		it.at = i
		switch answers[i].Err = err; {
		case err != nil:
		case it.snapshot.Trigger.Debounce != nil && it.ended == "":
			debounced = append(debounced, it)
		default:
			items = append(items, it)
		}
	}
	s.answer(ctx, items,
		func(ctx context.Context, conn *pgxpool.Conn, items []item) ([]item, error) {
			return s.materialiseRounds(ctx, conn, items, answers)
		},
		func(it item, err error) { answers[it.at] = Materialised{Err: err} })
	s.answer(ctx, debounced,
		func(ctx context.Context, conn *pgxpool.Conn, items []item) ([]item, error) {
			return s.debounceBuffered(ctx, conn, items, answers)
		},
		func(it item, err error) { answers[it.at] = Materialised{Err: err} })
	return answers
}

// buffered prepares a materialisation.
func buffered(m *Materialisation) (item, error) {
	switch s := m.Snapshot; {
	case s == nil:
		return item{}, missing("id")
	case s.AcceptedAt <= 0:
		return item{}, missing("acceptance")
	case !s.Key.IsZero() && s.KeyUntil != 0 && s.KeyUntil < s.AcceptedAt:
		return item{}, &run.InvalidError{Field: "key interval", Rule: "must not end before it begins"}
	}
	if len(m.Patches) == 0 && m.Failed == nil && (m.Snapshot.Key.IsZero() || m.Snapshot.KeyUntil != 0) {
		it := item{snapshot: m.Snapshot, buffered: true, ver: m.Ver} // as nearly all are
		return it, it.prepare()
	}
	patched := m.Snapshot.Apply(m.Patches...)
	s := &patched.Snapshot
	if !s.Key.IsZero() && s.KeyUntil == 0 {
		s.KeyUntil = s.AcceptedAt.Add(s.Trigger.IdentityTTL())
	}
	it := item{
		snapshot: s, buffered: true,
		patches: run.InOrder(m.Patches), ver: max(m.Ver, patched.Ver),
	}
	failure := m.Failed
	if m.Failed != nil {
		it.ended, it.unfit = run.SystemFailure, true
		strip(&s.Trigger)
	}
	if patched.Cancelled != nil {
		it.ended, it.endedAt = run.Canceled, patched.CancelledAt
		failure = patched.Cancelled.Failure()
	}
	if failure != nil {
		var err error
		if it.failure, err = encodeFailure(failure); err != nil {
			return item{}, rejection(&cause{text: "error can not be encoded"})
		}
	}
	return it, it.prepare()
}

func encodeFailure(f *run.Failure) (string, error) {
	b, err := json.Marshal(f)
	return string(b), err
}

// strip leaves of a trigger what every row can hold.
func strip(t *run.Trigger) {
	t.Payload, t.Metadata, t.Context = nil, nil, nil
	clean := func(s *string) {
		*s = strings.ReplaceAll(strings.ToValidUTF8(*s, "\uFFFD"), "\x00", "\uFFFD")
	}
	for _, s := range [...]*string{
		&t.Organisation, &t.Task, &t.PayloadType, &t.MetadataType, &t.IdempotencyKey, &t.Queue,
		&t.ConcurrencyKey, &t.Machine, &t.LockToVersion, &t.Region, &t.BatchItem.Batch,
	} {
		clean(s)
	}
	t.Tags = slices.Clone(t.Tags)
	for i := range t.Tags {
		clean(&t.Tags[i])
	}
	const most = 1 << 30
	t.BatchItem.Index = min(max(t.BatchItem.Index, 0), most)
	t.Priority = min(max(t.Priority, -run.MaxKeyTTL), run.MaxKeyTTL)
	t.TTL = min(max(t.TTL, 0), run.MaxKeyTTL)
}

// materialiseRounds goes through insert, look, patch, merge until every item
// has its answer. It returns the items that have none yet. A key that comes n
// times may need n rounds, so only rounds that answer nothing are counted.
func (s *Store) materialiseRounds(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Materialised) ([]item, error) {
	for idle := 0; idle < maxRounds; idle++ {
		before := len(items)
		var err error
		if items, err = s.insertBuffered(ctx, conn, items, answers); err != nil || len(items) == 0 {
			return items, err
		}
		if items, err = s.resolve(ctx, conn, items, answers); err != nil || len(items) == 0 {
			return items, err
		}
		if len(items) < before {
			idle = -1
		}
	}
	return items, &cause{verdict: hopeless, text: "the holder of the key kept changing"}
}

// insertBuffered stores what is new in one statement, and returns the items
// whose id or slot is taken.
func (s *Store) insertBuffered(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Materialised) ([]item, error) {
	c := newColumns(true)
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
		answers[it.at] = Materialised{Outcome: Created, Holder: b.holder(it.snapshot)}
	}
	return rest, nil
}

// resolve answers the items that have their row, and those whose key another
// row holds. It returns those that have to be tried again.
func (s *Store) resolve(ctx context.Context, conn *pgxpool.Conn, items []item, answers []Materialised) ([]item, error) {
	found, err := whatStands(ctx, conn, items)
	if err != nil {
		return items, err
	}
	var again, behind, contested []item
	for i, it := range items {
		stands := &found[i]
		switch {
		case stands.mine.found() && stands.ver < it.ver:
			behind = append(behind, it)
		case stands.mine.found():
			h, err := stands.mine.holder(it.snapshot.ID)
			answers[it.at] = Materialised{Outcome: Replayed, Holder: h}
			if err != nil {
				answers[it.at] = Materialised{Err: refusal(diagnose(err))}
			}
		case stands.slot.found():
			it.late = stands.late(&it)
			contested = append(contested, it)
		case stands.late(&it) && it.ended == "":
			answers[it.at] = Materialised{Err: rejection(errLate)}
		case stands.late(&it) && !it.late:
			it.late = true
			again = append(again, it)
		default:
			again = append(again, it)
		}
	}
	for i := range behind {
		if answers[behind[i].at], err = catchUp(ctx, conn, &behind[i]); err != nil {
			return slices.Concat(again, behind[i:], contested), err
		}
	}
	if len(contested) == 0 {
		return again, nil
	}
	later, err := s.merge(ctx, conn, contested, answers)
	return append(again, later...), err
}
