package ring

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

const (
	partitions = 4
	env        = "env_1"
)

// place is both stores, a Redis that may be broken among them.
type place struct {
	t      *testing.T
	server *devstack.Redis
	raw    *redis.Client
	rows   *runstore.Store
}

func newPlace(t *testing.T, configure ...func(*devstack.RedisConfig)) *place {
	t.Helper()
	url := stacktest.Postgres(t)
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	rows, err := runstore.Open(t.Context(), runstore.Config{URL: url, MaxConns: 4, StatementTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rows.Close)
	p := &place{t: t, server: stacktest.PrivateRedis(t, configure...), rows: rows}
	opt, err := redis.ParseURL(p.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	opt.Protocol = 2
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	p.raw = redis.NewClient(opt)
	t.Cleanup(func() { _ = p.raw.Close() })
	return p
}

// member is one node: a ring, and the buffer that feeds it.
type member struct {
	*place
	*Ring
	db     *redisdb.DB
	buffer *buffer.Store
	looker looker
}

func (p *place) node(bytes int64) *member {
	p.t.Helper()
	db, err := redisdb.New(redisdb.Config{
		URL: p.server.URL(), Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second,
		BreakerFailures: 1000,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Open(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	r, err := New(Config{Bytes: bytes, Partitions: partitions})
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := buffer.New(db, buffer.Config{Keeper: r})
	if err != nil {
		p.t.Fatal(err)
	}
	m := &member{place: p, Ring: r, db: db, buffer: b, looker: looker{ring: r, buffer: b, rows: p.rows}}
	m.beat(0)
	return m
}

// beat lets the node's heart beat once, and wants so many partitions to signal.
func (m *member) beat(signals int) {
	m.t.Helper()
	if back := m.pulse(m.t.Context(), m.db); len(back) != signals {
		m.t.Fatalf("partitions %v signal, want %d of them", back, signals)
	}
}

// look looks at everything.
func (m *member) look() {
	m.t.Helper()
	all := map[int]bool{}
	for p := range partitions {
		all[p] = true
	}
	if err := m.looker.all(m.t.Context(), all); err != nil {
		m.t.Fatal(err)
	}
}

var clock = time.UnixMilli(1_800_000_000_000)

// trigger accepts a run; key "" is none.
func (m *member) trigger(n int, key string) *run.Snapshot {
	m.t.Helper()
	t := run.Trigger{
		Organisation: "org", Environment: env, Task: "task", Payload: fmt.Appendf(nil, `{"n":%d}`, n),
		IdempotencyKey: key, KeyTTL: time.Hour,
	}
	k := t.Key()
	var hash run.Hash
	if !k.IsZero() {
		hash = k.Hash()
	}
	s := run.NewSnapshot(run.MintID(clock.Add(time.Duration(n)*time.Millisecond), n%partitions), k, hash, t)
	a := m.buffer.Accept(m.t.Context(), []buffer.Acceptance{{Snapshot: &s, CheckSkipped: true}})[0]
	if a.State != buffer.AcceptedNew {
		m.t.Fatalf("%+v", a)
	}
	s.AcceptedAt, s.KeyUntil = a.AcceptedAt, a.Until
	return &s
}

func ref(s *run.Snapshot) buffer.Ref { return buffer.Ref{Environment: env, ID: s.ID} }

func (m *member) patch(s *run.Snapshot, p run.Patch) {
	m.t.Helper()
	if _, outcome, err := m.buffer.Patch(m.t.Context(), ref(s), func(*buffer.Entry) (run.Patch, error) { return p, nil }); err != nil || outcome != buffer.Applied {
		m.t.Fatalf("%d %v", outcome, err)
	}
}

func (m *member) entry(s *run.Snapshot) (buffer.Entry, bool) {
	m.t.Helper()
	got := m.buffer.Get(m.t.Context(), []buffer.Ref{ref(s)})[0]
	if got.Err != nil {
		m.t.Fatal(got.Err)
	}
	return got.Entry, got.Found
}

// drain moves what waits into Postgres; it acks what was materialised if told so.
func (m *member) drain(ack bool) (n int) {
	m.t.Helper()
	for p := range partitions {
		leases, err := m.buffer.Lease(m.t.Context(), p, env, 256, buffer.NewToken(), time.Minute)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, l := range leases {
			n++
			at := l.Entry.Patched()
			row := m.rows.Materialise(m.t.Context(), []runstore.Materialisation{{Snapshot: &l.Entry.Snapshot, Patches: l.Entry.Patches, Ver: l.Entry.Ver}})[0]
			if row.Err != nil {
				m.t.Fatal(row.Err)
			}
			if ack {
				a := m.buffer.Ack(m.t.Context(), []buffer.Ack{{Ref: l.Ref, Ver: at.Ver, Canonical: row.Canonical}})[0]
				if !a.Done() {
					m.t.Fatalf("%+v", a)
				}
			}
		}
	}
	return n
}

func (m *member) row(s *run.Snapshot) run.Run {
	m.t.Helper()
	found, err := m.rows.Runs(m.t.Context(), env, []run.ID{s.ID})
	if err != nil {
		m.t.Fatal(err)
	}
	r, ok := found[s.ID]
	if !ok {
		m.t.Fatalf("%s has no row", s.ID)
	}
	return r
}

func (m *member) flush() {
	m.t.Helper()
	if err := m.raw.FlushAll(m.t.Context()).Err(); err != nil {
		m.t.Fatal(err)
	}
}

// keep copies what Redis has on disk; goBack has it start from there.
func (p *place) keep(dir string) (saved string) {
	p.t.Helper()
	saved = p.t.TempDir()
	copyTree(p.t, dir, saved)
	return saved
}

func (p *place) goBack(dir, saved string) {
	p.t.Helper()
	if err := p.server.Kill(); err != nil {
		p.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "appendonlydir")); err != nil {
		p.t.Fatal(err)
	}
	copyTree(p.t, saved, dir)
	p.start()
}

func (p *place) start() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := p.server.Start(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// copyTree copies the files of the append-only folder.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	sub := filepath.Join(to, "appendonlydir")
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(from, "appendonlydir", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: nothing to copy", err)
	}
	for _, name := range files {
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(sub, filepath.Base(name)))
		if err == nil {
			_, err = io.Copy(out, in)
			_ = out.Close()
		}
		_ = in.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// records are the names of the records of keys.
func (p *place) records() (names []string) {
	for _, name := range p.raw.Keys(p.t.Context(), "m:*").Val() {
		if strings.Contains(name, "}:k:") {
			names = append(names, name)
		}
	}
	return names
}

func (m *member) resetKey(s *run.Snapshot) {
	m.t.Helper()
	now, err := m.raw.Time(m.t.Context()).Result()
	if err != nil {
		m.t.Fatal(err)
	}
	if _, _, err := m.rows.Reset(m.t.Context(), env, s.Hash, run.InstantOf(now)); err != nil {
		m.t.Fatal(err)
	}
}

func keyRefs(s *run.Snapshot) []runstore.KeyRef {
	return []runstore.KeyRef{{Environment: env, Hash: s.Hash}}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the test was ended")
		}
		if time.Now().After(deadline) {
			t.Fatal("it never came to pass")
		}
	}
}
