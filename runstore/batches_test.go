package runstore

import (
	"errors"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// Case 96: a run's place in its batch is written with the run, on both paths.
func TestBatchLinks(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	place := func(i int) run.Trigger { return run.Trigger{BatchItem: run.BatchItem{Batch: "batch_1", Index: i}} }
	early := s.want(Created, snapshot(place(0))) // before the header
	made, err := s.CreateBatch(ctx, env, "batch_1", 6, 4321)
	if err != nil || made.Items != 6 || made.CreatedAt.UnixMicro() != 4321 {
		t.Fatalf("%+v, %v", made, err)
	}
	if again, err := s.CreateBatch(ctx, env, "batch_1", 6, 0); err != nil || !again.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("%+v, %v", again, err)
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
	linked, err := s.LinkBatch(ctx, env, "batch_1", map[int]run.ID{5: w.ID, 6: mint(), 1: w.ID})
	if err != nil || len(linked) != 2 || !linked[5] || !linked[1] {
		t.Errorf("%v, %v", linked, err)
	}
	b, err := s.BatchRuns(ctx, env, "batch_1")
	if err != nil || b.Items != 6 || b.ID != "batch_1" || !b.CreatedAt.Equal(made.CreatedAt) {
		t.Fatalf("%+v, %v", b, err)
	}
	want := []BatchRun{
		{0, early.ID, early.ID, run.Queued},
		{1, direct.ID, direct.ID, run.Queued},
		{2, drained.Snapshot.ID, drained.Snapshot.ID, run.Queued},
		{3, alias.ID, w.ID, run.Queued},
		{4, gone.ID, gone.ID, run.Canceled},
		{5, w.ID, w.ID, run.Queued},
	}
	if len(b.Runs) != len(want) {
		t.Fatalf("%+v", b.Runs)
	}
	for i := range want {
		if b.Runs[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, b.Runs[i], want[i])
		}
	}
}

func TestBatchesOfOthers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	if _, err := s.CreateBatch(ctx, env, "batch_1", 2, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateBatch(ctx, env, "batch_1", 3, 0); !errors.Is(err, run.ErrConflict) {
		t.Errorf("another size: %v", err)
	}
	if _, err := s.CreateBatch(ctx, "env_2", "batch_1", 2, 0); !errors.Is(err, run.ErrConflict) {
		t.Errorf("another environment: %v", err)
	}
	if _, err := s.BatchRuns(ctx, "env_2", "batch_1"); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("%v", err)
	}
	foreign := s.want(Created, snapshot(run.Trigger{Environment: "env_2", BatchItem: run.BatchItem{Batch: "batch_1"}}))
	if linked, err := s.LinkBatch(ctx, env, "batch_1", map[int]run.ID{0: foreign.ID}); err != nil || len(linked) != 0 {
		t.Errorf("%v, %v", linked, err)
	}
	if b, err := s.BatchRuns(ctx, env, "batch_1"); err != nil || len(b.Runs) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := s.CreateBatch(ctx, "", "b", 1, 0); !errors.Is(err, run.ErrInvalid) {
		t.Error(err)
	}
	if _, err := s.CreateBatch(ctx, env, "", 1, 0); !errors.Is(err, run.ErrInvalid) {
		t.Error(err)
	}
	if _, err := s.CreateBatch(ctx, env, "b", -1, 0); !errors.Is(err, run.ErrInvalid) {
		t.Error(err)
	}
	if _, err := s.LinkBatch(ctx, env, "batch_1", map[int]run.ID{0: {}}); !errors.Is(err, run.ErrInvalid) {
		t.Error(err)
	}
	if _, err := s.BatchRuns(ctx, env, ""); !errors.Is(err, run.ErrNotFound) {
		t.Error(err)
	}
}
