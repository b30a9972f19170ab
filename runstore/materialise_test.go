package runstore

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/run"
)

// fromBuffer is a run of an idempotency key, accepted by a buffer for the
// interval [at, until).
func fromBuffer(key string, at, until run.Instant) Materialisation {
	s := keyed(key, at)
	s.KeyUntil = until
	return Materialisation{Snapshot: s}
}

func (m Materialisation) with(patches ...run.Patch) Materialisation {
	m.Patches = append(slices.Clone(m.Patches), patches...)
	for _, p := range m.Patches {
		m.Ver = max(m.Ver, p.Ver)
	}
	return m
}

func cancelled(ver int64) run.Patch {
	return run.Patch{Ver: ver, At: 5, Cancel: &run.Cancellation{Reason: "enough"}}
}

func (s *testStore) drain(outcome Outcome, m Materialisation) Materialised {
	s.t.Helper()
	got := s.Materialise(s.t.Context(), []Materialisation{m})[0]
	if got.Err != nil || got.Outcome != outcome {
		s.t.Fatalf("materialised as %q, %v; want %q", got.Outcome, got.Err, outcome)
	}
	named := got.Outcome == Aliased || got.Outcome == Debounced
	if got.ID != m.Snapshot.ID || got.Canonical.IsZero() || named == (got.ID == got.Canonical) && outcome != Replayed {
		s.t.Fatalf("materialised %s as %s, canonical %s", m.Snapshot.ID, got.ID, got.Canonical)
	}
	if r := s.one(got.ID); r.Canonical != got.Canonical {
		s.t.Fatalf("%s reads as %s, and was answered as %s", got.ID, r.Canonical, got.Canonical)
	}
	return got
}

func (s *testStore) resetAt(key string, cut run.Instant) {
	s.t.Helper()
	if at, _ := s.reset(key, cut); at != cut {
		s.t.Fatalf("reset at %d, want %d", at, cut)
	}
}

func (s *testStore) disjoint() {
	s.t.Helper()
	if n := s.count(overlaps); n != 0 {
		s.t.Errorf("%d overlaps", n)
	}
}

