package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

const partitions = 4

// world is both stores, and a reader over them whose calls can be watched.
type world struct {
	t      testing.TB
	db     *redisdb.DB
	raw    redis.UniversalClient
	buffer *buffer.Store
	rows   *runstore.Store
	reader *fallback.Reader
	hooks  *hooks
	envs   atomic.Int64
}

func newWorld(t testing.TB, tune ...func(*fallback.Config)) *world {
	t.Helper()
	w := &world{t: t, hooks: &hooks{}}
	url, prefix := stacktest.Redis(t)
	w.db = must(redisdb.New(redisdb.Config{URL: url, Prefix: prefix, Partitions: partitions, Deadline: 10 * time.Second}))
	t.Cleanup(func() { _ = w.db.Close() })
	must(w.db.Open(t.Context()))
	w.raw = stacktest.Client(t, url)
	w.buffer = must(buffer.New(w.db, buffer.Config{}))
	pg := stacktest.Postgres(t)
	if err := schema.Migrate(t.Context(), pg); err != nil {
		t.Fatal(err)
	}
	w.rows = must(runstore.Open(t.Context(), runstore.Config{URL: pg, MaxConns: 8, StatementTimeout: 10 * time.Second}))
	t.Cleanup(w.rows.Close)
	cfg := fallback.Config{
		Rows: watchedRows{w.rows, w.hooks, "rows"}, Entries: watchedEntries{w.buffer, w.hooks},
		Records: fallback.RedisRecords{DB: w.db}, Partitions: partitions, Patience: time.Minute,
		Now: w.hooks.now,
	}
	for _, f := range tune {
		f(&cfg)
	}
	w.reader = fallback.New(cfg)
	return w
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// hooks are asked before each call that a reader makes to a store.
type hooks struct {
	mu     sync.Mutex
	before func(call string) error
	clock  time.Duration
}

func (h *hooks) set(f func(call string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = f
}

// pass lets so much time pass for the reader.
func (h *hooks) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock += d
}

func (h *hooks) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.clock)
}

func (h *hooks) call(name string) error {
	h.mu.Lock()
	f := h.before
	h.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(name)
}

// down makes every call to the stores fail whose name begins so.
func down(names ...string) func(string) error {
	return func(call string) error {
		for _, name := range names {
			if len(call) >= len(name) && call[:len(name)] == name {
				return &run.RefusedError{Reason: run.ErrUnavailable, Part: name}
			}
		}
		return nil
	}
}

// watchedRows is a Postgres with a hook before each call.
type watchedRows struct {
	fallback.Rows
	hooks *hooks
	name  string
}

func (r watchedRows) Runs(ctx context.Context, env string, ids []run.ID) (map[run.ID]run.Run, error) {
	if err := r.hooks.call(r.name + ".runs"); err != nil {
		return nil, err
	}
	return r.Rows.Runs(ctx, env, ids)
}

func (r watchedRows) List(ctx context.Context, env string, f runstore.Filter, p runstore.Page) ([]run.Run, error) {
	if err := r.hooks.call(r.name + ".list"); err != nil {
		return nil, err
	}
	return r.Rows.List(ctx, env, f, p)
}

func (r watchedRows) Children(ctx context.Context, env string, names []run.ID, limit int) ([]run.Run, error) {
	if err := r.hooks.call(r.name + ".children"); err != nil {
		return nil, err
	}
	return r.Rows.Children(ctx, env, names, limit)
}

func (r watchedRows) Keys(ctx context.Context, keys []runstore.KeyRef) ([]runstore.KeyState, error) {
	if err := r.hooks.call(r.name + ".keys"); err != nil {
		return nil, err
	}
	return r.Rows.Keys(ctx, keys)
}

func (r watchedRows) Cancel(ctx context.Context, env string, id run.ID, reason string) (run.Run, error) {
	if err := r.hooks.call(r.name + ".cancel"); err != nil {
		return run.Run{}, err
	}
	return r.Rows.Cancel(ctx, env, id, reason)
}

