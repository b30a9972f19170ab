package runstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

func (s *testStore) reset(key string, cut run.Instant) (run.Instant, run.ID) {
	s.t.Helper()
	at, cleared, err := s.Reset(s.t.Context(), env, keyed(key, 0).Hash, cut)
	if err != nil {
		s.t.Fatal(err)
	}
	if n := s.count(overlaps); n != 0 {
		s.t.Fatalf("%d overlaps after a reset", n)
	}
	return at, cleared
}

func TestResetClearsTheHolder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := s.want(Created, keyed("k", 1000))
	at, cleared := s.reset("k", 5000)
	if at != 5000 || cleared != first.ID || s.holderUntil(first.ID) != 5000 {
		t.Errorf("cut at %d, cleared %s, interval ends at %d", at, cleared, s.holderUntil(first.ID))
	}
	// Claimed before the cut, settled after it: the claim is gone, and so is the
	// right to settle; from the floor on there is another.
	stale := s.want(Stale, keyed("k", 2000))
	if stale.Floor != 5000 || !stale.ID.IsZero() {
		t.Errorf("stale: %+v", stale)
	}
	if n := s.count("select count(*) from runs where kind = 0"); n != 1 {
		t.Errorf("%d runs after a stale settle", n)
	}
	next := s.want(TookOver, keyed("k", stale.Floor))
	if next.AcceptedAt != 5000 {
		t.Errorf("accepted at %d", next.AcceptedAt)
	}
	// So it stays when a later run has ended since: the acceptance is the key's past.
	s.exec("update runs set accepted_at = 6000 where id = $1", next.ID.String())
	s.finish(next.ID, run.Failed)
	if stale = s.want(Stale, keyed("k", 2000)); stale.Floor != s.holderUntil(next.ID) {
		t.Errorf("stale behind a failed run: %+v", stale)
	}
	s.want(TookOver, keyed("k", 0)) // without a claim, Postgres's clock decides
	// The run that was reset is still itself, under its id.
	if r := s.one(first.ID); r.Status != run.Queued || r.Trigger.IdempotencyKey != "k" {
		t.Errorf("%+v", r)
	}
}

func TestResetCutsBehindEverythingMerged(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := s.want(Created, keyed("k", 1000))
	if at, cleared := s.reset("k", 1); at != 1001 || cleared != first.ID {
		t.Errorf("cut at %d, cleared %s", at, cleared)
	}
	next := s.want(TookOver, keyed("k", 1001))
	s.exec("update runs set key_last = 7000 where id = $1", next.ID.String())
	if at, cleared := s.reset("k", 5000); at != 7001 || cleared != next.ID {
		t.Errorf("cut at %d, cleared %s", at, cleared)
	}
}

func TestResetOfNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	at, cleared := s.reset("k", 5000)
	if at != 5000 || !cleared.IsZero() {
		t.Errorf("nothing there: cut at %d, cleared %s", at, cleared)
	}
	if at, cleared := s.reset("k", 4000); at != 5001 || !cleared.IsZero() {
		t.Errorf("a tombstone there: cut at %d, cleared %s", at, cleared)
	}
	first := s.want(TookOver, keyed("k", 10_000))
	if _, cleared := s.reset("k", 10_000+month); !cleared.IsZero() {
		t.Errorf("an expired run was cleared: %s", cleared)
	}
	if s.holderUntil(first.ID) != 10_000+month {
		t.Error("the interval of an expired run moved")
	}
	failed := s.want(TookOver, keyed("k", 0))
	s.finish(failed.ID, run.Failed)
	if _, cleared := s.reset("k", 0); !cleared.IsZero() {
		t.Errorf("a run that had lost its key was cleared: %s", cleared)
	}
}

func TestOnlyIdempotencyKeysAreReset(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, tr := range []run.Trigger{{RequestKey: "k"}, {BatchItem: run.BatchItem{Batch: "k"}}} {
		snap := snapshot(tr)
		s.want(Created, snap)
		if _, _, err := s.Reset(t.Context(), env, snap.Hash, 0); !errors.Is(err, run.ErrConflict) {
			t.Errorf("got %v", err)
		}
		s.want(Held, snapshot(tr))
	}
}

// A reset that starts while the key's first run is being inserted waits for it
// and then cuts it.
func TestResetMeetsAnInsertUnderWay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	snap := keyed("k", 1000)
	tx, err := s.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	it := item{snapshot: snap, options: "{}"}
	c := newColumns(false)
	c.add(&it, snap.AcceptedAt)
	if _, err := insertRows(t.Context(), tx, c, &inserting); err != nil {
		t.Fatal(err)
	}
	type reply struct {
		cleared run.ID
		err     error
	}
	done := make(chan reply, 1)
	go func() {
		_, cleared, err := s.Reset(t.Context(), env, snap.Hash, 5000)
		done <- reply{cleared, err}
	}()
	s.waitForBlocked(1)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil || r.cleared != snap.ID {
		t.Errorf("cleared %s, %v", r.cleared, r.err)
	}
}

