package watch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// stores are runs in memory, which fail when told to.
type stores struct {
	mu                   sync.Mutex
	runs                 map[run.ID]run.Run
	fail                 error
	outlines, lists, all int // calls
}

func newStores(n int) *stores {
	s := &stores{runs: map[run.ID]run.Run{}}
	for _, m := range members(n, plain) {
		s.runs[m.ID] = run.Run{
			ID: m.ID, Canonical: m.ID, Status: run.Queued, UpdatedAt: time.UnixMicro(int64(m.Mark)),
			Trigger: run.Trigger{Environment: "e", Tags: []string{"t", "u"}, BatchItem: run.BatchItem{Batch: "b"}},
		}
	}
	return s
}

func (s *stores) change(id run.ID, f func(*run.Run)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runs[id]
	f(&r)
	r.UpdatedAt = r.UpdatedAt.Add(time.Second)
	s.runs[id] = r
}

func (s *stores) breakDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *stores) read(ids []run.ID) (map[run.ID]run.Run, error) {
	out := map[run.ID]run.Run{}
	for _, id := range ids {
		if r, ok := s.runs[id]; ok && s.fail == nil {
			out[id] = r
		}
	}
	return out, s.fail
}

func (s *stores) Outlines(_ context.Context, _ string, ids []run.ID) (map[run.ID]run.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outlines++
	return s.read(ids)
}

func (s *stores) Runs(_ context.Context, _ string, ids []run.ID) (map[run.ID]run.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all++
	return s.read(ids)
}

func (s *stores) List(_ context.Context, _ string, f runstore.Filter, p runstore.Page) (runs []run.Run, next run.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	for _, r := range s.runs {
		if (f.Batch == "" || r.Trigger.BatchItem.Batch == f.Batch) && (p.After.IsZero() || r.ID.String() < p.After.String()) {
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b run.Run) int { return -compare(a.ID, b.ID) })
	if len(runs) > p.Limit {
		runs = runs[:p.Limit]
		next = runs[p.Limit-1].ID
	}
	return runs, next, s.fail
}

func compare(a, b run.ID) int {
	switch {
	case a.String() < b.String():
		return -1
	case a.String() > b.String():
		return 1
	}
	return 0
}

func id(i int) run.ID { return members(i+1, plain)[i].ID }

func newHub(t *testing.T, s *stores, tune ...func(*Config)) *Hub {
	t.Helper()
	cfg := Config{Source: s}
	for _, f := range tune {
		f(&cfg)
	}
	h := New(cfg)
	t.Cleanup(h.Close)
	return h
}

// next polls for a while.
func next(t *testing.T, h *Hub, s Subject, k Known) News {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, err := h.Next(ctx, s, k)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func now(t *testing.T, h *Hub, s Subject, k Known) News {
	t.Helper()
	n, err := h.Now(t.Context(), s, k)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A poll waits until the run changes, and is answered its state; without a
// change it is answered that there is none. Case 82.
func TestOneRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(2)
		h := newHub(t, s)
		subject := Subject{Environment: "e", Run: id(0)}
		n := now(t, h, subject, Known{})
		if len(n.Runs) != 1 || n.Runs[0].Status != run.Queued || n.More {
			t.Fatalf("%+v", n)
		}
		quiet := next(t, h, subject, n.Known)
		if len(quiet.Runs) != 0 || quiet.Known.String() != n.Known.String() {
			t.Errorf("news of nothing: %+v", quiet)
		}
		time.AfterFunc(5*time.Second, func() { s.change(id(0), func(r *run.Run) { r.Status = run.Executing }) })
		n = next(t, h, subject, n.Known)
		if len(n.Runs) != 1 || n.Runs[0].Status != run.Executing {
			t.Errorf("%+v", n)
		}
		// A node that never saw this client answers it likewise.
		other := newHub(t, s)
		if quiet = next(t, other, subject, n.Known); len(quiet.Runs) != 0 {
			t.Errorf("another node repeats: %+v", quiet)
		}
		s.change(id(0), func(r *run.Run) { r.Status = run.Completed })
		if n = next(t, other, subject, n.Known); len(n.Runs) != 1 || n.Runs[0].Status != run.Completed {
			t.Errorf("another node: %+v", n)
		}
		if _, err := h.Now(t.Context(), Subject{Environment: "e", Run: id(7)}, Known{}); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("a run that is not there: %v", err)
		}
	})
}

// The hub is a look behind the client: nothing is repeated, and the next change
// is not missed.
func TestALookBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(1)
		h := newHub(t, s, func(c *Config) { c.Every = 10 * time.Second })
		subject := Subject{Environment: "e", Run: id(0)}
		next(t, h, subject, now(t, h, subject, Known{}).Known) // looked at
		s.change(id(0), func(r *run.Run) { r.Status = run.Executing })
		ahead := now(t, h, subject, Known{})
		if n := next(t, h, subject, ahead.Known); len(n.Runs) != 0 {
			t.Errorf("repeated: %+v", n)
		}
		s.change(id(0), func(r *run.Run) { r.Status = run.Completed })
		if n := next(t, h, subject, ahead.Known); len(n.Runs) != 1 {
			t.Error("missed")
		}
	})
}

// Stores that fail make polls wait, not end, and the change that happened
// meanwhile is told when they are back.
func TestStoresFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(1)
		h := newHub(t, s)
		for _, subject := range []Subject{{Environment: "e", Run: id(0)}, {Environment: "e", Batch: "b"}} {
			k := now(t, h, subject, Known{}).Known
			s.breakDown(run.ErrUnavailable)
			if _, err := h.Now(t.Context(), subject, Known{}); !errors.Is(err, run.ErrUnavailable) {
				t.Errorf("%v", err)
			}
			if n := next(t, h, subject, k); len(n.Runs) != 0 {
				t.Errorf("%+v", n)
			}
			s.change(id(0), func(r *run.Run) {})
			time.AfterFunc(3*time.Second, func() { s.breakDown(nil) })
			if n := next(t, h, subject, k); len(n.Runs) != 1 {
				t.Errorf("%+v", n)
			}
		}
	})
}

