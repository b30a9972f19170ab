package runstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

const month = run.Instant(30 * 24 * time.Hour / time.Microsecond)

func TestSettleOneKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := keyed("k", 1000)
	created := s.want(Created, first)
	if created.ID != first.ID || created.AcceptedAt != 1000 || created.Until != 1000+month || created.Status != run.Queued {
		t.Fatalf("created %+v", created.Holder)
	}
	// The loser carries the winner's id in every field (case 2).
	held := s.want(Held, keyed("k", 2000))
	if held.Holder != created.Holder {
		t.Fatalf("held by %+v, want %+v", held.Holder, created.Holder)
	}
	// A lost reply: the same id again is the same run, not a hit.
	if again := s.want(Replayed, first); again.Holder != created.Holder {
		t.Fatalf("replayed %+v", again.Holder)
	}
	// Without a claim, Postgres's clock is the acceptance.
	s.want(TookOver, keyed("k", 0))
	if n := s.count("select count(*) from runs"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

func TestSettleWithoutKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	before := run.Instant(s.count("select now_us()"))
	plain := snapshot(run.Trigger{})
	created := s.want(Created, plain)
	if created.AcceptedAt < before || created.Until != 0 {
		t.Errorf("created %+v, not before %d", created.Holder, before)
	}
	if again := s.want(Replayed, plain); again.AcceptedAt != created.AcceptedAt {
		t.Errorf("created-at moved: %d, %d", created.AcceptedAt, again.AcceptedAt)
	}
	at := snapshot(run.Trigger{})
	at.AcceptedAt = 12345
	s.want(Created, at)
	if r := s.one(at.ID); !r.CreatedAt.Equal(time.UnixMicro(12345)) || !r.KeyUntil.IsZero() {
		t.Errorf("created at %v, key until %v", r.CreatedAt, r.KeyUntil)
	}
}

// Environments, tasks and kinds with equal texts never meet.
func TestKeysOfDifferentTuplesNeverMeet(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, tr := range []run.Trigger{
		{IdempotencyKey: "k"},
		{IdempotencyKey: "k", Environment: "env_2"},
		{IdempotencyKey: "k", Task: "other"},
		{IdempotencyKey: "b", Task: "a:b"},
		{IdempotencyKey: "b:b", Task: "a"},
		{RequestKey: "k"},
		{BatchItem: run.BatchItem{Batch: "k"}},
		{BatchItem: run.BatchItem{Batch: "k", Index: 1}},
		{IdempotencyKey: strings.Repeat("🙂", 1024)},
		{IdempotencyKey: "{x}:'; drop table runs; --"},
	} {
		s.want(Created, snapshot(tr))
		s.want(Held, snapshot(tr))
	}
}

// One batch may hold a key twice: one of the two is first.
func TestOneKeyTwiceInABatch(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	batch := func(at run.Instant) []Settlement {
		a, b, c := keyed("a", at), keyed("b", at), keyed("a", at)
		return []Settlement{{a}, {snapshot(run.Trigger{})}, {b}, {c}, {a}}
	}
	for round, at := range []run.Instant{1000, 1000 + month} {
		got := s.Settle(t.Context(), batch(at))
		made := 0
		for i, a := range got {
			if a.Err != nil {
				t.Fatalf("round %d item %d: %v", round, i, a.Err)
			}
			if (i == 0 || i == 3) && (a.Outcome == Created || a.Outcome == TookOver) {
				made++
			}
		}
		if made != 1 || got[0].Canonical != got[3].Canonical || got[0].Canonical != got[4].Canonical {
			t.Fatalf("round %d: %+v", round, got)
		}
	}
	if n := s.count(overlaps); n != 0 {
		t.Errorf("%d overlaps", n)
	}
}

