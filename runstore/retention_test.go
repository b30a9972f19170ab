package runstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

const (
	day  = run.Instant(24 * time.Hour / time.Microsecond)
	long = 30 * 24 * time.Hour
)

// now is Postgres's clock.
func (s *testStore) now() (now run.Instant) {
	s.t.Helper()
	if err := s.sql.QueryRow(s.t.Context(), "select now_us()").Scan(&now); err != nil {
		s.t.Fatal(err)
	}
	return now
}

// horizon moves the horizon, and has it have stood for long enough.
func (s *testStore) horizon(keep time.Duration, oldest run.Instant) Horizon {
	s.t.Helper()
	var m Horizon
	for range 2 {
		var err error
		if m, err = s.Advance(s.t.Context(), keep, s.now(), oldest, 0); err != nil {
			s.t.Fatal(err)
		}
	}
	return m
}

func (s *testStore) remove(environment string, before run.Instant, limit int) (all Removed) {
	s.t.Helper()
	for r := NewRemoval(environment, before); !r.Over(); {
		done, busy, err := s.Remove(s.t.Context(), r, limit)
		if err != nil || busy {
			s.t.Fatalf("busy %v, %v", busy, err)
		}
		all.Add(done)
	}
	return all
}

// endedAt has a run have ended at an instant, and its key too.
func (s *testStore) endedAt(id run.ID, at run.Instant) {
	s.t.Helper()
	s.finish(id, run.Completed)
	s.exec("update runs set finished_at = $2, key_until = least(key_until, greatest($2, accepted_at)) where id = $1", id.String(), int64(at))
}

func (s *testStore) there(id run.ID) bool {
	s.t.Helper()
	return s.count("select count(*) from runs where id = $1", id.String()) == 1
}