func (r watchedRows) AddTags(ctx context.Context, env string, id run.ID, tags []string) (run.Run, error) {
	if err := r.hooks.call(r.name + ".tags"); err != nil {
		return run.Run{}, err
	}
	return r.Rows.AddTags(ctx, env, id, tags)
}

func (r watchedRows) SetMetadata(ctx context.Context, env string, id run.ID, c run.MetadataChange) (run.Run, error) {
	if err := r.hooks.call(r.name + ".metadata"); err != nil {
		return run.Run{}, err
	}
	return r.Rows.SetMetadata(ctx, env, id, c)
}

func (r watchedRows) Reschedule(ctx context.Context, env string, id run.ID, until time.Time) (run.Run, error) {
	if err := r.hooks.call(r.name + ".reschedule"); err != nil {
		return run.Run{}, err
	}
	return r.Rows.Reschedule(ctx, env, id, until)
}

// watchedEntries is a buffer with a hook before each call.
type watchedEntries struct {
	fallback.Entries
	hooks *hooks
}

func (e watchedEntries) Get(ctx context.Context, refs []buffer.Ref) []buffer.Got {
	if err := e.hooks.call("entries.get"); err != nil {
		got := make([]buffer.Got, len(refs))
		for i := range got {
			got[i].Err = err
		}
		return got
	}
	return e.Entries.Get(ctx, refs)
}

func (e watchedEntries) Patch(ctx context.Context, ref buffer.Ref, change func(*buffer.Entry) (run.Patch, error)) (buffer.Entry, buffer.Outcome, error) {
	if err := e.hooks.call("entries.patch"); err != nil {
		return buffer.Entry{}, 0, err
	}
	return e.Entries.Patch(ctx, ref, change)
}

func (e watchedEntries) List(ctx context.Context, env string, page buffer.Page) ([]run.ID, error) {
	if err := e.hooks.call("entries.list"); err != nil {
		return nil, err
	}
	return e.Entries.List(ctx, env, page)
}

// env returns an environment of its own, whose queue holds one scenario only.
func (w *world) env() string { return fmt.Sprintf("env%d", w.envs.Add(1)) }

// snapshot mints a run, as the engine would.
func (w *world) snapshot(env string, t run.Trigger) *run.Snapshot {
	w.t.Helper()
	t.Organisation, t.Environment = "org", env
	if t.Task == "" {
		t.Task = "task"
	}
	if err := t.Validate(); err != nil {
		w.t.Fatal(err)
	}
	key := t.Key()
	var hash run.Hash
	if !key.IsZero() {
		hash = key.Hash()
	}
	s := run.NewSnapshot(run.MintID(time.Now(), int(w.envs.Load())%partitions), key, hash, t)
	return &s
}

// The stages of a buffered run.
type stage int

const (
	queued  stage = iota
	leased        // a drainer has it
	settled       // it has its row, its drainer has not said so yet
	acked         // its entry is kept for a grace
	gone          // and is no more
)

var stageNames = [...]string{"queued", "leased", "settled", "acked", "gone"}

func (s stage) String() string { return stageNames[s] }

// moving is a run on its way from the buffer to Postgres.
type moving struct {
	w      *world
	env    string
	id     run.ID
	stage  stage
	lease  buffer.Lease
	failed *run.Failure
	answer runstore.Materialised
}

// accept buffers a run.
func (w *world) accept(env string, t run.Trigger) *moving {
	w.t.Helper()
	s := w.snapshot(env, t)
	if got := w.buffer.Accept(w.t.Context(), []buffer.Acceptance{{Snapshot: s, CheckSkipped: true}})[0]; got.State != buffer.AcceptedNew {
		w.t.Fatalf("accept: %v, %v", got.State, got.Err)
	}
	return &moving{w: w, env: env, id: s.ID}
}

// settle puts a run into Postgres directly.
func (w *world) settle(env string, t run.Trigger) run.ID {
	w.t.Helper()
	s := w.snapshot(env, t)
	if got := w.rows.Settle(w.t.Context(), []runstore.Settlement{{Snapshot: s}})[0]; got.Err != nil || got.ID != s.ID {
		w.t.Fatalf("settle: %v, %v", got.ID, got.Err)
	}
	return s.ID
}

