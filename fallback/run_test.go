package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
)

var comparable = cmp.AllowUnexported(run.ID{})

// everything is a trigger with every field set.
func everything(parent run.ID) run.Trigger {
	return run.Trigger{
		Task: "send: \"mail\"", Payload: []byte("{\"n\":9007199254740993,\"l\":[],\"o\":{},\"x\":null,\"u\":\"\U0001F642\\u0000\"}"),
		PayloadType: "application/super+json", PayloadSize: 77, Context: []byte("c\x00\xff"),
		Metadata: []byte(`{"a":{"b":[1,2]},"n":1}`), MetadataType: "application/json",
		IdempotencyKey: "k:1", KeyTTL: time.Hour, KeyOptions: run.KeyOptions{Key: "shown", Scope: "global"},
		RequestKey: "req", BatchItem: run.BatchItem{Batch: "batch_1", Index: 3},
		DelayUntil: time.Now().Add(time.Hour).UTC(), TTL: time.Minute, TTLText: "60s", Tags: []string{"b", "a"},
		Queue: "q", ConcurrencyKey: "ck", Concurrency: []string{"x", "y"}, Gates: []run.Gate{{Queue: "g", ConcurrencyKey: "h"}},
		Machine: "micro", MaxAttempts: 4, MaxDuration: time.Minute, Priority: -time.Second,
		Debounce:      &run.Debounce{Key: "d", Delay: time.Second, Trailing: true, MaxDelay: time.Minute},
		LockToVersion: "20260101.1", DeploymentID: "dep", Region: "eu", Test: true, ParentRun: parent, ResumeParent: true,
		ParentBatch: "pb", ParentAttempt: "pa", DependentTry: "dt", DependentBatch: "db", BulkAction: "bulk", OneTimeToken: true,
		TraceParent: "00-1-1-01", TraceState: "s=1", TriggerFunction: run.FunctionBatchTriggerAndWait,
	}
}

// Cases 73 to 81 and 127: what a buffered run shows is what its row shows, in
// every field, whatever the snapshot holds.
func TestSyntheticRunIsTheRunOfItsRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := everything(run.MintID(time.Now(), 0))
	for f, v := range reflect.ValueOf(full).Fields() {
		if v.IsZero() && f.Name != "Organisation" && f.Name != "Environment" && f.Name != "Failed" && f.Name != "InFlight" {
			t.Errorf("the trigger's %s is not set", f.Name)
		}
	}
	for name, trigger := range map[string]func(env string) run.Trigger{
		"nothing":    func(string) run.Trigger { return run.Trigger{} },
		"everything": func(string) run.Trigger { return full },
		"empty payload": func(string) run.Trigger {
			return run.Trigger{Payload: []byte{}, Metadata: []byte{}, Context: []byte{}, Tags: []string{}}
		},
		"born failed": func(string) run.Trigger {
			return run.Trigger{Failed: &run.Failure{Message: "too large", Name: "X"}, TTL: time.Second, BatchItem: run.BatchItem{Batch: "b"}}
		},
		"delay passed":   func(string) run.Trigger { return run.Trigger{DelayUntil: time.Now().Add(-time.Hour)} },
		"request key":    func(string) run.Trigger { return run.Trigger{RequestKey: "r"} },
		"fine durations": func(string) run.Trigger { return run.Trigger{TTL: time.Hour + 1, Priority: time.Second + 999} },
		"parent with root": func(env string) run.Trigger {
			return run.Trigger{ParentRun: w.settle(env, run.Trigger{ParentRun: w.settle(env, run.Trigger{})})}
		},
		"parent": func(env string) run.Trigger { return run.Trigger{ParentRun: w.settle(env, run.Trigger{})} },
	} {
		for _, changed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, changed), func(t *testing.T) {
				env := w.env()
				m := w.accept(env, trigger(env))
				if changed {
					apply(t, w, env, m.id)
				}
				before := read(t, w, env, m.id)
				m.to(gone)
				after := read(t, w, env, m.id)
				if before.UpdatedAt.Before(before.CreatedAt) || after.UpdatedAt.Before(before.UpdatedAt) {
					t.Errorf("updated %v, then %v", before.UpdatedAt, after.UpdatedAt)
				}
				// The row's is when it was written.
				before.UpdatedAt = after.UpdatedAt
				if diff := cmp.Diff(before, after, comparable); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// apply makes one of each change.
func apply(t *testing.T, w *world, env string, id run.ID) {
	t.Helper()
	if _, _, err := w.reader.AddTags(t.Context(), env, id, []string{"new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reader.SetMetadata(t.Context(), env, id, set(`{"new":true}`)); err != nil && !errors.Is(err, run.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := w.reader.Reschedule(t.Context(), env, id, time.Now().Add(2*time.Hour)); err != nil && !errors.Is(err, run.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := w.reader.Cancel(t.Context(), env, id, "enough"); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, w *world, env string, id run.ID) run.Run {
	t.Helper()
	r, err := w.reader.Run(t.Context(), env, id)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return r
}

func set(text string) run.MetadataChange {
	return run.MetadataChange{Replace: &run.Metadata{Bytes: []byte(text)}}
}

// A run moves from the buffer to Postgres between the calls of one read, in
// every way that it can: it is found, with the patch that was there before.
func TestReadOfARunThatMoves(t *testing.T) {
	t.Parallel()
	for _, replica := range []string{"none", "fresh", "lagging"} {
		t.Run(replica, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *fallback.Config) {
				switch replica {
				case "fresh":
					c.Replica = watchedRows{c.Rows.(watchedRows).Rows, c.Rows.(watchedRows).hooks, "rows"}
				case "lagging":
					c.Replica = lagging{c.Rows.(watchedRows).hooks}
				}
			})
			for _, patchAt := range []stage{queued, leased, settled} {
				for from := patchAt; from <= gone; from++ {
					for _, path := range paths(from, 3) {
						env := w.env()
						m := w.accept(env, run.Trigger{Tags: []string{"t"}})
						m.to(patchAt)
						if _, _, err := w.reader.AddTags(t.Context(), env, m.id, []string{"late"}); err != nil {
							t.Fatal(err)
						}
						m.to(from)
						calls := 0
						w.hooks.set(func(string) error {
							if calls < len(path) {
								m.to(path[calls])
								calls++
							}
							return nil
						})
						got, err := w.reader.Run(t.Context(), env, m.id)
						w.hooks.set(nil)
						if err != nil || !slices.Equal(got.Trigger.Tags, []string{"t", "late"}) || got.Status != run.Queued {
							t.Errorf("patched %v, path %v: %v %v %v", patchAt, path, got.Trigger.Tags, got.Status, err)
						}
					}
				}
			}
		})
	}
}