// All polls of a node share the looks: their number does not grow with them.
func TestPollsShareLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(chunk)
		h := newHub(t, s)
		var wg sync.WaitGroup
		for i := range 2 * chunk {
			subject := Subject{Environment: "e", Run: id(i % chunk)}
			r := s.runs[id(i%chunk)]
			wg.Go(func() { next(t, h, subject, KnownOf([]Member{{r.ID, MarkOf(&r)}})) })
		}
		synctest.Wait()
		if h.Polls() != 2*chunk {
			t.Errorf("%d polls", h.Polls())
		}
		wg.Wait()
		// 20 s of one look each 250 ms, and some for those that came one after the other.
		if s.outlines > 80+2*chunk || s.all != 0 {
			t.Errorf("%d looks, %d reads", s.outlines, s.all)
		}
		before := s.outlines
		<-time.After(time.Hour)
		h.mu.Lock()
		defer h.mu.Unlock()
		if s.outlines > before+linger+1 {
			t.Errorf("%d looks for nobody", s.outlines-before)
		}
		if len(h.topics) != 0 || len(h.perEnv) != 0 || h.polls != 0 {
			t.Errorf("left: %d topics, %d environments, %d polls", len(h.topics), len(h.perEnv), h.polls)
		}
	})
}

// A set is told in parts that end, and then only of what changed in it; who
// joins it is told too. Up to MaxExact runs nothing is repeated.
func TestSets(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, MaxExact, 300} {
		synctest.Test(t, func(t *testing.T) {
			s := newStores(n)
			for id := range s.runs {
				s.change(id, func(r *run.Run) { r.Trigger.Payload = make([]byte, 100_000) })
			}
			h := newHub(t, s)
			subject := Subject{Environment: "e", Batch: "b"}
			told, k := map[run.ID]int{}, Known{}
			for more := true; more; {
				news := now(t, h, subject, k)
				for _, r := range news.Runs {
					told[r.ID]++
				}
				if k, more = news.Known, news.More; more && len(news.Runs) == 0 {
					t.Fatal("no end")
				}
			}
			for id := range s.runs {
				if told[id] == 0 || n <= MaxExact && told[id] > 1 {
					t.Fatalf("%d: %s told %d times", n, id, told[id])
				}
			}
			if quiet := next(t, h, subject, k); len(quiet.Runs) != 0 {
				t.Errorf("%d: %d runs repeated", n, len(quiet.Runs))
			}
			s.change(id(1), func(r *run.Run) { r.Status = run.Canceled })
			news := next(t, h, subject, k)
			if len(news.Runs) == 0 || n <= MaxExact && len(news.Runs) != 1 || len(news.Runs) > n/8+1 {
				t.Errorf("%d: %d runs told of one change", n, len(news.Runs))
			}
			if quiet := next(t, h, subject, news.Known); len(quiet.Runs) != 0 {
				t.Errorf("%d: %d runs repeated", n, len(quiet.Runs))
			}
			joins := id(n)
			s.change(joins, func(r *run.Run) { *r = s.runs[id(0)]; r.ID, r.Canonical = joins, joins })
			if news = next(t, h, subject, news.Known); !slices.ContainsFunc(news.Runs, func(r run.Run) bool { return r.ID == joins }) {
				t.Errorf("%d: who joined is not told", n)
			}
		})
	}
}

// Tags: a run has to have all of them.
func TestTags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(600)
		s.change(id(5), func(r *run.Run) { r.Trigger.Tags = []string{"t", "u", "v"} })
		h := newHub(t, s)
		n := now(t, h, Subject{Environment: "e", Tags: []string{"t", "v"}}, Known{})
		if len(n.Runs) != 1 || n.Runs[0].ID != id(5) {
			t.Errorf("%d runs", len(n.Runs))
		}
	})
}

// Over their bounds watches are refused; what ends makes room.
func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(40)
		h := newHub(t, s, func(c *Config) { c.PerEnvironment, c.PerNode = 16, 20 })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		hold := func(subject Subject) {
			k := KnownOf(nil)
			if subject.one() {
				k = now(t, h, subject, Known{}).Known
			}
			wg.Go(func() {
				if _, err := h.Next(ctx, subject, k); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		refused := func(subject Subject, want error) {
			t.Helper()
			if _, err := h.Next(ctx, subject, Known{}); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		for i := range 2 {
			hold(Subject{Environment: "e", Batch: string(rune('c' + i))})
		}
		refused(Subject{Environment: "e", Batch: "z"}, ErrEnvironment)
		for i := range 14 {
			hold(Subject{Environment: "e", Run: id(i)})
		}
		refused(Subject{Environment: "e", Run: id(0)}, ErrEnvironment)
		for i := range 4 {
			hold(Subject{Environment: "f", Run: id(i)})
		}
		refused(Subject{Environment: "g", Run: id(0)}, ErrNode)
		cancel()
		wg.Wait()
		if n := next(t, h, Subject{Environment: "e", Run: id(0)}, Known{}); len(n.Runs) != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// Close answers those who wait.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(1)
		h := New(Config{Source: s})
		subject := Subject{Environment: "e", Run: id(0)}
		k := now(t, h, subject, Known{}).Known
		done := make(chan error)
		go func() {
			_, err := h.Next(context.Background(), subject, k)
			done <- err
		}()
		synctest.Wait()
		h.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