// Cases 16 and 98: an ended holder gives way, and only for the statuses that
// clear, and only if it is an idempotency key that is cleared.
func TestTakeoverByStatus(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, kind := range []run.Trigger{{IdempotencyKey: "k"}, {RequestKey: "k"}, {BatchItem: run.BatchItem{Batch: "k"}}} {
		for _, status := range run.Statuses {
			if !run.Queued.CanBecome(status) {
				continue
			}
			kind.Task = fmt.Sprintf("%s-%c", status, kind.Key().Kind)
			first := s.want(Created, snapshot(kind))
			s.finish(first.ID, status)
			want := Held
			if status.ClearsKey() && kind.IdempotencyKey != "" {
				want = TookOver
			}
			next := s.want(want, snapshot(kind))
			if want == TookOver && next.AcceptedAt < s.holderUntil(first.ID) {
				t.Errorf("%s: accepted at %d, within the interval of the run before", kind.Task, next.AcceptedAt)
			}
			s.want(Held, snapshot(kind))
		}
	}
	if n := s.count(overlaps); n != 0 {
		t.Errorf("%d overlaps", n)
	}
}

func (s *testStore) holderUntil(id run.ID) run.Instant {
	s.t.Helper()
	return run.Instant(s.count("select key_until from runs where id = $1", id.String()))
}

func TestTakeoverOfAnExpiredKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.want(Created, keyed("k", 1000))
	s.want(Held, keyed("k", 1000+month-1))
	next := s.want(TookOver, keyed("k", 1000+month))
	if next.AcceptedAt != 1000+month || next.Until != 1000+2*month {
		t.Errorf("%+v", next.Holder)
	}
	// A trigger that was accepted before is a hit now: the later run holds the key.
	if late := s.want(Held, keyed("k", 500)); late.ID != next.ID {
		t.Errorf("held by %s", late.ID)
	}
}

// A claim's clock that is behind the one that cleared the key is raised to the
// end of the interval before; one that is behind a merged acceptance, beyond it.
func TestTakeoverRaisesTheAcceptance(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := run.Instant(s.count("select now_us()"))
	first := s.want(Created, keyed("k", now))
	s.finish(first.ID, run.Failed)
	next := s.want(TookOver, keyed("k", now+1))
	if until := s.holderUntil(first.ID); next.AcceptedAt != until || until <= now {
		t.Errorf("accepted at %d, the interval before ends at %d", next.AcceptedAt, until)
	}
	if created := s.one(next.ID).CreatedAt; created != next.AcceptedAt.Time() {
		t.Errorf("created at %v, accepted at %v", created, next.AcceptedAt.Time())
	}

	merged := now + 3_600_000_000
	s.exec("update runs set key_last = $2 where id = $1", next.ID.String(), int64(merged))
	s.finish(next.ID, run.Crashed)
	if last := s.want(TookOver, keyed("k", next.AcceptedAt+1)); last.AcceptedAt != merged+1 {
		t.Errorf("accepted at %d, merged up to %d", last.AcceptedAt, merged)
	}
	if n := s.count(overlaps); n != 0 {
		t.Errorf("%d overlaps", n)
	}
}

// A worker that knows nothing of keys ends their interval all the same.
func TestPlainSQLClearsTheKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := s.want(Created, keyed("k", 0))
	s.exec("update runs set status = 'SYSTEM_FAILURE' where id = $1", first.ID.String())
	r := s.one(first.ID)
	if r.FinishedAt.IsZero() || r.KeyUntil.After(time.Now().Add(time.Hour)) || !r.KeyUntil.After(r.CreatedAt) {
		t.Errorf("finished %v, key until %v", r.FinishedAt, r.KeyUntil)
	}
	s.want(TookOver, keyed("k", 0))
	s.exec("insert into runs (id, env_id, org_id, task, key_kind, key_slot, accepted_at, key_until, status, payload_hash)"+
		" select 'born_expired', env_id, org_id, task, 'k', sha256('x'), 5, $1, 'EXPIRED', payload_hash from runs limit 1", int64(month)*1000)
	if until := s.holderUntil(mustParse(t, "born_expired")); until > run.Instant(s.count("select now_us()")) {
		t.Errorf("a run born expired holds its key until %d", until)
	}
}