// lagging is a replica that has not seen anything yet.
type lagging struct{ hooks *hooks }

func (l lagging) Runs(context.Context, string, []run.ID) (map[run.ID]run.Run, error) {
	return nil, l.hooks.call("replica.runs")
}

// paths are the ways to go on from a stage in n steps.
func paths(from stage, n int) [][]stage {
	if n == 0 {
		return [][]stage{nil}
	}
	var all [][]stage
	for s := from; s <= gone; s++ {
		for _, rest := range paths(s, n-1) {
			all = append(all, append([]stage{s}, rest...))
		}
	}
	return all
}

// Cases 83, 88 and 130: a store that is down is not a run that does not exist.
func TestReadsWhileAStoreIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.env()
	direct, nobody := w.settle(env, run.Trigger{}), run.MintID(time.Now(), 1)
	for _, s := range []stage{queued, leased, settled, acked, gone} {
		env := w.env()
		m := w.accept(env, run.Trigger{})
		m.to(s)
		for name, want := range map[string]map[stage]string{
			"rows":    {queued: "", leased: "", settled: "", acked: "store unavailable", gone: "store unavailable"},
			"entries": {queued: "store unavailable", leased: "store unavailable", settled: "", acked: "", gone: ""},
		} {
			w.hooks.set(down(name))
			_, err := w.reader.Run(t.Context(), env, m.id)
			w.hooks.set(nil)
			if fault(err) != want[s] {
				t.Errorf("%v without %s: %v", s, name, err)
			}
		}
	}
	for _, c := range []struct {
		down string
		id   run.ID
		want string
	}{
		{"entries", direct, ""},
		{"rows", direct, "store unavailable"},
		{"entries", nobody, "store unavailable"},
		{"rows", nobody, "store unavailable"},
		{"none", nobody, "not found"},
	} {
		w.hooks.set(down(c.down))
		_, err := w.reader.Run(t.Context(), env, c.id)
		w.hooks.set(nil)
		if fault(err) != c.want {
			t.Errorf("without %s: %v, want %q", c.down, err, c.want)
		}
	}
}

// Postgres goes down between the two looks into it, and comes back.
func TestReadsWhileAStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 3 {
		for _, s := range []stage{queued, settled, acked, gone} {
			env := w.env()
			m := w.accept(env, run.Trigger{})
			m.to(s)
			calls := 0
			w.hooks.set(func(string) error {
				if calls++; calls == n+1 {
					return &run.RefusedError{Reason: run.ErrUnavailable, Part: "postgres"}
				}
				return nil
			})
			_, err := w.reader.Run(t.Context(), env, m.id)
			w.hooks.set(nil)
			if errors.Is(err, run.ErrNotFound) {
				t.Errorf("%v, call %d failed: not found", s, n)
			}
		}
	}
}