// What is over goes, with its names and letters; what lives, waits, is young, holds a key
// or stands above something that is there stays.
func TestRetentionRemovesWhatIsOver(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := s.now()
	old, older := now-40*day, now-41*day
	made := map[string]run.ID{}
	add := func(name string, trigger run.Trigger, at run.Instant, status run.Status) *run.Snapshot {
		t.Helper()
		snap := snapshot(trigger)
		snap.AcceptedAt = at
		s.want(Created, snap)
		made[name] = snap.ID
		if status.Final() {
			s.endedAt(snap.ID, at+1000)
		}
		return snap
	}
	dead := add("over", run.Trigger{}, old, run.Completed)
	add("over with its key", run.Trigger{IdempotencyKey: "k1", KeyTTL: time.Hour}, old, run.Completed)
	add("young", run.Trigger{}, now, run.Completed)
	add("queued", run.Trigger{}, old, run.Queued)
	add("delayed", run.Trigger{DelayUntil: time.Now().Add(time.Hour)}, old, run.Delayed)
	add("executing", run.Trigger{}, old, run.Queued)
	s.finish(made["executing"], run.Executing)
	add("ended late", run.Trigger{}, old, run.Queued)
	s.finish(made["ended late"], run.Completed)
	holds := add("holds its key", run.Trigger{IdempotencyKey: "k2", KeyTTL: 60 * 24 * time.Hour}, old, run.Queued)
	s.finish(holds.ID, run.Completed)
	s.exec("update runs set finished_at = $2 where id = $1", holds.ID.String(), int64(old+1000))
	add("parent of what waits", run.Trigger{}, old, run.Completed)
	add("child that waits", run.Trigger{ParentRun: made["parent of what waits"]}, old, run.Queued)
	add("parent", run.Trigger{}, older, run.Completed)
	add("child", run.Trigger{ParentRun: made["parent"]}, old, run.Completed)
	add("other environment", run.Trigger{Environment: "env_2"}, old, run.Queued)
	if _, err := s.Finish(t.Context(), "env_2", made["other environment"], run.Finish{Status: run.Completed}); err != nil {
		t.Fatal(err)
	}
	s.exec("update runs set finished_at = $2 where id = $1", made["other environment"].String(), int64(old))

	// A run with another name; and one whose other name came lately.
	with := add("with an alias", run.Trigger{IdempotencyKey: "k3", KeyTTL: time.Hour}, old, run.Queued)
	alias := fromBuffer("k3", old+1, old+2)
	s.drain(Aliased, alias)
	s.endedAt(with.ID, old+1000)
	young := add("with a young alias", run.Trigger{IdempotencyKey: "k4", KeyTTL: long + 20*24*time.Hour}, old, run.Queued)
	late := fromBuffer("k4", now-day, now)
	s.drain(Aliased, late)
	s.endedAt(young.ID, old+1000)

	// A key that was reset: the run before, its tombstone in the slot.
	cut := add("reset", run.Trigger{IdempotencyKey: "k5"}, old, run.Queued)
	s.resetAt("k5", old+10)
	s.endedAt(cut.ID, old+20)

	// A failure with its letter.
	if err := s.Bury(t.Context(), dead, "why"); err != nil {
		t.Fatal(err)
	}

	if got, err := s.Environments(t.Context()); err != nil || fmt.Sprint(got) != "[env_1 env_2]" {
		t.Fatalf("environments %v, %v", got, err)
	}
	m := s.horizon(long, 0)
	got := s.remove(env, m.Removable, 3)
	for s.remove(env, m.Removable, 3) != (Removed{}) { // a parent goes after its children
		continue
	}
	want := Removed{Runs: 5, Aliases: 1, Tombstones: 1, DeadLetters: 1}
	if got.Runs == 4 {
		got.Runs++ // the parent went in the second pass
	}
	if got != want {
		t.Errorf("removed %+v, want %+v", got, want)
	}
	for _, name := range []string{"over", "over with its key", "child", "parent", "with an alias", "reset"} {
		if s.there(made[name]) {
			t.Errorf("%s stayed", name)
		}
	}
	for _, name := range []string{
		"young", "queued", "delayed", "executing", "ended late", "holds its key", "parent of what waits",
		"child that waits", "with a young alias", "other environment",
	} {
		if !s.there(made[name]) {
			t.Errorf("%s was removed", name)
		}
	}
	if s.there(alias.Snapshot.ID) || !s.there(late.Snapshot.ID) {
		t.Error("aliases go with their runs, and stay with them")
	}
	if n := s.count("select count(*) from dead_letters"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	// A key whose slot is empty again takes the next run; one that is held does not.
	s.want(Created, keyed("k5", now))
	s.want(Held, keyed("k2", now))
}

// The horizon goes no further than either clock, nor than what the buffer holds, and counts
// when it has stood; it never goes back.
func TestRetentionHorizon(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := s.now()
	m, err := s.Advance(t.Context(), long, now, 0, HorizonStands)
	if err != nil || m.Removable != 0 {
		t.Fatalf("%+v, %v: a horizon counts at once", m, err)
	}
	if m, err = s.Advance(t.Context(), time.Hour, now, 0, HorizonStands); err != nil || m.Removable != 0 {
		t.Fatalf("%+v, %v: a horizon counts before it has stood", m, err)
	}
	horizon := func() run.Instant { return run.Instant(s.count("select horizon from retention")) }
	if at := horizon(); at > now-29*day {
		t.Errorf("the horizon moved on before it had stood: %d", at)
	}
	if m = s.horizon(24*time.Hour, now-10*day); m.Removable != now-10*day {
		t.Errorf("removable %d, want what the buffer holds", m.Removable)
	}
	if m = s.horizon(24*time.Hour, now-20*day); m.Removable != now-10*day {
		t.Errorf("removable %d: it went back", m.Removable)
	}
	if m, err = s.Advance(t.Context(), 24*time.Hour, now-5*day, 0, 0); err != nil || horizon() != now-6*day {
		t.Errorf("horizon %d, %v: want the clock that is behind", horizon(), err)
	}
}

// What comes from before the horizon may have been here. It is not made again: neither by a
// flight that slept, nor by a drain that did.
func TestWhatWasRemovedIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := s.now()
	old := now - 40*day
	direct, drained := keyed("k1", old), fromBuffer("k2", old, old+10)
	keyless := Materialisation{Snapshot: snapshot(run.Trigger{})}
	keyless.Snapshot.AcceptedAt = old
	s.want(Created, direct)
	s.drain(Created, drained)
	s.drain(Created, keyless)
	for _, id := range []run.ID{direct.ID, drained.Snapshot.ID, keyless.Snapshot.ID} {
		s.endedAt(id, old+5)
	}
	m := s.horizon(long, 0)
	if got := s.remove(env, m.Removable, 100); got.Runs != 3 {
		t.Fatalf("removed %+v", got)
	}

	if got := s.settleOne(direct); !errors.Is(got.Err, run.ErrRejected) {
		t.Errorf("settled again: %+v", got)
	}
	for i, got := range s.Materialise(t.Context(), []Materialisation{drained, keyless}) {
		if !errors.Is(got.Err, run.ErrRejected) {
			t.Errorf("%d materialised again: %+v", i, got)
		}
	}
	debounced := snapshot(run.Trigger{IdempotencyKey: "k1", Debounce: &run.Debounce{Key: "d", Delay: time.Minute}})
	debounced.AcceptedAt = old
	if got := s.settleOne(debounced); !errors.Is(got.Err, run.ErrRejected) {
		t.Errorf("a debounced one: %+v", got)
	}
	if n := s.count("select count(*) from runs"); n != 0 {
		t.Fatalf("%d rows", n)
	}

	// Its failure can be seen; it holds nothing, and another run has the key.
	drained.Failed = &run.Failure{Message: "late"}
	s.drain(Created, drained)
	if r := s.one(drained.Snapshot.ID); r.Status != run.SystemFailure {
		t.Errorf("status %s", r.Status)
	}
	holder := keyed("k2", now)
	s.want(Created, holder)

	// One whose key was taken by another meanwhile is another name of that.
	twin := fromBuffer("k2", old, now+1)
	if got := s.drain(Aliased, twin); got.Canonical != holder.ID {
		t.Errorf("an alias of %s", got.Canonical)
	}
	// One whose key's holder has ended goes nowhere; cancelled, it is a row that holds nothing.
	s.finish(holder.ID, run.Failed)
	behind := fromBuffer("k2", old, old+20)
	if got := s.Materialise(t.Context(), []Materialisation{behind})[0]; !errors.Is(got.Err, run.ErrRejected) {
		t.Errorf("beside a holder that has ended: %+v", got)
	}
	s.drain(OwnClosed, behind.with(cancelled(1)))
	s.want(TookOver, keyed("k2", s.now()+10))
	s.disjoint()
}

