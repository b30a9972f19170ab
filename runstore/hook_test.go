package runstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

// outbox is a store with a hook that writes each run into a table, and then does
// what the test wants.
type outbox struct {
	*testStore
	then  func(ctx context.Context, tx Tx, runs []run.Landed) error
	calls atomic.Int64
}

func newOutbox(t *testing.T) *outbox {
	t.Helper()
	o := &outbox{testStore: newStore(t), then: func(context.Context, Tx, []run.Landed) error { return nil }}
	if _, err := o.sql.Exec(t.Context(), "create table outbox (run text, status text, buffered boolean)"); err != nil {
		t.Fatal(err)
	}
	o.hook = func(ctx context.Context, tx Tx, runs []run.Landed) error {
		o.calls.Add(1)
		for _, r := range runs {
			if _, err := tx.Exec(ctx, "insert into outbox values ($1, $2, $3)", r.ID.String(), string(r.Status), r.Buffered); err != nil {
				return err
			}
		}
		return o.then(ctx, tx, runs)
	}
	return o
}

// agrees compares the outbox with the runs: each once, with the status it landed with.
func (o *outbox) agrees(runs int) {
	o.t.Helper()
	if n := o.count("select count(*) from outbox"); n != runs {
		o.t.Errorf("%d runs in the outbox, want %d", n, runs)
	}
	if n := o.count("select count(*) from (select id from runs where kind = 0) r full join (select run from outbox) o on r.id = o.run where r.id is null or o.run is null"); n != 0 {
		o.t.Errorf("%d runs are in one of the tables only", n)
	}
}

func (o *outbox) landedAs(id run.ID, status run.Status, buffered bool) {
	o.t.Helper()
	if n := o.count("select count(*) from outbox where run = $1 and status = $2 and buffered = $3", id.String(), string(status), buffered); n != 1 {
		o.t.Errorf("%s is %d times in the outbox as %s, buffered %v", id, n, status, buffered)
	}
}

// Every way into the table passes the hook, once; what makes no run does not.
func TestHookIsToldOfEachRunOnce(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	first := keyed("k", 1000)
	created := o.want(Created, first)
	o.want(Replayed, first)
	o.want(Held, keyed("k", 1001))
	o.landedAs(created.ID, run.Queued, false)
	o.finish(created.ID, run.Failed)
	second := o.want(TookOver, keyed("k", 2000))
	o.landedAs(second.ID, run.Queued, false)
	o.agrees(2)

	debounced := snapshot(run.Trigger{Debounce: &run.Debounce{Key: "d", Delay: time.Hour}})
	o.want(Created, debounced)
	o.want(Debounced, snapshot(run.Trigger{Debounce: &run.Debounce{Key: "d", Delay: time.Hour}}))
	o.landedAs(debounced.ID, run.Delayed, false)
	o.agrees(3)

	passed := fromBuffer("b", 1000, 2000)
	twice := o.Materialise(t.Context(), []Materialisation{passed, passed})
	if twice[0].Outcome != Created || twice[1].Outcome != Replayed {
		t.Fatalf("%+v", twice)
	}
	o.landedAs(passed.Snapshot.ID, run.Queued, true)
	o.drain(Aliased, fromBuffer("b", 1500, 2500))
	o.drain(Replayed, passed.with(cancelled(1)))
	dead := fromBuffer("b", 1600, 2600).with(cancelled(1))
	o.drain(Cancelled, dead)
	o.landedAs(dead.Snapshot.ID, run.Canceled, true)
	late := fromBuffer("b", 3000, 4000)
	o.drain(TookOver, late)
	o.landedAs(late.Snapshot.ID, run.Queued, true)
	o.resetAt("b", 3500)
	past := fromBuffer("b", 2100, 2600)
	o.drain(OwnClosed, past)
	o.landedAs(past.Snapshot.ID, run.Queued, true)
	o.agrees(7)

	unfit := fromBuffer("u", 1000, 2000)
	unfit.Failed = &run.Failure{Message: "no"}
	o.drain(Created, unfit)
	if n := o.count("select count(*) from outbox"); n != 7 {
		t.Errorf("a failure row was handed over: %d", n)
	}
}

