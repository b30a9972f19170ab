package runstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

// openGuarded opens a store with a breaker, and says what the breaker does.
func openGuarded(t *testing.T, url string, change func(*Config)) (*testStore, <-chan BreakerState) {
	t.Helper()
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	states := make(chan BreakerState, 1000)
	c := Config{
		URL: url, MaxConns: 8, StatementTimeout: 10 * time.Second, BreakerFailures: 3, BreakerPause: 50 * time.Millisecond,
		OnBreaker: func(s BreakerState) { states <- s },
	}
	if change != nil {
		change(&c)
	}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &testStore{Store: s, t: t}, states
}

func waitFor(t *testing.T, states <-chan BreakerState, want BreakerState) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case s := <-states:
			if s == want {
				return
			}
		case <-deadline:
			t.Fatalf("the breaker is not %s", want)
		}
	}
}

// everyCall makes one call of each kind, and requires that each is refused.
func (s *testStore) everyCallIsRefused() {
	s.t.Helper()
	ctx := s.t.Context()
	id := mint()
	calls := map[string]func() error{
		"settle":      func() error { return s.settleOne(keyed("k", 1)).Err },
		"materialise": func() error { return s.Materialise(ctx, []Materialisation{fromBuffer("k", 1, 2)})[0].Err },
		"check":       func() error { return s.Check(ctx, []Check{{env, keyed("k", 1).Hash, id}})[0].Err },
		"keys": func() error {
			_, err := s.Keys(ctx, []KeyRef{{Environment: env, Hash: keyed("k", 1).Hash}})
			return err
		},
		"runs":   func() error { _, err := s.Runs(ctx, env, []run.ID{id}); return err },
		"cancel": func() error { _, err := s.Cancel(ctx, env, id, ""); return err },
		"list":   func() error { _, err := s.List(ctx, env, Filter{}, Page{Limit: 1}); return err },
		"batch":  func() error { _, err := s.CreateBatch(ctx, NewBatch{Environment: env, ID: "b", Items: 1}); return err },
		"reset":  func() error { _, _, err := s.Reset(ctx, env, keyed("k", 1).Hash, 0); return err },
		"ready":  func() error { return s.Ready(ctx) },
	}
	began := time.Now()
	for name, call := range calls {
		err := call()
		refused, ok := errors.AsType[*run.RefusedError](err)
		if !ok || refused.Part != "postgres" || !errors.Is(err, run.ErrUnavailable) || OutcomeUnknown(err) {
			s.t.Errorf("%s: %v", name, err)
		}
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		s.t.Errorf("%d calls took %s", len(calls), took)
	}
}

func TestBreakerOpensWhenPostgresIsGone(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivatePostgres(t)
	var mu sync.Mutex
	var faults, fine int
	s, states := openGuarded(t, server.URL(), func(c *Config) {
		c.Observe = func(latency, poolWait time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				faults++
			} else {
				fine++
			}
			if latency < 0 || poolWait < 0 || latency+poolWait == 0 {
				t.Errorf("latency %s, wait %s", latency, poolWait)
			}
		}
	})
	first := s.want(Created, keyed("k", 1000))
	if !s.Available() || s.Breaker() != BreakerClosed {
		t.Error("not available")
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// No deadline of the caller's is needed.
	if got := s.settleOne(keyed("k", 2000)); !errors.Is(got.Err, run.ErrUnavailable) {
		t.Errorf("%+v", got)
	}
	waitFor(t, states, BreakerOpen)
	if s.Available() {
		t.Error("available")
	}
	s.everyCallIsRefused()
	mu.Lock()
	if faults < 3 || fine < 1 {
		t.Errorf("observed %d faults, %d answers", faults, fine)
	}
	mu.Unlock()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, states, BreakerClosed)
	if got := s.want(Held, keyed("k", 2000)); got.ID != first.ID || !s.Available() {
		t.Errorf("%+v", got)
	}
}

// A Postgres that hangs is noticed within about a second, what waits for it is
// given up, and what was given up may be repeated.
func TestBreakerOpensWhenPostgresHangs(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivatePostgres(t)
	s, states := openGuarded(t, server.URL(), nil)
	mine := keyed("k", 1000)
	s.want(Created, keyed("other", 1))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	resumed := false
	defer func() {
		if !resumed {
			_ = server.Resume()
		}
	}()
	began := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got := s.settleOne(mine); !errors.Is(got.Err, run.ErrUnavailable) || errors.Is(got.Err, context.Canceled) {
				t.Errorf("%+v", got)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the hang was noticed after %s", took)
	} else {
		t.Logf("the hang was noticed after %s", took)
	}
	waitFor(t, states, BreakerOpen)
	s.everyCallIsRefused()
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	resumed = true
	waitFor(t, states, BreakerClosed)
	if got := s.settleOne(mine); got.Err != nil || got.ID != mine.ID || (got.Outcome != Created && got.Outcome != Replayed) {
		t.Errorf("%+v", got)
	}
}

// Callers with short deadlines do not hide that Postgres hangs.
func TestBreakerOpensForHastyCallers(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivatePostgres(t)
	s, states := openGuarded(t, server.URL(), nil)
	s.want(Created, keyed("k", 1))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Resume() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if a := s.Check(ctx, []Check{{env, keyed("k", 1).Hash, mint()}})[0]; !errors.Is(a.Err, run.ErrUnavailable) {
		t.Errorf("%+v", a)
	}
	waitFor(t, states, BreakerOpen)
}

// Rows at fault, conflicts, callers that leave and long waits for a lock say
// nothing against Postgres.
func TestBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	url := stacktest.Postgres(t)
	plain := openStore(t, url)
	s, states := openGuarded(t, url, nil)
	asked := make(chan error, 100)
	ask := s.breaker.ask
	s.breaker.ask = func(ctx context.Context) error {
		err := ask(ctx)
		asked <- err
		return err
	}
	for range 10 {
		if got := s.settleOne(snapshot(run.Trigger{Queue: "\x00"})); !errors.Is(got.Err, run.ErrRejected) {
			t.Errorf("%+v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Runs(ctx, env, []run.ID{mint()}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	tx, err := plain.sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	rival, mine := keyed("k", 1000), keyed("k", 1001)
	it := item{snapshot: rival, options: "{}"}
	c := newColumns(false)
	c.add(&it, rival.AcceptedAt)
	if _, err := insertRows(t.Context(), tx, c, &inserting); err != nil {
		t.Fatal(err)
	}
	done := make(chan Settled, 1)
	go func() { done <- s.settleOne(mine) }()
	for range 2 { // asked again and again while it lasts
		if err := <-asked; err != nil {
			t.Errorf("asked, and answered %v", err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.Err != nil || got.Outcome != Held {
		t.Errorf("%+v", got)
	}
	select {
	case state := <-states:
		t.Errorf("the breaker became %s", state)
	default:
	}
}

func TestNoBreaker(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if !s.Available() || s.Breaker() != BreakerClosed {
		t.Error("without a breaker a store is available")
	}
	s.Store.Close()
	if s.Available() {
		t.Error("a closed store is available")
	}
}