// A batch goes when it is sealed, its key's time is over and all of its runs are; then
// they do. A batch that was never sealed is waited for.
func TestRetentionOfBatches(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := s.now()
	old := now - 40*day
	key := run.Key{Kind: run.KindIdempotency, Environment: env, Text: "batch"}
	for id, b := range map[string]NewBatch{
		"b_over":    {Items: 2},
		"b_key":     {Items: 1, Key: key, KeyTTL: 60 * 24 * time.Hour},
		"b_waits":   {Items: 2},
		"b_open":    {Items: 2},
		"b_younger": {Items: 2, CreatedAt: now - 31*day/2},
	} {
		b.Environment, b.ID = env, id
		if b.CreatedAt == 0 {
			b.CreatedAt = old
		}
		s.createBatch(b)
	}
	runs := map[string]run.ID{}
	for name, end := range map[string]bool{"b_over/0": true, "b_over/1": true, "b_key/0": true, "b_waits/0": true, "b_waits/1": false, "b_open/0": true} {
		var index int
		var batch string
		if _, err := fmt.Sscanf(name[len(name)-1:], "%d", &index); err != nil {
			t.Fatal(err)
		}
		batch = name[:len(name)-2]
		snap := snapshot(run.Trigger{BatchItem: run.BatchItem{Batch: batch, Index: index}})
		snap.AcceptedAt = old
		s.want(Created, snap)
		if runs[name] = snap.ID; end {
			s.endedAt(snap.ID, old+5)
		}
	}
	for _, id := range []string{"b_over", "b_key", "b_waits"} {
		s.exec("update batches set sealed_at = $2 where id = $1", id, int64(old+10))
	}
	m := s.horizon(long, 0)
	if got := s.remove(env, m.Removable, 2); got != (Removed{Runs: 3, Batches: 2, Places: 3}) {
		t.Errorf("removed %+v", got)
	}
	for name, id := range runs {
		gone := name[:6] == "b_over" || name[:6] == "b_open"
		if s.there(id) == gone {
			t.Errorf("%s: there %v", name, !gone)
		}
	}
	if n := s.count("select count(*) from batches where id in ('b_key', 'b_waits', 'b_younger')"); n != 3 {
		t.Errorf("%d batches stayed", n)
	}
}