// to moves the run on, as a drainer does, and never back.
func (m *moving) to(s stage) {
	m.w.t.Helper()
	for m.stage < s {
		m.stage++
		switch m.stage {
		case leased:
			m.hold()
		case settled:
			m.materialise(m.lease.Entry.Patches, m.lease.Entry.Ver)
		case acked:
			m.ack()
		case gone:
			m.expire()
		}
	}
}

func (m *moving) ref() buffer.Ref { return buffer.Ref{Environment: m.env, ID: m.id} }

func (m *moving) hold() {
	m.w.t.Helper()
	p, _ := m.id.Partition()
	got, err := m.w.buffer.Lease(m.w.t.Context(), p, m.env, 1, buffer.NewToken(), time.Hour)
	if err != nil || len(got) != 1 || got[0].Err != nil || got[0].ID != m.id {
		m.w.t.Fatalf("lease: %+v, %v", got, err)
	}
	m.lease = got[0]
}

func (m *moving) materialise(patches []run.Patch, ver int64) {
	m.w.t.Helper()
	m.answer = m.w.rows.Materialise(m.w.t.Context(), []runstore.Materialisation{{
		Snapshot: &m.lease.Entry.Snapshot, Patches: patches, Ver: ver, Failed: m.failed,
	}})[0]
	if m.answer.Err != nil {
		m.w.t.Fatal(m.answer.Err)
	}
	m.lease.Entry.Patches, m.lease.Entry.Ver = patches, ver
}

// ack says that the run has its row, and brings it up to what came since.
func (m *moving) ack() {
	m.w.t.Helper()
	for range 100 {
		got := m.w.buffer.Ack(m.w.t.Context(), []buffer.Ack{{Ref: m.ref(), Ver: m.lease.Entry.Ver, Canonical: m.answer.Canonical}})[0]
		if got.Err != nil {
			m.w.t.Fatal(got.Err)
		}
		if got.Done() {
			return
		}
		m.materialise(append(m.lease.Entry.Patches[:len(m.lease.Entry.Patches):len(m.lease.Entry.Patches)], got.Later...), got.Ver)
	}
	m.w.t.Fatal("patches without end")
}

// expire ends the grace.
func (m *moving) expire() {
	m.w.t.Helper()
	p, _ := m.id.Partition()
	name := m.w.db.Names().Entry(p, redisdb.EnvTag(m.env), m.id)
	if n, err := m.w.raw.Del(m.w.t.Context(), name).Result(); err != nil || n != 1 {
		m.w.t.Fatalf("end of grace: %d, %v", n, err)
	}
	m.w.hooks.pass(buffer.Grace)
}

// lapse lets the lease run out, and the entry return to its queue.
func (m *moving) lapse() {
	m.w.t.Helper()
	got := m.w.buffer.Requeue(m.w.t.Context(), []buffer.Requeue{{Ref: m.ref(), Token: m.lease.Token}})[0]
	if got.Err != nil || got.Held != buffer.HeldDone {
		m.w.t.Fatalf("requeue: %v, %v", got.Held, got.Err)
	}
	m.stage = queued
}

// fault is an error as callers tell errors apart.
func fault(err error) string {
	if err == nil {
		return ""
	}
	if invalid, ok := errors.AsType[*run.InvalidError](err); ok {
		return fmt.Sprintf("invalid %s (%s) %d", invalid.Field, invalid.Rule, invalid.Fault)
	}
	for _, sentinel := range []error{run.ErrNotFound, run.ErrConflict, run.ErrUnavailable, run.ErrOverloaded, run.ErrUnknownVersion} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	return "other: " + err.Error()
}

// closed is a Redis that does not answer.
func closed(t testing.TB) *redisdb.DB {
	db := must(redisdb.New(redisdb.Config{URL: "redis://127.0.0.1:1", Prefix: "x", Partitions: partitions}))
	t.Cleanup(func() { _ = db.Close() })
	return db
}