// A run that the hook takes by no means fails alone, for now or for good; its
// neighbours land, and the text of the error is the hook's.
func TestHookRefusesOneRun(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		good bool // for good
	}{
		"an error":            {err: errors.New("no such customer")},
		"a sentinel of ours":  {err: fmt.Errorf("asked elsewhere: %w", run.ErrNotFound)},
		"an invalid run":      {err: &run.InvalidError{Field: "payload", Rule: "must name a customer"}, good: true},
		"invalid and wrapped": {err: fmt.Errorf("my hook: %w", run.ErrInvalid), good: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOutbox(t)
			var list []Settlement
			var drained []Materialisation
			for i := range 20 {
				list = append(list, Settlement{snapshot(run.Trigger{IdempotencyKey: fmt.Sprint("s", i)})})
				drained = append(drained, fromBuffer(fmt.Sprint("m", i), 1000, 2000))
			}
			bad := []run.ID{list[7].Snapshot.ID, drained[13].Snapshot.ID}
			o.then = func(_ context.Context, _ Tx, runs []run.Landed) error {
				if slices.ContainsFunc(runs, func(r run.Landed) bool { return slices.Contains(bad, r.ID) }) {
					return tt.err
				}
				return nil
			}
			check := func(id run.ID, err error) {
				t.Helper()
				refused, isRefused := errors.AsType[*run.RefusedError](err)
				switch {
				case !slices.Contains(bad, id):
					if err != nil {
						t.Errorf("a neighbour: %v", err)
					}
				case tt.good && (!errors.Is(err, run.ErrRejected) || !errors.Is(err, run.ErrInvalid)):
					t.Errorf("%v, want it rejected", err)
				case !tt.good && (!isRefused || refused.Part != PartHook || refused.Reason != run.ErrUnavailable || errors.Is(err, run.ErrNotFound)):
					t.Errorf("%v, want it refused for now", err)
				case !strings.Contains(err.Error(), tt.err.Error()) || OutcomeUnknown(err):
					t.Errorf("it says %v", err)
				}
			}
			for i, a := range o.Settle(t.Context(), list) {
				check(list[i].Snapshot.ID, a.Err)
			}
			for i, a := range o.Materialise(t.Context(), drained) {
				check(drained[i].Snapshot.ID, a.Err)
			}
			o.agrees(38)
			o.then = func(context.Context, Tx, []run.Landed) error { return nil }
			o.want(Created, list[7].Snapshot)
			o.drain(Created, drained[13])
			o.agrees(40)
		})
	}
}

// A hook that takes nothing is not asked for each run of a batch.
func TestHookThatTakesNothing(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	o.then = func(context.Context, Tx, []run.Landed) error { return errors.New("the outbox is not there") }
	list := make([]Settlement, 500)
	for i := range list {
		list[i].Snapshot = snapshot(run.Trigger{})
	}
	for _, a := range o.Settle(t.Context(), list) {
		if refused, ok := errors.AsType[*run.RefusedError](a.Err); !ok || refused.Part != PartHook {
			t.Fatalf("%+v", a)
		}
	}
	if n := o.calls.Load(); n > 40 {
		t.Errorf("it was called %d times", n)
	}
	o.agrees(0)
}