// Triggers, drains, repeated drains of what was drained long ago, resets and workers on a
// few keys whose intervals are short, while several nodes remove what is over: no run comes
// back, and no two runs of a key, of all that ever were, have met. (An id may come back as
// another name of a run that holds its key.)
func TestRetentionRacesWithEverything(t *testing.T) {
	t.Parallel()
	url := stacktest.Postgres(t)
	s := openStore(t, url)
	const statement = time.Second // no statement takes longer: Postgres ends it
	quick, err := Open(t.Context(), Config{URL: url, MaxConns: 8, StatementTimeout: statement})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(quick.Close)
	s.Store = quick
	for _, sql := range []string{
		`create table gone (like runs)`,
		`create function keep_gone() returns trigger language plpgsql as $$ begin insert into gone select old.*; return null; end $$`,
		`create trigger keep_gone after delete on runs for each row execute function keep_gone()`,
		`create view ever as select * from runs union all select * from gone`,
	} {
		if _, err := s.sql.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const (
		keys   = 4
		keep   = 100 * time.Millisecond
		stands = statement + time.Second/2
		enough = 300
	)
	var (
		work    sync.WaitGroup
		over    = make(chan struct{})
		ended   = sync.OnceFunc(func() { close(over) })
		removed atomic.Int64
		late    atomic.Int64
		known   struct {
			sync.Mutex
			drained []Materialisation
		}
	)
	going := func() bool {
		select {
		case <-over:
			return false
		default:
			return t.Context().Err() == nil && !t.Failed()
		}
	}
	for g := range 6 {
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 2))
			for going() {
				now := run.InstantOf(time.Now())
				snap := snapshot(run.Trigger{
					IdempotencyKey: fmt.Sprint("key", rnd.IntN(keys)), KeyTTL: time.Duration(1+rnd.IntN(40)) * time.Millisecond,
				})
				snap.AcceptedAt = now - run.Instant(rnd.IntN(20_000))
				if rnd.IntN(8) == 0 {
					snap.AcceptedAt = now - run.Instant(rnd.IntN(10_000_000)) // it slept
				}
				var id run.ID
				var err error
				switch rnd.IntN(8) {
				case 0:
					_, _, err = s.Reset(t.Context(), env, snap.Hash, snap.AcceptedAt)
				case 1, 2, 3:
					m := Materialisation{Snapshot: snap}
					known.Lock()
					if n := len(known.drained); n > 0 && rnd.IntN(3) == 0 {
						m = known.drained[rnd.IntN(n)]
					} else {
						known.drained = append(known.drained, m)
					}
					known.Unlock()
					got := s.Materialise(t.Context(), []Materialisation{m})[0]
					id, err = got.Canonical, got.Err
				default:
					got := s.Settle(t.Context(), []Settlement{{snap}})[0]
					id, err = got.Canonical, got.Err
				}
				switch {
				case errors.Is(err, run.ErrRejected):
					late.Add(1)
				case errors.Is(err, run.ErrUnavailable): // on a machine that is too busy
				case err != nil:
					t.Errorf("%v", err)
				case !id.IsZero() && rnd.IntN(2) == 0:
					ending := []run.Status{run.Failed, run.Completed, run.Canceled}[rnd.IntN(3)]
					_, err = s.Finish(t.Context(), env, id, run.Finish{Status: ending})
					if err != nil && !errors.Is(err, run.ErrConflict) && !errors.Is(err, run.ErrNotFound) && !errors.Is(err, run.ErrUnavailable) {
						t.Errorf("finish: %v", err)
					}
				}
			}
		})
	}
	for range 2 {
		work.Go(func() {
			defer ended()
			pause := time.NewTicker(20 * time.Millisecond)
			defer pause.Stop()
			for going() && removed.Load() < enough {
				<-pause.C
				m, err := s.Advance(t.Context(), keep, run.InstantOf(time.Now()), 0, stands)
				if errors.Is(err, run.ErrUnavailable) {
					continue
				}
				if err != nil {
					t.Errorf("horizon: %v", err)
					return
				}
				for r := NewRemoval(env, m.Removable); !r.Over(); {
					done, busy, err := s.Remove(t.Context(), r, 50)
					if errors.Is(err, run.ErrUnavailable) {
						break
					}
					if err != nil {
						t.Errorf("remove: %v", err)
						return
					}
					removed.Add(int64(done.Runs))
					if busy {
						break
					}
				}
			}
		})
	}
	work.Wait()
	if n := s.count(`select count(*) from (select id from ever where kind = 0 group by id having count(*) > 1) as twice`); n != 0 {
		t.Errorf("%d runs were made again", n)
	}
	if n := s.count(`select count(*) from ever a join ever b
		on a.env_id = b.env_id and a.id < b.id and a.kind = 0 and b.kind = 0
		and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
		and a.accepted_at < b.key_until and b.accepted_at < a.key_until`); n != 0 {
		t.Errorf("%d overlaps", n)
	}
	if n := s.count(`select count(*) from runs a where kind = 1 and not exists (select from runs b where b.id = a.alias_of)`); n != 0 {
		t.Errorf("%d aliases of nothing", n)
	}
	t.Logf("%d runs removed, %d came late, %d are there", removed.Load(), late.Load(), s.count("select count(*) from runs"))
	if removed.Load() < enough || late.Load() == 0 {
		t.Error("too little happened for this test to mean anything")
	}
}