// waitForBlocked returns when n connections of the store wait for a lock.
func (s *testStore) waitForBlocked(n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for {
		var blocked int
		err := s.sql.QueryRow(ctx, `select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'mollifier' and wait_event_type = 'Lock'`).Scan(&blocked)
		if err != nil {
			s.t.Fatalf("%d connections blocked, want %d: %v", blocked, n, err)
		}
		if blocked >= n {
			return
		}
	}
}

func TestCheckAndKeys(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	hash := keyed("k", 0).Hash
	ask := func(id run.ID) Checked {
		t.Helper()
		a := s.Check(t.Context(), []Check{{env, hash, mint()}, {env, hash, id}})
		if a[0].Found || a[0].Holds || a[0].Err != nil || a[1].Err != nil {
			t.Fatalf("%+v", a)
		}
		return a[1]
	}
	key := func() KeyState {
		t.Helper()
		k, err := s.Keys(t.Context(), []KeyRef{{Environment: env, Hash: keyed("other", 0).Hash}, {Environment: env, Hash: hash}})
		if err != nil || len(k) != 2 || k[0] != (KeyState{}) {
			t.Fatalf("%+v, %v", k, err)
		}
		return k[1]
	}
	first := s.want(Created, keyed("k", 1000))
	if a := ask(first.ID); !a.Found || !a.Holds || a.Holder != first.Holder {
		t.Errorf("%+v", a)
	}
	if k := key(); !k.Found || !k.Live || k.Holder != first.Holder || k.Floor != 0 {
		t.Errorf("%+v", k)
	}
	if a := s.Check(t.Context(), []Check{{env, keyed("other", 0).Hash, first.ID}})[0]; !a.Found || a.Holds {
		t.Errorf("of another key: %+v", a)
	}

	alias := s.alias(first.ID, 1500)
	if a := ask(alias); !a.Holds || a.ID != alias || a.Canonical != first.ID || a.AcceptedAt != 1000 {
		t.Errorf("alias: %+v", a)
	}
	if k := key(); k.Floor != 1501 {
		t.Errorf("floor %d", k.Floor)
	}

	s.finish(first.ID, run.Failed)
	if a := ask(first.ID); !a.Found || a.Holds || a.Status != run.Failed {
		t.Errorf("failed: %+v", a)
	}
	if a := ask(alias); a.Holds {
		t.Errorf("alias of a failed run: %+v", a)
	}
	if k := key(); !k.Found || k.Live || k.Floor != s.holderUntil(first.ID) {
		t.Errorf("failed: %+v", k)
	}
	second := s.want(TookOver, keyed("k", 0))
	if a := ask(first.ID); !a.Found || a.Holds {
		t.Errorf("succeeded: %+v", a)
	}
	at, _ := s.reset("k", 0)
	if a := ask(second.ID); !a.Found || a.Holds || a.Until != at {
		t.Errorf("reset: %+v", a)
	}
	if k := key(); !k.Found || k.Live || k.Floor != at {
		t.Errorf("tombstone: %+v", k)
	}
	if a := ask(key().ID); a.Found {
		t.Errorf("a tombstone is no run: %+v", a)
	}
}

// alias makes another name of a run, as a merge does.
func (s *testStore) alias(of run.ID, at run.Instant) run.ID {
	s.t.Helper()
	id := mint()
	if err := pgx.BeginFunc(s.t.Context(), s.sql, func(tx pgx.Tx) error {
		if _, err := tx.Exec(s.t.Context(), `insert into runs (id, env_id, org_id, task, kind, alias_of, accepted_at, status)
			values ($1, $2, 'o', 't', 1, $3, $4, 'ALIAS')`, id.String(), env, of.String(), int64(at)); err != nil {
			return err
		}
		_, err := tx.Exec(s.t.Context(), "update runs set key_last = $2 where id = $1", of.String(), int64(at))
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// No alias can name a run of another environment.
func TestAliasesStayInTheirEnvironment(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := s.want(Created, keyed("k", 1000))
	if _, err := s.sql.Exec(t.Context(), `insert into runs (id, env_id, org_id, task, kind, alias_of, accepted_at, status)
		values ('x', 'env_2', 'o', 't', 1, $1, 5, 'ALIAS')`, first.ID.String()); err == nil {
		t.Error("an alias crossed environments")
	}
}