// What may pass is repeated with the hook; what the hook does to its transaction
// is never half of it.
func TestHookAndItsTransaction(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	var once sync.Once
	raise := func(state string) func(context.Context, Tx, []run.Landed) error {
		once = sync.Once{}
		return func(ctx context.Context, tx Tx, _ []run.Landed) (err error) {
			once.Do(func() { _, err = tx.Exec(ctx, "do $$ begin raise exception using errcode = '"+state+"'; end $$") })
			return err
		}
	}
	o.then = raise("40P01")
	o.want(Created, keyed("deadlock", 1000))

	once = sync.Once{}
	o.then = func(ctx context.Context, tx Tx, _ []run.Landed) (err error) {
		once.Do(func() { _, err = tx.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())") })
		return err
	}
	o.want(Created, keyed("connection", 1000))
	o.agrees(2)

	for name, then := range map[string]func(context.Context, Tx, []run.Landed) error{
		"a constraint": raise("23505"),
		"no table":     raise("42P01"),
		"swallowed": func(ctx context.Context, tx Tx, _ []run.Landed) error {
			_, _ = tx.Exec(ctx, "select 1/0")
			return nil
		},
		"commits": func(ctx context.Context, tx Tx, _ []run.Landed) error { return tx.Commit(ctx) },
		"rolls back": func(ctx context.Context, tx Tx, _ []run.Landed) error {
			return tx.Rollback(ctx)
		},
	} {
		once = sync.Once{}
		o.then = then
		got := o.settleOne(keyed(name, 1000))
		if refused, ok := errors.AsType[*run.RefusedError](got.Err); !ok || refused.Part != PartHook || OutcomeUnknown(got.Err) {
			t.Errorf("%s: %v", name, got.Err)
		}
	}
	o.agrees(2)

	o.then = func(ctx context.Context, tx Tx, _ []run.Landed) error {
		err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
			_, err := inner.Exec(ctx, "insert into outbox values ('void', '', false)")
			return errors.Join(err, errors.New("void"))
		})
		if err == nil {
			return errors.New("a savepoint has no effect")
		}
		return pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { return nil })
	}
	o.want(Created, keyed("savepoint", 1000))
	o.agrees(3)
}

// A hook that has ended the transaction behind the store's back gets an error,
// and the repeat finds the run.
func TestHookEndsTheTransactionBySQL(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	o.then = func(ctx context.Context, tx Tx, _ []run.Landed) error {
		_, err := tx.Exec(ctx, "commit")
		return err
	}
	s := keyed("k", 1000)
	if got := o.settleOne(s); got.Err == nil {
		t.Errorf("%+v", got)
	}
	o.want(Replayed, s)
	o.agrees(1)
}

// A slow hook is cut off with its batch; nothing of it is there.
func TestHookIsSlow(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	entered := make(chan struct{})
	o.then = func(ctx context.Context, _ Tx, _ []run.Landed) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	s := keyed("k", 1000)
	if got := o.Settle(ctx, []Settlement{{s}})[0]; !errors.Is(got.Err, context.Canceled) || !errors.Is(got.Err, run.ErrUnavailable) {
		t.Errorf("%+v", got)
	}
	o.agrees(0)
	o.then = func(context.Context, Tx, []run.Landed) error { return nil }
	o.want(Created, s)
	o.agrees(1)
}

// Many at once, of few keys that end again and again: one row in the outbox for
// each run, whoever made it.
func TestHookUnderContention(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	const keys = 3
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				key := fmt.Sprint("k", (w+i)%keys)
				if w%2 == 0 {
					list := []Settlement{{keyed(key, 0)}, {snapshot(run.Trigger{})}, {keyed(key, 0)}}
					for _, a := range o.Settle(t.Context(), list) {
						if a.Err != nil {
							t.Errorf("settle: %v", a.Err)
						} else if i%4 == 0 && a.Outcome != Held {
							_, _ = o.Finish(t.Context(), env, a.Canonical, run.Finish{Status: run.Failed})
						}
					}
					continue
				}
				at := run.InstantOf(time.Now())
				list := []Materialisation{fromBuffer(key, at, at.Add(time.Hour)), fromBuffer(key, at.Add(1), at.Add(time.Hour))}
				for _, a := range o.Materialise(t.Context(), list) {
					if a.Err != nil {
						t.Errorf("materialise: %v", a.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	o.disjoint()
	o.agrees(o.count("select count(*) from runs where kind = 0"))
}
