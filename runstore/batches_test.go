package runstore

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/e0ff5a15/mollifier/run"
)

func (s *testStore) createBatch(b NewBatch) BatchHeader {
	s.t.Helper()
	if b.Environment == "" {
		b.Environment = env
	}
	h, err := s.CreateBatch(s.t.Context(), b)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

func (s *testStore) place(id string, places ...Place) map[int]bool {
	s.t.Helper()
	free, err := s.PlaceBatch(s.t.Context(), env, id, places)
	if err != nil {
		s.t.Fatal(err)
	}
	return free
}

// Case 96: a run's place in its batch is written with the run, on both paths,
// and a place may name a run before that has its row.
func TestBatchLinks(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	place := func(i int) run.Trigger { return run.Trigger{BatchItem: run.BatchItem{Batch: "batch_1", Index: i}} }
	early := s.want(Created, snapshot(place(0))) // before the header
	made := s.createBatch(NewBatch{ID: "batch_1", Items: 9, CreatedAt: 4321})
	if made.Items != 9 || made.CreatedAt.UnixMicro() != 4321 || !made.SealedAt.IsZero() {
		t.Fatalf("%+v", made)
	}
	if again := s.createBatch(NewBatch{ID: "batch_1", Items: 9}); !again.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("%+v", again)
	}
	direct := snapshot(place(1))
	s.want(Created, direct)
	s.want(Replayed, direct)
	s.want(Held, snapshot(place(1)))
	drained := Materialisation{Snapshot: snapshot(place(2))}
	drained.Snapshot.Accept(1000)
	s.drain(Created, drained)
	s.drain(Replayed, drained)
	// One item has a key that another run holds: both ways to find that out.
	w := s.drain(Created, fromBuffer("k", 1000, 9000))
	keyedItem := func(i int) Materialisation {
		tr := place(i)
		tr.IdempotencyKey = "k"
		m := Materialisation{Snapshot: snapshot(tr)}
		m.Snapshot.AcceptedAt, m.Snapshot.KeyUntil = 1001, 9000
		return m
	}
	alias := s.drain(Aliased, keyedItem(3))
	gone := s.drain(Cancelled, keyedItem(4).with(cancelled(1)))
	// Still in a buffer: its place comes before its row.
	later := Materialisation{Snapshot: snapshot(place(6))}
	later.Snapshot.Accept(1000)
	laterID := later.Snapshot.ID
	free := s.place("batch_1", Place{Index: 5, Run: w.ID}, Place{Index: 1, Run: w.ID}, Place{Index: 6, Run: laterID},
		Place{Index: 7, Task: "t", Error: "no", Code: "invalid"})
	if want := map[int]bool{5: true, 6: true, 7: true}; !cmp.Equal(free, want) {
		t.Errorf("free: %v", free)
	}
	want := []Place{
		{Index: 0, Run: early.ID, Canonical: early.ID, Status: run.Queued},
		{Index: 1, Run: direct.ID, Canonical: direct.ID, Status: run.Queued},
		{Index: 2, Run: drained.Snapshot.ID, Canonical: drained.Snapshot.ID, Status: run.Queued},
		{Index: 3, Run: alias.ID, Canonical: w.ID, Status: run.Queued},
		{Index: 4, Run: gone.ID, Canonical: gone.ID, Status: run.Canceled},
		{Index: 5, Run: w.ID, Canonical: w.ID, Status: run.Queued},
		{Index: 6, Run: laterID},
		{Index: 7, Task: "t", Error: "no", Code: "invalid"},
	}
	check := func() {
		t.Helper()
		b, err := s.Batch(ctx, env, "batch_1")
		if err != nil || b.Items != 9 || b.ID != "batch_1" || !b.CreatedAt.Equal(made.CreatedAt) {
			t.Fatalf("%+v, %v", b, err)
		}
		if d := cmp.Diff(want, b.Places, cmp.Comparer(func(a, b run.ID) bool { return a == b }),
			cmpopts.IgnoreFields(Place{}, "AcceptedAt", "UpdatedAt")); d != "" {
			t.Error(d)
		}
		for _, p := range b.Places {
			if p.AcceptedAt.IsZero() != p.Canonical.IsZero() {
				t.Errorf("place %d was accepted at %s", p.Index, p.AcceptedAt)
			}
		}
	}
	check()
	if taken, sealed, err := s.SealBatch(ctx, env, "batch_1"); taken != 8 || sealed || err != nil {
		t.Errorf("sealed with a place free: %d %v %v", taken, sealed, err)
	}
	s.drain(Created, later)
	want[6].Canonical, want[6].Status = laterID, run.Queued
	check()
	s.place("batch_1", Place{Index: 8, Run: w.ID})
	want = append(want, Place{Index: 8, Run: w.ID, Canonical: w.ID, Status: run.Queued})
	for range 2 {
		if taken, sealed, err := s.SealBatch(ctx, env, "batch_1"); taken != 9 || !sealed || err != nil {
			t.Errorf("not sealed: %d %v %v", taken, sealed, err)
		}
	}
	check()
	h, err := s.BatchHeader(ctx, env, "batch_1")
	if err != nil || h.SealedAt.IsZero() || !slices.Equal(h.Taken, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("%+v, %v", h, err)
	}
}