func mustParse(t *testing.T, text string) run.ID {
	t.Helper()
	id, err := run.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Cases 97 and 115: what Postgres can not hold fails alone, and its text stays out of the error.
func TestPoisonRowsFailAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	poisonous := map[int]run.Trigger{
		3:  {Queue: "hush\x00hush"},
		4:  {IdempotencyKey: "hush\xff"},
		11: {BatchItem: run.BatchItem{Batch: "hush", Index: 1 << 40}},
		29: {Tags: []string{"hush\x00"}},
	}
	list := make([]Settlement, 30)
	for i := range list {
		tr := run.Trigger{IdempotencyKey: fmt.Sprint("k", i%25)}
		if p, ok := poisonous[i]; ok {
			tr = p
		}
		list[i].Snapshot = snapshot(tr)
	}
	for i, a := range s.Settle(t.Context(), list) {
		if _, ok := poisonous[i]; !ok {
			if a.Err != nil || a.ID.IsZero() {
				t.Errorf("item %d: %v", i, a.Err)
			}
			continue
		}
		if !errors.Is(a.Err, run.ErrRejected) || OutcomeUnknown(a.Err) || strings.Contains(a.Err.Error(), "hush") {
			t.Errorf("item %d: %v", i, a.Err)
		}
	}
}

// An id is a name in one environment: nobody else's row is read, changed or
// taken for a replay (cases 1, 5).
func TestIDOfAnotherEnvironment(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mine := s.want(Created, keyed("k", 10))
	if found, err := s.Runs(t.Context(), "env_2", []run.ID{mine.ID}); err != nil || len(found) != 0 {
		t.Errorf("read %v, %v", found, err)
	}
	if _, err := s.Finish(t.Context(), "env_2", mine.ID, run.Finish{Status: run.Completed}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("finished: %v", err)
	}
	if a := s.Check(t.Context(), []Check{{"env_2", keyed("k", 0).Hash, mine.ID}})[0]; a.Found || a.Holds || a.Err != nil {
		t.Errorf("checked %+v", a)
	}
	for other, tr := range map[string]run.Trigger{"env_2": {}, "env_3": {IdempotencyKey: "k"}} {
		tr.Environment = other
		foreign := snapshot(tr)
		foreign.ID = mine.ID
		got := s.Settle(t.Context(), []Settlement{{foreign}, {snapshot(run.Trigger{})}})
		if got[0].Err != nil || got[0].Outcome != Created || got[1].Outcome != Created {
			t.Errorf("settled %+v", got)
		}
		if again := s.Settle(t.Context(), []Settlement{{foreign}})[0]; again.Outcome != Replayed {
			t.Errorf("settled again: %+v", again)
		}
		if _, err := s.Finish(t.Context(), other, mine.ID, run.Finish{Status: run.Completed}); err != nil {
			t.Error(err)
		}
	}
	if found, err := s.Runs(t.Context(), env, []run.ID{mine.ID}); err != nil || len(found) != 1 || found[mine.ID].Status != run.Queued {
		t.Errorf("its own environment's: %+v, %v", found, err)
	}
}