// Case 127, case 134: the row has the acceptance as its created-at, and a
// second delivery of the same entry changes nothing.
func TestMaterialise(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	keyless := Materialisation{Snapshot: snapshot(run.Trigger{})}
	keyless.Snapshot.AcceptedAt = 700
	first := fromBuffer("k", 1000, 2000)
	got := s.Materialise(t.Context(), []Materialisation{first, keyless, first})
	for i, a := range got {
		if a.Err != nil || a.Status != run.Queued {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	if got[0].Outcome != Created || got[1].Outcome != Created || got[2].Outcome != Replayed || got[2].Holder != got[0].Holder {
		t.Fatalf("%+v", got)
	}
	if got[0].AcceptedAt != 1000 || got[0].Until != 2000 || got[1].AcceptedAt != 700 || got[1].Until != 0 {
		t.Errorf("%+v", got)
	}
	if again := s.drain(Replayed, first); again.Holder != got[0].Holder {
		t.Errorf("%+v", again)
	}
	s.finish(got[0].ID, run.Failed)
	if again := s.drain(Replayed, first); again.Status != run.Failed || again.AcceptedAt != 1000 {
		t.Errorf("%+v", again)
	}
	if n := s.count("select count(*) from runs"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// A duplicate that both stores acknowledged becomes another name of the run.
func TestAlias(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	winner := fromBuffer("k", 1000, 2000)
	winner.Snapshot.Trigger.Tags = []string{"a", "b"}
	winner.Snapshot.Trigger.Metadata = []byte(`{"winner":1}`)
	w := s.drain(Created, winner)
	loser := fromBuffer("k", 1500, 2500)
	loser.Snapshot.Trigger.Tags = []string{"b", "c"}
	loser.Snapshot.Trigger.Metadata = []byte(`{"loser":1}`)
	loser.Snapshot.Trigger.DelayUntil = time.Now().Add(time.Hour)
	loser.Snapshot.PayloadHash = run.Digest{1}
	l := s.drain(Aliased, loser)
	if l.Canonical != w.ID || l.AcceptedAt != 1000 || l.Until != 2000 || l.Status != run.Queued || l.PayloadHash != w.PayloadHash {
		t.Errorf("%+v", l)
	}
	r := s.one(l.ID)
	if !slices.Equal(r.Trigger.Tags, []string{"a", "b", "c"}) || string(r.Trigger.Metadata) != `{"winner":1}` || r.Status != run.Queued {
		t.Errorf("%+v", r)
	}
	if n := s.count(`select count(*) from runs where id = $1 and kind = 1 and key_slot is null and key_past is null and payload is null
		and payload_hash = $2 and metadata = $3 and tags = '{b,c}' and accepted_at = 1500 and delay_until is not null and status = 'ALIAS'`,
		l.ID.String(), loser.Snapshot.PayloadHash[:], loser.Snapshot.Trigger.Metadata); n != 1 {
		t.Error("the alias does not keep what was its own")
	}
	if n := s.count("select key_last from runs where id = $1", w.ID.String()); n != 1500 {
		t.Errorf("key_last %d", n)
	}
	if again := s.drain(Replayed, loser); again.Holder != l.Holder {
		t.Errorf("%+v, was %+v", again.Holder, l.Holder)
	}
	if again := s.settleOne(loser.Snapshot); again.Outcome != Replayed || again.Holder != l.Holder {
		t.Errorf("settled: %+v, was %+v", again, l.Holder)
	}
	// An older one, with an interval that reaches into the winner's.
	if older := s.drain(Aliased, fromBuffer("k", 500, 1001)); older.Canonical != w.ID {
		t.Errorf("%+v", older)
	}
	if n := s.count("select key_last from runs where id = $1", w.ID.String()); n != 1500 {
		t.Errorf("key_last went back to %d", n)
	}
	// A change of either is a change of both.
	s.finish(l.ID, run.Failed)
	if r := s.one(w.ID); r.Status != run.Failed {
		t.Errorf("%s", r.Status)
	}
	// The run is over for those that come later, never for those merged before.
	if until := s.holderUntil(w.ID); until <= 1500 {
		t.Errorf("the interval ends at %d", until)
	}
	s.disjoint()
}

// The winner's tags stay, and no run ever has more than it may.
func TestAliasTagsAreCapped(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	winner := fromBuffer("k", 1000, 2000)
	for i := range 8 {
		winner.Snapshot.Trigger.Tags = append(winner.Snapshot.Trigger.Tags, fmt.Sprint("w", i))
	}
	w := s.drain(Created, winner)
	batch := make([]Materialisation, 3)
	for i := range batch {
		batch[i] = fromBuffer("k", 1001+run.Instant(i), 2000)
		batch[i].Snapshot.Trigger.Tags = []string{"w3", fmt.Sprint("l", i), `"{},\`}
	}
	for _, a := range s.Materialise(t.Context(), batch) {
		if a.Err != nil || a.Outcome != Aliased || a.Canonical != w.ID {
			t.Fatalf("%+v", a)
		}
	}
	tags := s.one(w.ID).Trigger.Tags
	if want := append(slices.Clone(winner.Snapshot.Trigger.Tags), "l0", `"{},\`); !slices.Equal(tags, want) {
		t.Errorf("%q, want %q", tags, want)
	}
}

func TestTakeoverOfABufferedRun(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.drain(Created, fromBuffer("k", 1000, 2000))
	second := s.drain(TookOver, fromBuffer("k", 2000, 3000))
	if second.AcceptedAt != 2000 {
		t.Errorf("%+v", second)
	}
	// Dwelt longer than the key lives, and drained out of order.
	if a := s.drain(Aliased, fromBuffer("k", 1999, 2999)); a.Canonical != second.ID {
		t.Errorf("%+v", a)
	}
	s.drain(OwnClosed, fromBuffer("k", 500, 900))
	first := s.drain(Aliased, fromBuffer("k", 899, 950))
	if first.AcceptedAt != 500 {
		t.Errorf("%+v", first)
	}
	s.drain(TookOver, fromBuffer("k", 9000, 9001))
	s.drain(OwnClosed, fromBuffer("k", 100, 500))
	s.drain(OwnClosed, fromBuffer("k", 3000, 9000))
	s.disjoint()
}

// A reset that came after a buffered run was accepted ends its interval.
func TestResetAndBufferedRuns(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.drain(Created, fromBuffer("k", 1000, 9000))
	s.resetAt("k", 2000)
	if late := s.drain(Aliased, fromBuffer("k", 1500, 9500)); late.Canonical != w.ID {
		t.Errorf("%+v", late)
	}
	s.drain(Cancelled, fromBuffer("k", 1600, 9600).with(cancelled(1)))
	next := s.drain(TookOver, fromBuffer("k", 2000, 9999))
	if a := s.drain(Aliased, fromBuffer("k", 2500, 9999)); a.Canonical != next.ID {
		t.Errorf("%+v", a)
	}
	s.disjoint()

	// Before anything was drained.
	s.resetAt("other", 500)
	own := s.drain(OwnClosed, fromBuffer("other", 100, 9000))
	if own.Until != 500 {
		t.Errorf("%+v", own)
	}
	if a := s.drain(Aliased, fromBuffer("other", 300, 9000)); a.Canonical != own.ID {
		t.Errorf("%+v", a)
	}
	s.resetAt("other", 700)
	if mid := s.drain(OwnClosed, fromBuffer("other", 500, 9000)); mid.Until != 700 {
		t.Errorf("%+v", mid)
	}
	if a := s.drain(Aliased, fromBuffer("other", 499, 9000)); a.Canonical != own.ID {
		t.Errorf("ended by the first reset after it: %+v", a)
	}
	s.drain(TookOver, fromBuffer("other", 700, 9000))
	s.disjoint()

	// Runs that came after the reset are not what it would have become.
	s.resetAt("third", 500)
	s.drain(TookOver, fromBuffer("third", 500, 600))
	s.drain(TookOver, fromBuffer("third", 600, 9000))
	if early := s.drain(OwnClosed, fromBuffer("third", 100, 9000)); early.Until != 500 {
		t.Errorf("%+v", early)
	}
	s.disjoint()
	if n := s.count("select count(*) from runs where kind = 1 and alias_of not in (select id from runs where kind = 0)"); n != 0 {
		t.Errorf("%d aliases of something that is no run", n)
	}
}

// A cancelled duplicate is not merged: nothing of it ever runs, and nothing of
// the other run changes.
func TestCancelledDuplicate(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.drain(Created, fromBuffer("k", 1000, 2000))
	l := s.drain(Cancelled, fromBuffer("k", 1500, 2500).with(cancelled(1)))
	r := s.one(l.ID)
	if r.Status != run.Canceled || r.Error == nil || r.Error.Message != "enough" || !r.FinishedAt.Equal(time.UnixMicro(5)) || r.CreatedAt.UnixMicro() != 1500 {
		t.Errorf("%+v", r)
	}
	if other := s.one(w.ID); other.Status != run.Queued {
		t.Errorf("%+v", other)
	}
	if n := s.count("select count(*) from runs where id = $1 and key_slot is null and key_past is null and key_until = accepted_at", l.ID.String()); n != 1 {
		t.Error("a cancelled duplicate holds a key")
	}
	// Alone, a cancelled run keeps its key, as it does everywhere.
	c := s.drain(Created, fromBuffer("c", 1000, 2000).with(cancelled(1)))
	if a := s.drain(Aliased, fromBuffer("c", 1200, 2200)); a.Canonical != c.ID || a.Status != run.Canceled {
		t.Errorf("%+v", a)
	}
	s.want(Held, keyed("c", 1999))
}

func TestBornAsWhatItIs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := run.Instant(s.count("select now_us()"))
	hour := run.Instant(time.Hour / time.Microsecond)
	born := func(at run.Instant, tr run.Trigger, patches ...run.Patch) run.Run {
		tr.IdempotencyKey = mint().String()
		m := Materialisation{Snapshot: snapshot(tr)}
		m.Snapshot.Accept(at)
		m = m.with(patches...)
		got := s.drain(Created, m)
		r := s.one(got.ID)
		if got.Status != r.Status {
			t.Errorf("answered %s, is %s", got.Status, r.Status)
		}
		if p := m.Snapshot.Apply(m.Patches...); p.Status(now) != r.Status {
			t.Errorf("is %s, was %s in the buffer", r.Status, p.Status(now))
		}
		return r
	}
	if r := born(now-2*hour, run.Trigger{TTL: time.Hour}); r.Status != run.Expired || r.ExpiredAt.IsZero() || r.KeyUntil.After(time.Now().Add(time.Hour)) {
		t.Errorf("%+v", r)
	}
	if r := born(now-2*hour, run.Trigger{TTL: 3 * time.Hour}); r.Status != run.Queued {
		t.Errorf("%+v", r)
	}
	if r := born(now-2*hour, run.Trigger{TTL: time.Hour, DelayUntil: (now - hour/2).Time()}); r.Status != run.Queued {
		t.Errorf("the ttl counts from the delay: %+v", r)
	}
	if r := born(now-2*hour, run.Trigger{DelayUntil: (now + hour).Time()}); r.Status != run.Delayed {
		t.Errorf("%+v", r)
	}
	if r := born(now-2*hour, run.Trigger{DelayUntil: (now - hour).Time()}); r.Status != run.Queued {
		t.Errorf("%+v", r)
	}
	if r := born(now-2*hour, run.Trigger{TTL: time.Hour}, cancelled(1)); r.Status != run.Canceled {
		t.Errorf("%+v", r)
	}
	later := (now + 2*hour).Time()
	if r := born(now-2*hour, run.Trigger{DelayUntil: (now + hour).Time()}, run.Patch{Ver: 1, Delay: run.InstantOf(later)}); !r.Trigger.DelayUntil.Equal(later) {
		t.Errorf("%+v", r)
	}
}

// Every field of a snapshot, and every kind of patch, reaches the row.
func TestPatchedSnapshotRoundTrip(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	parent := s.want(Created, snapshot(run.Trigger{}))
	var tr run.Trigger
	n := 0
	fill(t, reflect.ValueOf(&tr).Elem(), &n)
	tr.Organisation, tr.Environment, tr.ParentRun = org, env, parent.ID
	tr.Failed = nil // it would be born failed: TestBornFailed
	tr.DelayUntil = time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	m := Materialisation{Snapshot: snapshot(tr)}
	m.Snapshot.Accept(run.Instant(s.count("select now_us()")) - 1000)
	b, err := m.Snapshot.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := run.DecodeSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	m.Snapshot = &decoded
	delay := tr.DelayUntil.Add(time.Hour)
	m = m.with(
		run.Patch{Ver: 2, AddTags: []string{"late"}, Metadata: &run.Metadata{Bytes: []byte("\x00{\"n\":9007199254740993}\xff"), Type: "x/y"}},
		run.Patch{Ver: 5, Delay: run.InstantOf(delay)})
	m.Ver = 9
	s.drain(Created, m)
	want := decoded.Apply(m.Patches...)
	got := s.one(decoded.ID)
	if diff := cmp.Diff(want.Trigger, got.Trigger, cmp.Comparer(func(a, b run.ID) bool { return a == b }), cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Error(diff)
	}
	if got.Status != run.Delayed || got.PayloadHash != want.PayloadHash || got.RequestHash != want.RequestHash ||
		run.InstantOf(got.CreatedAt) != want.AcceptedAt || run.InstantOf(got.KeyUntil) != want.KeyUntil || got.RootRun != parent.ID || got.Depth != 1 {
		t.Errorf("%+v", got)
	}
	if n := s.count("select count(*) from runs where id = $1 and buffer_ver = 9 and queue_at = $2", got.ID.String(),
		delay.UnixMicro()-tr.Priority.Microseconds()); n != 1 {
		t.Error("version or turn")
	}
}

// A patch that came while the run was being materialised is applied by the next
// delivery, once, and none is lost to a lost reply.
func TestReplayAppliesNewerPatches(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	hour := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	m := fromBuffer("k", 1000, 2000)
	m.Snapshot.Trigger.DelayUntil = hour
	m = m.with(run.Patch{Ver: 1, AddTags: []string{"a"}, Metadata: &run.Metadata{Bytes: []byte("1"), Type: "x"}})
	s.drain(Created, m)
	// Directly changed since then: an old patch does not undo it.
	if _, err := s.SetMetadata(t.Context(), env, m.Snapshot.ID, run.MetadataChange{Replace: &run.Metadata{Bytes: []byte("direct")}}); err != nil {
		t.Fatal(err)
	}
	s.drain(Replayed, m)
	if r := s.one(m.Snapshot.ID); string(r.Trigger.Metadata) != "direct" {
		t.Errorf("%s", r.Trigger.Metadata)
	}
	m = m.with(run.Patch{Ver: 2, AddTags: []string{"b"}})
	s.drain(Replayed, m)
	if r := s.one(m.Snapshot.ID); string(r.Trigger.Metadata) != "direct" || len(r.Trigger.Tags) != 2 {
		t.Errorf("%+v", r.Trigger)
	}
	m = m.with(run.Patch{Ver: 3, AddTags: []string{"a"}, Metadata: &run.Metadata{Bytes: []byte("2"), Type: "y"}, Delay: run.InstantOf(hour.Add(time.Hour))})
	for range 2 {
		s.drain(Replayed, m)
		r := s.one(m.Snapshot.ID)
		if !slices.Equal(r.Trigger.Tags, []string{"a", "b"}) || string(r.Trigger.Metadata) != "2" || r.Trigger.MetadataType != "y" ||
			!r.Trigger.DelayUntil.Equal(hour.Add(time.Hour)) || r.Status != run.Delayed {
			t.Errorf("%+v", r)
		}
	}
	// It runs meanwhile: a delay comes too late, a cancellation does not (case 42).
	s.exec("update runs set status = 'EXECUTING' where id = $1", m.Snapshot.ID.String())
	m = m.with(run.Patch{Ver: 4, Delay: run.InstantOf(hour)}, cancelled(5))
	if got := s.drain(Replayed, m); got.Status != run.Canceled || got.AcceptedAt != 1000 || got.Until != 2000 {
		t.Errorf("%+v", got)
	}
	if r := s.one(m.Snapshot.ID); r.Status != run.Canceled || r.Error.Message != "enough" || r.Trigger.DelayUntil.Equal(hour) || !r.FinishedAt.Equal(time.UnixMicro(5)) {
		t.Errorf("%+v", r)
	}
	if n := s.count("select buffer_ver from runs where id = $1", m.Snapshot.ID.String()); n != 5 {
		t.Errorf("version %d", n)
	}
	// A final run stays what it is (case 43: and is not called cancelled).
	done := fromBuffer("d", 1000, 2000)
	s.drain(Created, done)
	s.finish(done.Snapshot.ID, run.Completed)
	if got := s.drain(Replayed, done.with(cancelled(1))); got.Status != run.Completed {
		t.Errorf("%+v", got)
	}
}

// Patches of an entry that became an alias meanwhile.
func TestReplayOfAnAliasWithPatches(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.drain(Created, fromBuffer("k", 1000, 2000))
	early := fromBuffer("k", 1400, 2500).with(run.Patch{Ver: 3, Metadata: &run.Metadata{Bytes: []byte("0"), Type: "x"}})
	s.drain(Aliased, early)
	if n := s.count("select buffer_ver from runs where id = $1", early.Snapshot.ID.String()); n != 3 {
		t.Errorf("the alias has version %d", n)
	}
	m := fromBuffer("k", 1500, 2500)
	s.drain(Aliased, m)
	m = m.with(run.Patch{Ver: 1, AddTags: []string{"a"}, Metadata: &run.Metadata{Bytes: []byte("1"), Type: "x"}})
	s.drain(Replayed, m)
	if r := s.one(w.ID); !slices.Equal(r.Trigger.Tags, []string{"a"}) || r.Trigger.Metadata != nil {
		t.Errorf("%+v", r.Trigger)
	}
	if got := s.drain(Replayed, m.with(cancelled(2))); got.Canonical != w.ID || got.Status != run.Canceled {
		t.Errorf("%+v", got)
	}
	if n := s.count("select count(*) from runs where id = $1 and buffer_ver = 2 and metadata = '1' and tags = '{a}'", m.Snapshot.ID.String()); n != 1 {
		t.Error("the alias does not keep its own")
	}
	if n := s.count("select buffer_ver from runs where id = $1", w.ID.String()); n != 0 {
		t.Errorf("the winner's version is %d", n)
	}
}

// One row that no Postgres can hold does not harm its neighbours, and ends as a
// visible failure (cases 39, 40, 44, 45).
func TestPoisonEntries(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := s.CreateBatch(t.Context(), NewBatch{Environment: env, ID: "batch_1", Items: 2}); err != nil {
		t.Fatal(err)
	}
	w := s.drain(Created, fromBuffer("held", 1, 9000))
	batch := make([]Materialisation, 20)
	for i := range batch {
		batch[i] = fromBuffer(fmt.Sprint("k", i), 1000, 2000)
	}
	batch[5] = fromBuffer("held", 2000, 9000)
	bad := &batch[7]
	bad.Snapshot = snapshot(run.Trigger{
		IdempotencyKey: "bad", Tags: []string{"a\x00b", "\xff"}, Queue: "q\x00", Payload: []byte(`"hush"`), Metadata: []byte("m"),
		BatchItem: run.BatchItem{Batch: "batch_1", Index: 1},
	})
	bad.Snapshot.Accept(1000)
	*bad = bad.with(run.Patch{Ver: 1, AddTags: []string{"c"}})
	batch[8] = Materialisation{Snapshot: &run.Snapshot{ID: mint()}}
	batch[9] = Materialisation{}
	for i, a := range s.Materialise(t.Context(), batch) {
		switch i {
		case 7:
			if !errors.Is(a.Err, run.ErrRejected) || OutcomeUnknown(a.Err) || strings.Contains(a.Err.Error(), "hush") {
				t.Errorf("%+v", a)
			}
		case 8, 9:
			if !errors.Is(a.Err, run.ErrInvalid) {
				t.Errorf("%d: %+v", i, a)
			}
		case 5:
			if a.Err != nil || a.Outcome != Aliased || a.Canonical != w.ID {
				t.Errorf("%+v", a)
			}
		default:
			if a.Err != nil || a.Outcome != Created {
				t.Errorf("%d: %+v", i, a)
			}
		}
	}
	bad.Failed = &run.Failure{Message: "can not be stored\x00", Name: "Poison"}
	s.drain(Created, *bad)
	s.drain(Replayed, *bad)
	r := s.one(bad.Snapshot.ID)
	if r.Status != run.SystemFailure || r.Error.Name != "Poison" || r.Trigger.Payload != nil || r.Trigger.Metadata != nil || r.FinishedAt.IsZero() ||
		r.Trigger.IdempotencyKey != "bad" || len(r.Trigger.Tags) != 3 || r.CreatedAt.UnixMicro() != 1000 || r.PayloadHash != bad.Snapshot.PayloadHash {
		t.Errorf("%+v", r)
	}
	b, err := s.Batch(t.Context(), env, "batch_1")
	if err != nil || len(b.Places) != 1 || b.Places[0].Run != bad.Snapshot.ID || b.Places[0].Index != 1 || b.Places[0].Status != run.SystemFailure {
		t.Errorf("%+v, %v", b, err)
	}
	// Its key is free for the next trigger.
	s.want(TookOver, keyed("bad", 0))
	// Cancelled and impossible: cancelled.
	both := fromBuffer("both", 1000, 2000).with(cancelled(1))
	both.Snapshot.Trigger.Queue, both.Failed = "\x00", &run.Failure{Message: "x"}
	s.drain(Created, both)
	if r := s.one(both.Snapshot.ID); r.Status != run.Canceled || r.Error.Message != "enough" {
		t.Errorf("%+v", r)
	}
	// An id that another environment has is another run.
	foreign := fromBuffer("foreign", 1000, 2000)
	s.drain(Created, foreign)
	other := snapshot(run.Trigger{Environment: "env_2"})
	other.ID, other.AcceptedAt = foreign.Snapshot.ID, 1000
	if a := s.Materialise(t.Context(), []Materialisation{{Snapshot: other}})[0]; a.Outcome != Created {
		t.Errorf("%+v", a)
	}
}