// A place that a drainer wrote before the node that accepted its run did is no
// repeat to that node: whoever comes first to tell its sender finds it free, and
// nobody after that. A place that is written with a row that was not buffered has
// been told of.
func TestPlacesDrainedBeforeTheyAreAnswered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.createBatch(NewBatch{ID: "b", Items: 4})
	place := func(i int, key string) run.Trigger {
		return run.Trigger{BatchItem: run.BatchItem{Batch: "b", Index: i}, IdempotencyKey: key}
	}
	drained := Materialisation{Snapshot: snapshot(place(0, ""))}
	drained.Snapshot.Accept(1000)
	s.drain(Created, drained)
	s.drain(Created, fromBuffer("k", 1000, 9000))
	alias := Materialisation{Snapshot: snapshot(place(1, "k"))}
	alias.Snapshot.AcceptedAt, alias.Snapshot.KeyUntil = 1001, 9000
	s.drain(Aliased, alias)
	direct := snapshot(place(2, ""))
	s.want(Created, direct)
	places := []Place{
		{Index: 0, Run: drained.Snapshot.ID},
		{Index: 0, Run: drained.Snapshot.ID}, // twice in one call
		{Index: 1, Run: alias.Snapshot.ID},
		{Index: 2, Run: direct.ID},
	}
	if free := s.place("b", Place{Index: 0, Run: mint()}); len(free) != 0 {
		t.Errorf("free for another run: %v", free)
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		count = map[int]int{}
	)
	for range 4 {
		all.Go(func() {
			free, err := s.PlaceBatch(t.Context(), env, "b", places)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range free {
				count[i]++
			}
		})
	}
	all.Wait()
	if want := map[int]int{0: 1, 1: 1}; !cmp.Equal(count, want) {
		t.Errorf("free so often: %v, want %v", count, want)
	}
}

