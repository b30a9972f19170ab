package runstore

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

func (s *testStore) take(n int) []run.Run {
	s.t.Helper()
	runs, err := s.Take(s.t.Context(), n)
	if err != nil {
		s.t.Fatal(err)
	}
	return runs
}

func TestTakeInTurn(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	at := func(at run.Instant, tr run.Trigger) run.ID {
		snap := snapshot(tr)
		snap.AcceptedAt = at
		s.want(Created, snap)
		return snap.ID
	}
	third := at(3_000_000, run.Trigger{})
	fourth := at(1_000_000, run.Trigger{Priority: -time.Minute})
	second := at(2_000_000, run.Trigger{Environment: "env_2"})
	first := at(50_000_000, run.Trigger{Priority: 50 * time.Second, Tags: []string{"a"}})
	at(1, run.Trigger{DelayUntil: time.Now().Add(time.Hour)})
	at(1, run.Trigger{TTL: time.Second}) // should have been taken long ago
	var got []run.ID
	for _, r := range append(s.take(3), s.take(MaxTake+1)...) {
		if r.Status != run.Executing || r.Attempts != 1 || r.StartedAt.IsZero() || r.Trigger.Organisation != org {
			t.Errorf("%+v", r)
		}
		got = append(got, r.ID)
	}
	if want := []run.ID{first, second, third, fourth}; !slices.Equal(got, want) {
		t.Errorf("took %v, want %v", got, want)
	}
	if r := s.take(1); len(r) != 0 {
		t.Errorf("took %v", r)
	}
}

// Workers side by side take different runs.
func TestTakersShare(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const runs, takers = 120, 4
	list := make([]Settlement, runs)
	for i := range list {
		list[i].Snapshot = snapshot(run.Trigger{})
	}
	for _, a := range s.Settle(t.Context(), list) {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	var (
		mu    sync.Mutex
		taken = map[run.ID]int{}
		wg    sync.WaitGroup
	)
	for range takers {
		wg.Go(func() {
			for {
				some, err := s.Take(t.Context(), 7)
				if err != nil {
					t.Error(err)
				}
				if len(some) == 0 {
					return
				}
				mu.Lock()
				for _, r := range some {
					taken[r.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(taken) != runs {
		t.Errorf("%d of %d runs were taken", len(taken), runs)
	}
	for id, n := range taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
	}
}

// Every transition that the table allows is made, and no other.
func TestFinishFollowsTheTable(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, from := range run.Statuses {
		for _, to := range run.Statuses {
			snap := snapshot(run.Trigger{})
			s.want(Created, snap)
			s.exec("update runs set status = $2 where id = $1", snap.ID.String(), string(from))
			r, err := s.Finish(t.Context(), env, snap.ID, run.Finish{Status: to})
			switch {
			case !from.CanBecome(to):
				if !errors.Is(err, run.ErrConflict) {
					t.Errorf("%s to %s: %v", from, to, err)
				}
				if now := s.one(snap.ID).Status; now != from {
					t.Errorf("%s to %s was refused and made it %s", from, to, now)
				}
			case err != nil || r.Status != to || r.FinishedAt.IsZero() == to.Final():
				t.Errorf("%s to %s: %+v, %v", from, to, r, err)
			}
		}
	}
	if _, err := s.Finish(t.Context(), env, mint(), run.Finish{Status: run.Completed}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("no such run: %v", err)
	}
}

func TestFinishKeepsTheFirstReport(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := s.want(Created, keyed("k", 0))
	alias := s.alias(first.ID, first.AcceptedAt+1)
	report := run.Finish{Status: run.Failed, Output: []byte{0, 1}, Failure: &run.Failure{Message: "no\x00pe", Name: "Error", StackTrace: "at x"}}
	r, err := s.Finish(t.Context(), env, alias, report)
	if err != nil || r.ID != alias || r.Canonical != first.ID || *r.Error != *report.Failure ||
		string(r.Output) != "\x00\x01" || r.OutputType != run.DefaultPayloadType {
		t.Fatalf("%+v, %v", r, err)
	}
	again, err := s.Finish(t.Context(), env, first.ID, run.Finish{Status: run.Failed, Output: []byte("other")})
	if err != nil || string(again.Output) != "\x00\x01" || !again.FinishedAt.Equal(r.FinishedAt) {
		t.Errorf("%+v, %v", again, err)
	}
	if got := s.one(alias); got.Canonical != first.ID || got.Status != run.Failed || *got.Error != *report.Failure {
		t.Errorf("%+v", got)
	}
	bad := s.want(Created, snapshot(run.Trigger{}))
	if _, err := s.Finish(t.Context(), env, bad.ID, run.Finish{Status: run.Completed, OutputType: "\x00"}); !errors.Is(err, run.ErrRejected) {
		t.Errorf("a type that Postgres can not hold: %v", err)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var due, late, kept []run.ID
	add := func(list *[]run.ID, tr run.Trigger, at run.Instant) {
		snap := snapshot(tr)
		snap.AcceptedAt = at
		s.want(Created, snap)
		*list = append(*list, snap.ID)
	}
	for range 3 {
		add(&due, run.Trigger{DelayUntil: time.Now().Add(time.Hour), TTL: time.Hour}, 0)
		add(&late, run.Trigger{TTL: time.Second, IdempotencyKey: mint().String()}, 1_000_000)
	}
	add(&kept, run.Trigger{TTL: time.Hour}, 0)
	add(&kept, run.Trigger{DelayUntil: time.Now().Add(time.Hour), TTL: time.Second}, 1_000_000)
	add(&kept, run.Trigger{}, 1_000_000)
	s.exec("update runs set delay_until = now_us() where id = any($1)", []string{due[0].String(), due[1].String(), due[2].String()})

	var expired, released int
	for calls := 0; ; calls++ {
		e, r, err := s.Sweep(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		expired, released = expired+e, released+r
		if e > 2 || r > 2 || calls > 3 {
			t.Fatalf("call %d: expired %d, released %d", calls, e, r)
		}
		if e+r == 0 {
			break
		}
	}
	if expired != 3 || released != 3 {
		t.Errorf("expired %d, released %d", expired, released)
	}
	for _, id := range due {
		if r := s.one(id); r.Status != run.Queued {
			t.Errorf("due: %s", r.Status)
		}
	}
	for _, id := range late {
		if r := s.one(id); r.Status != run.Expired || r.ExpiredAt.IsZero() || r.FinishedAt.IsZero() || r.KeyUntil.After(time.Now().Add(time.Hour)) {
			t.Errorf("late: %+v", r)
		}
	}
	for _, id := range kept {
		if r := s.one(id); r.Status == run.Expired {
			t.Errorf("kept: %+v", r)
		}
	}
}
