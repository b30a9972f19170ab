package runstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// wantInvalid requires an input that is refused, with the given fault.
func wantInvalid(t *testing.T, err error, fault run.Fault) {
	t.Helper()
	if invalid, ok := errors.AsType[*run.InvalidError](err); !ok || invalid.Fault != fault {
		t.Errorf("got %v, want an invalid input of kind %d", err, fault)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	w := s.drain(Created, fromBuffer("k", 1000, 9000))
	l := s.drain(Aliased, fromBuffer("k", 1500, 9000))
	r, err := s.Cancel(ctx, env, l.ID, "by\x00 name")
	if err != nil || r.ID != l.ID || r.Canonical != w.ID || r.Status != run.Canceled || r.Error.Message != "by name" || r.FinishedAt.IsZero() {
		t.Fatalf("%+v, %v", r, err)
	}
	// Again, and by the other name: as it is.
	again, err := s.Cancel(ctx, env, w.ID, "other")
	if err != nil || again.Error.Message != "by name" || !again.FinishedAt.Equal(r.FinishedAt) {
		t.Errorf("%+v, %v", again, err)
	}
	for _, status := range run.Statuses {
		if !run.Queued.CanBecome(status) {
			continue
		}
		id := s.want(Created, snapshot(run.Trigger{})).ID
		s.finish(id, status)
		want := run.Canceled
		if status.Final() {
			want = status
		}
		if r, err := s.Cancel(ctx, env, id, ""); err != nil || r.Status != want {
			t.Errorf("%s became %s, %v", status, r.Status, err)
		}
	}
	if n := s.count("select buffer_ver from runs where id = $1", w.ID.String()); n != 0 {
		t.Errorf("a direct change moved the buffer's version to %d", n)
	}
}

// The worker and the cancellation come at the same time: one of them is first,
// and what the run became first it stays.
func TestCancelAndFinishRace(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for range 20 {
		id := s.want(Created, snapshot(run.Trigger{})).ID
		var wg sync.WaitGroup
		var r run.Run
		var finished, err error
		wg.Go(func() { _, finished = s.Finish(t.Context(), env, id, run.Finish{Status: run.Completed}) })
		wg.Go(func() { r, err = s.Cancel(t.Context(), env, id, "") })
		wg.Wait()
		now := s.one(id)
		switch {
		case err != nil || r.Status != now.Status:
			t.Fatalf("answered %s, %v, is %s", r.Status, err, now.Status)
		case finished == nil && now.Status != run.Completed:
			t.Fatalf("finished, and is %s", now.Status)
		case finished != nil && (!errors.Is(finished, run.ErrConflict) || now.Status != run.Canceled):
			t.Fatalf("%v, is %s", finished, now.Status)
		}
	}
}

// A cancelled entry and a direct cancellation, both while it is materialised.
func TestCancelAndMaterialiseRace(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for i := range 20 {
		m := fromBuffer(fmt.Sprint("k", i), 1000, 9000)
		patched := m.with(cancelled(1))
		var wg sync.WaitGroup
		for _, delivery := range []Materialisation{m, patched, m, patched} {
			wg.Go(func() {
				if a := s.Materialise(t.Context(), []Materialisation{delivery})[0]; a.Err != nil || a.ID != m.Snapshot.ID {
					t.Errorf("%+v", a)
				}
			})
		}
		wg.Wait()
		if r := s.one(m.Snapshot.ID); r.Status != run.Canceled {
			t.Fatalf("the cancellation was lost: %s", r.Status)
		}
	}
}

func TestAddTags(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	snap := snapshot(run.Trigger{Tags: []string{"a"}})
	s.want(Created, snap)
	r, err := s.AddTags(ctx, env, snap.ID, []string{`"{b}\`, "a", "c", "c"})
	if err != nil || !slices.Equal(r.Trigger.Tags, []string{"a", `"{b}\`, "c"}) {
		t.Fatalf("%q, %v", r.Trigger.Tags, err)
	}
	before := r.UpdatedAt
	if r, err = s.AddTags(ctx, env, snap.ID, []string{"c"}); err != nil || len(r.Trigger.Tags) != 3 || !r.UpdatedAt.Equal(before) {
		t.Errorf("nothing new: %+v, %v", r, err)
	}
	_, err = s.AddTags(ctx, env, snap.ID, strings.Split("1,2,3,4,5,6,7,8", ","))
	wantInvalid(t, err, run.Unprocessable)
	_, err = s.AddTags(ctx, env, snap.ID, []string{"x", ""})
	wantInvalid(t, err, run.Malformed)
	if r := s.one(snap.ID); len(r.Trigger.Tags) != 3 {
		t.Errorf("%q", r.Trigger.Tags)
	}
	// Final runs may still be tagged, and nobody loses a tag to another.
	s.finish(snap.ID, run.Completed)
	var wg sync.WaitGroup
	for i := range 7 {
		wg.Go(func() {
			if _, err := s.AddTags(ctx, env, snap.ID, []string{fmt.Sprint("t", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r := s.one(snap.ID); len(r.Trigger.Tags) != 10 {
		t.Errorf("%q", r.Trigger.Tags)
	}
}

// Case 35: of concurrent increments none is lost.
func TestSetMetadata(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	snap := snapshot(run.Trigger{Metadata: []byte(`{"big":9007199254740993}`)})
	s.want(Created, snap)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 5 {
				if _, err := s.SetMetadata(ctx, env, snap.ID, run.MetadataChange{Operations: []run.MetadataOperation{
					{Type: run.OpIncrement, Key: "$.a.n", Value: []byte("1")},
				}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r := s.one(snap.ID)
	if got := string(r.Trigger.Metadata); got != `{"big":9007199254740993,"a":{"n":50}}` || r.Trigger.MetadataType != run.DefaultPayloadType {
		t.Error(got)
	}
	if again, err := s.SetMetadata(ctx, env, snap.ID, run.MetadataChange{Operations: []run.MetadataOperation{}}); err != nil || !again.UpdatedAt.Equal(r.UpdatedAt) {
		t.Errorf("nothing to do: %+v, %v", again, err)
	}
	raw := []byte("\x00{\"a\":1.0}\xff")
	r, err := s.SetMetadata(ctx, env, snap.ID, run.MetadataChange{Replace: &run.Metadata{Bytes: raw, Type: "x/y"}})
	if err != nil || string(r.Trigger.Metadata) != string(raw) || r.Trigger.MetadataType != "x/y" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = s.SetMetadata(ctx, env, snap.ID, run.MetadataChange{Replace: &run.Metadata{Bytes: make([]byte, run.MaxMetadata+1)}})
	wantInvalid(t, err, run.TooLarge)
	s.finish(snap.ID, run.Completed)
	if _, err = s.SetMetadata(ctx, env, snap.ID, run.MetadataChange{Replace: &run.Metadata{}}); !errors.Is(err, run.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// Case 90.
func TestReschedule(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	soon, late := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond), time.Now().Add(9*time.Hour).UTC().Truncate(time.Microsecond)
	snap := snapshot(run.Trigger{DelayUntil: soon, TTL: time.Hour, Priority: time.Minute})
	s.want(Created, snap)
	r, err := s.Reschedule(ctx, env, snap.ID, late)
	if err != nil || r.Status != run.Delayed || !r.Trigger.DelayUntil.Equal(late) {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := s.count("select count(*) from runs where queue_at = $1 and ttl_until = $2", late.Add(-time.Minute).UnixMicro(), late.Add(time.Hour).UnixMicro()); n != 1 {
		t.Error("its turn did not move with it")
	}
	_, err = s.Reschedule(ctx, env, snap.ID, time.Time{})
	wantInvalid(t, err, run.Malformed)
	if r, err = s.Reschedule(ctx, env, snap.ID, time.Now().Add(-time.Second)); err != nil || r.Status != run.Queued {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err = s.Reschedule(ctx, env, snap.ID, late); !errors.Is(err, run.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// A run is changed in its own environment only, and a reset's tombstone is none.
func TestChangesOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	there := s.want(Created, snapshot(run.Trigger{})).ID
	s.reset("k", 100)
	var tomb string
	if err := s.sql.QueryRow(ctx, "select id from runs where kind = 2").Scan(&tomb); err != nil {
		t.Fatal(err)
	}
	tombID, _ := run.ParseID(tomb)
	for _, c := range []struct {
		env  string
		id   run.ID
		want error
	}{{env, mint(), run.ErrNotFound}, {"env_2", there, run.ErrNotFound}, {env, run.ID{}, run.ErrNotFound}, {env, tombID, run.ErrNotFound}, {"", there, run.ErrInvalid}} {
		for name, change := range map[string]func() (run.Run, error){
			"cancel":     func() (run.Run, error) { return s.Cancel(ctx, c.env, c.id, "") },
			"tags":       func() (run.Run, error) { return s.AddTags(ctx, c.env, c.id, []string{"a"}) },
			"metadata":   func() (run.Run, error) { return s.SetMetadata(ctx, c.env, c.id, run.MetadataChange{}) },
			"reschedule": func() (run.Run, error) { return s.Reschedule(ctx, c.env, c.id, time.Now()) },
		} {
			if r, err := change(); !errors.Is(err, c.want) || !r.ID.IsZero() {
				t.Errorf("%s of %q in %q: %+v, %v", name, c.id, c.env, r, err)
			}
		}
	}
}