// A key names one batch of its environment, whoever asks at once, until its time
// is over.
func TestBatchKeys(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	request := run.BatchRequest{Organisation: org, Environment: env, Items: 2, IdempotencyKey: "k"}
	parent := mint()
	keyed := func(id string) NewBatch {
		return NewBatch{
			ID: id, Items: 2, Key: request.Key(), KeyTTL: time.Hour, IdempotencyKey: "k",
			RequestHash: run.DigestRequest(env, "", "r"), ParentRun: parent, ResumeParent: true,
		}
	}
	var (
		all sync.WaitGroup
		mu  sync.Mutex
		ids = map[string]int{}
	)
	for i := range 8 {
		all.Go(func() {
			h, err := s.CreateBatch(t.Context(), func() NewBatch { b := keyed(string(rune('a' + i))); b.Environment = env; return b }())
			mu.Lock()
			defer mu.Unlock()
			if ids[h.ID]++; err != nil || h.IdempotencyKey != "k" || h.ParentRun != parent || !h.ResumeParent || h.RequestHash.IsZero() {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
	all.Wait()
	if len(ids) != 1 {
		t.Errorf("batches of one key: %v", ids)
	}
	other := keyed("other")
	other.Environment, other.Key.Environment = "env_2", "env_2"
	if h := s.createBatch(other); h.ID != "other" {
		t.Errorf("another environment's key: %+v", h)
	}
	s.exec(`update batches set key_until = created_at where key_hash is not null`)
	if h := s.createBatch(keyed("next")); h.ID != "next" {
		t.Errorf("the key's time was over: %+v", h)
	}
	if h := s.createBatch(keyed("later")); h.ID != "next" {
		t.Errorf("the key was taken over: %+v", h)
	}
	for id := range ids {
		if _, err := s.BatchHeader(t.Context(), env, id); err != nil {
			t.Errorf("the batch that lost its key: %v", err)
		}
	}
}

func TestBatchesOfOthers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	create := func(environment, id string, items int) error {
		_, err := s.CreateBatch(ctx, NewBatch{Environment: environment, ID: id, Items: items})
		return err
	}
	s.createBatch(NewBatch{ID: "batch_1", Items: 2})
	if err := create(env, "batch_1", 3); !errors.Is(err, run.ErrConflict) {
		t.Errorf("another size: %v", err)
	}
	if err := create("env_2", "batch_1", 2); !errors.Is(err, run.ErrConflict) {
		t.Errorf("another environment: %v", err)
	}
	if _, err := s.Batch(ctx, "env_2", "batch_1"); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, _, err := s.SealBatch(ctx, "env_2", "batch_1"); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if free, err := s.PlaceBatch(ctx, "env_2", "batch_1", []Place{{Run: mint()}}); err != nil || len(free) != 0 {
		t.Errorf("%v, %v", free, err)
	}
	// A run of another environment takes no place here.
	s.want(Created, snapshot(run.Trigger{Environment: "env_2", BatchItem: run.BatchItem{Batch: "batch_1"}}))
	if b, err := s.Batch(ctx, env, "batch_1"); err != nil || len(b.Places) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	for _, err := range []error{create("", "b", 1), create(env, "", 1), create(env, "b", -1)} {
		if !errors.Is(err, run.ErrInvalid) {
			t.Error(err)
		}
	}
	for _, p := range []Place{{}, {Run: mint(), Error: "both"}, {Index: -1, Run: mint()}} {
		if _, err := s.PlaceBatch(ctx, env, "batch_1", []Place{p}); !errors.Is(err, run.ErrInvalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, err := s.Batch(ctx, env, ""); !errors.Is(err, run.ErrNotFound) {
		t.Error(err)
	}
}

// A run may be born failed, on both paths; its key is free at once.
func TestBornFailed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	failed := &run.Failure{Message: "too large", Name: "OVERSIZE"}
	direct := snapshot(run.Trigger{IdempotencyKey: "k", Failed: failed})
	s.want(Created, direct)
	drained := Materialisation{Snapshot: snapshot(run.Trigger{Failed: failed, TTL: time.Second})}
	drained.Snapshot.Accept(1000)
	s.drain(Created, drained)
	for _, id := range []run.ID{direct.ID, drained.Snapshot.ID} {
		r := s.one(id)
		if r.Status != run.Failed || !cmp.Equal(r.Error, failed) || r.FinishedAt.IsZero() || !cmp.Equal(r.Trigger.Failed, failed) {
			t.Errorf("%+v", r)
		}
	}
	s.want(TookOver, snapshot(run.Trigger{IdempotencyKey: "k"}))
}