// Cases 5 to 9: a run of another environment is not there, in any state, for
// any call.
func TestOtherEnvironments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, s := range []stage{queued, leased, settled, acked, gone} {
		env, other := w.env(), w.env()
		m := w.accept(env, run.Trigger{DelayUntil: time.Now().Add(time.Hour)})
		m.to(s)
		before := read(t, w, env, m.id)
		for name, call := range calls(w, other, m.id) {
			if _, err := call(t.Context()); !errors.Is(err, run.ErrNotFound) {
				t.Errorf("%v %s: %v", s, name, err)
			}
		}
		if diff := cmp.Diff(before, read(t, w, env, m.id), comparable); diff != "" {
			t.Errorf("%v: %s", s, diff)
		}
		// An entry that says it is another environment's, whatever put it there.
		if s == queued {
			p, _ := m.id.Partition()
			names := w.db.Names()
			if err := w.raw.Copy(t.Context(), names.Entry(p, env, m.id), names.Entry(p, other, m.id), 0, false).Err(); err != nil {
				t.Fatal(err)
			}
			for name, call := range calls(w, other, m.id) {
				if _, err := call(t.Context()); !errors.Is(err, run.ErrNotFound) {
					t.Errorf("foreign entry, %s: %v", name, err)
				}
			}
		}
	}
	for name, call := range calls(w, "", run.MintID(time.Now(), 0)) {
		if _, err := call(t.Context()); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("no environment, %s: %v", name, err)
		}
	}
	for name, call := range calls(w, "env", run.ID{}) {
		if _, err := call(t.Context()); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("no id, %s: %v", name, err)
		}
	}
}

// calls are all reads and changes of one run.
func calls(w *world, env string, id run.ID) map[string]func(context.Context) (run.Run, error) {
	return map[string]func(context.Context) (run.Run, error){
		"read":   func(ctx context.Context) (run.Run, error) { return w.reader.Run(ctx, env, id) },
		"cancel": func(ctx context.Context) (run.Run, error) { return w.reader.Cancel(ctx, env, id, "") },
		"tags": func(ctx context.Context) (run.Run, error) {
			r, _, err := w.reader.AddTags(ctx, env, id, []string{"x"})
			return r, err
		},
		"metadata": func(ctx context.Context) (run.Run, error) { return w.reader.SetMetadata(ctx, env, id, set("{}")) },
		"reschedule": func(ctx context.Context) (run.Run, error) {
			return w.reader.Reschedule(ctx, env, id, time.Now().Add(time.Hour))
		},
		"replay": func(ctx context.Context) (run.Run, error) {
			t, err := w.reader.Replay(ctx, env, id)
			return run.Run{Trigger: t}, err
		},
	}
}

// An entry that this build can not read is neither missing nor in the way of its row.
func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, s := range []stage{queued, settled} {
		env := w.env()
		m := w.accept(env, run.Trigger{})
		m.to(s)
		p, _ := m.id.Partition()
		if err := w.raw.SetRange(t.Context(), w.db.Names().Entry(p, env, m.id), 0, "3").Err(); err != nil {
			t.Fatal(err)
		}
		_, err := w.reader.Run(t.Context(), env, m.id)
		if want := map[stage]string{queued: "store unavailable", settled: ""}[s]; fault(err) != want {
			t.Errorf("%v: %v", s, err)
		}
		if _, err := w.reader.Cancel(t.Context(), env, m.id, ""); !errors.Is(err, run.ErrUnavailable) {
			t.Errorf("%v: cancel: %v", s, err)
		}
	}
}

// Cases 73 and 78: garbage in place of dates is no date, and cancels nothing.
func TestInvalidDatesAreAbsent(t *testing.T) {
	t.Parallel()
	env, id := "env", run.MintID(time.Now(), 0)
	s := run.NewSnapshot(id, run.Key{}, run.Hash{}, run.Trigger{Organisation: "org", Environment: env, Task: "task"})
	s.AcceptedAt, s.KeyUntil = 1<<62, -1<<62
	s.Trigger.DelayUntil = run.Instant(1 << 62).Time()
	reader := fallback.New(fallback.Config{Rows: none{}, Entries: canned{buffer.Entry{
		Snapshot: s, Status: buffer.Queued, Now: 1, Patches: []run.Patch{{Ver: 1, At: 1 << 62, AddTags: []string{"x"}}},
	}}})
	got, err := reader.Run(t.Context(), env, id)
	if err != nil || got.Status != run.Queued || !got.FinishedAt.IsZero() || got.Error != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, at := range map[string]time.Time{
		"created": got.CreatedAt, "updated": got.UpdatedAt, "key": got.KeyUntil, "delay": got.Trigger.DelayUntil,
	} {
		if !at.IsZero() {
			t.Errorf("%s is %v", name, at)
		}
	}
}

type canned struct{ entry buffer.Entry }

func (c canned) Get(_ context.Context, refs []buffer.Ref) []buffer.Got {
	return []buffer.Got{{Entry: c.entry, Found: true}}
}

func (c canned) Patch(context.Context, buffer.Ref, func(*buffer.Entry) (run.Patch, error)) (buffer.Entry, buffer.Outcome, error) {
	return buffer.Entry{}, buffer.NotFound, nil
}

func (c canned) List(context.Context, string, buffer.Page) ([]run.ID, error) { return nil, nil }

// none is a Postgres without rows.
type none struct{ fallback.Rows }

func (none) Runs(context.Context, string, []run.ID) (map[run.ID]run.Run, error) { return nil, nil }