// A repeat without a key meets nothing but its own id, and its statement fails: the rows
// beside it are inserted all the same, and everybody is answered.
func TestRepeatsWithoutAKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var told []run.ID
	s.hook = func(_ context.Context, _ Tx, runs []run.Landed) error {
		for i := range runs {
			told = append(told, runs[i].ID)
		}
		return nil
	}
	for name, settle := range map[string]func(items ...*run.Snapshot) (outcomes []Outcome){
		"settle": func(items ...*run.Snapshot) (outcomes []Outcome) {
			settlements := make([]Settlement, len(items))
			for i := range items {
				settlements[i].Snapshot = items[i]
			}
			for _, a := range s.Settle(t.Context(), settlements) {
				outcomes = append(outcomes, a.Outcome)
			}
			return outcomes
		},
		"materialise": func(items ...*run.Snapshot) (outcomes []Outcome) {
			materialisations := make([]Materialisation, len(items))
			for i := range items {
				materialisations[i].Snapshot = items[i]
			}
			for _, a := range s.Materialise(t.Context(), materialisations) {
				outcomes = append(outcomes, a.Outcome)
			}
			return outcomes
		},
	} {
		told = nil
		var runs []*run.Snapshot
		for range 4 {
			r := snapshot(run.Trigger{})
			r.AcceptedAt = 1000
			runs = append(runs, r)
		}
		keyed := snapshot(run.Trigger{IdempotencyKey: name})
		keyed.AcceptedAt = 1000
		if got := settle(runs[0], keyed); !slices.Equal(got, []Outcome{Created, Created}) {
			t.Fatalf("%s: %v", name, got)
		}
		got := settle(runs[1], runs[0], runs[2], runs[2], keyed, runs[3])
		if !slices.Equal(got, []Outcome{Created, Replayed, Created, Replayed, Replayed, Created}) {
			t.Errorf("%s: %v", name, got)
		}
		// The hook was told of each in a transaction that stood.
		want := []run.ID{runs[0].ID, keyed.ID, runs[1].ID, runs[2].ID, runs[3].ID}
		byText := func(a, b run.ID) int { return strings.Compare(a.String(), b.String()) }
		slices.SortFunc(want, byText)
		slices.SortFunc(told, byText)
		if !slices.Equal(told, want) {
			t.Errorf("%s: the hook was told of %v, want %v", name, told, want)
		}
	}
}

func TestManyCallersOneKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const callers = 100
	answers := make([]Settled, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { answers[i] = s.settleOne(keyed("k", 0)) })
	}
	wg.Wait()
	made := 0
	for _, a := range answers {
		if a.Err != nil || a.ID != answers[0].ID {
			t.Fatalf("%+v", a)
		}
		if a.Outcome == Created {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d callers created the run", made)
	}
}

// Case 16: many losers of one ended run make one run.
func TestManyCallersOneEndedKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for round := range 5 {
		first := s.want([]Outcome{Created, TookOver}[min(round, 1)], keyed("k", 0))
		s.finish(first.ID, run.Failed)
		const callers = 16
		answers := make([]Settled, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() { answers[i] = s.settleOne(keyed("k", 0)) })
		}
		wg.Wait()
		made := 0
		for _, a := range answers {
			if a.Err != nil || a.ID != answers[0].ID || a.ID == first.ID {
				t.Fatalf("%+v", a)
			}
			if a.Outcome == TookOver {
				made++
			}
		}
		if made != 1 {
			t.Fatalf("%d callers made a run", made)
		}
		s.finish(answers[0].ID, run.TimedOut)
	}
	if n := s.count(overlaps); n != 0 {
		t.Errorf("%d overlaps", n)
	}
}

func TestDelayAndParents(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	later := snapshot(run.Trigger{DelayUntil: time.Now().Add(time.Hour)})
	if got := s.want(Created, later); got.Status != run.Delayed {
		t.Errorf("status %s", got.Status)
	}
	if got := s.want(Created, snapshot(run.Trigger{DelayUntil: time.Now().Add(-time.Hour)})); got.Status != run.Queued {
		t.Errorf("a delay in the past gives %s", got.Status)
	}
	child := snapshot(run.Trigger{ParentRun: later.ID})
	s.want(Created, child)
	grandchild := snapshot(run.Trigger{ParentRun: child.ID})
	s.want(Created, grandchild)
	foreign := snapshot(run.Trigger{ParentRun: child.ID, Environment: "env_2"})
	s.want(Created, foreign)
	if r := s.one(grandchild.ID); r.Depth != 2 || r.RootRun != later.ID || r.Trigger.ParentRun != child.ID {
		t.Errorf("depth %d, root %s", r.Depth, r.RootRun)
	}
	found, err := s.Runs(t.Context(), "env_2", []run.ID{foreign.ID})
	if r := found[foreign.ID]; err != nil || r.Depth != 1 || r.RootRun != child.ID {
		t.Errorf("a parent of another environment: depth %d, root %s, %v", r.Depth, r.RootRun, err)
	}
}
