package mollifier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// tripping is shared stores with a gate that trips at the second trigger of an
// environment on a node, and stays so.
func tripping(t *testing.T) mollifier.Config {
	t.Helper()
	cfg := shared(t)
	cfg.Partitions = 16
	cfg.RedisDeadline = 5 * time.Second // a busy machine is no outage, and aliases are an outage's
	cfg.Gate = mollifier.GateConfig{Window: time.Hour, Threshold: 1, Hold: time.Hour}
	return cfg
}

// trip brings prod over the threshold on one node.
func trip(t *testing.T, e *mollifier.Engine) {
	t.Helper()
	waitFor(t, "the gate trips", func() bool { return trigger(t, e, order("")).State() == run.Buffered })
}

// count asks Postgres for a number.
func count(t *testing.T, postgres, statement string, args ...any) (n int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.QueryRow(t.Context(), statement, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// drained waits until nothing is in the buffer any more.
func drained(t *testing.T, cfg mollifier.Config) {
	t.Helper()
	cfg = cfg.WithDefaults()
	db, err := redisdb.New(redisdb.Config{URL: cfg.Redis, Prefix: cfg.Prefix, Partitions: cfg.Partitions, Deadline: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	store, err := buffer.New(db, buffer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the buffer is empty", func() bool {
		left, err := store.Total(t.Context())
		return err == nil && left.Entries == 0
	})
}

// disjoint checks the invariant of identity in Postgres: the intervals of two
// runs of one key do not overlap.
func disjoint(t *testing.T, postgres string) {
	t.Helper()
	if n := count(t, postgres, `select count(*) from runs a join runs b on a.env_id = b.env_id and a.id < b.id and a.kind = 0 and b.kind = 0
		and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
		and a.accepted_at < b.key_until and b.accepted_at < a.key_until`); n != 0 {
		t.Errorf("%d pairs of runs of one key overlap", n)
	}
}

// witness reads every acknowledged run over and over, from several nodes, and
// reports one that is not found.
type witness struct {
	t    *testing.T
	mu   sync.Mutex
	ids  []run.ID
	seen map[run.ID]time.Time // created-at as acknowledged
	stop context.CancelFunc
	done sync.WaitGroup
	// bothWays is by how much created-at may differ. Each store that a run reached says
	// when that was: of one whose accept was not answered in time, and which was settled
	// then, two instants are known, a deadline apart.
	bothWays time.Duration
}

func watch(t *testing.T, engines ...*mollifier.Engine) *witness {
	t.Helper()
	return watchBothWays(t, 0, engines...)
}

func watchBothWays(t *testing.T, apart time.Duration, engines ...*mollifier.Engine) *witness {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w := &witness{t: t, seen: map[run.ID]time.Time{}, stop: stop, bothWays: apart}
	for _, e := range engines {
		w.done.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id, at, n := w.pick(i)
				if n == 0 {
					i = -1
					select { // nobody was acknowledged yet
					case <-ctx.Done():
					case <-time.After(time.Millisecond):
					}
					continue
				}
				r, err := e.Run(ctx, "prod", id)
				switch {
				case errors.Is(err, run.ErrNotFound):
					t.Errorf("the acknowledged run %s is not found", id)
					return
				case err == nil && r.Canonical == id && r.CreatedAt.Sub(at).Abs() > w.bothWays:
					t.Errorf("%s was created at %s, now at %s", id, at, r.CreatedAt)
					return
				}
			}
		})
	}
	t.Cleanup(w.end)
	return w
}

func (w *witness) pick(i int) (run.ID, time.Time, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) == 0 {
		return run.ID{}, time.Time{}, 0
	}
	// Every other look goes to the newest: it has just been acknowledged.
	id := w.ids[len(w.ids)-1]
	if i%2 == 0 {
		id = w.ids[i/2%len(w.ids)]
	}
	return id, w.seen[id], len(w.ids)
}

func (w *witness) acknowledged(r run.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[r.ID()]; !ok {
		w.ids, w.seen[r.ID()] = append(w.ids, r.ID()), r.AcceptedAt()
	}
}

func (w *witness) end() { w.stop(); w.done.Wait() }

// all returns what was acknowledged.
func (w *witness) all() []run.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]run.ID(nil), w.ids...)
}

// Over its threshold an environment is mollified: answered from Redis, read at
// once on another node, deduplicated there too, and drained exactly once with
// its created-at. Two of the three nodes do not drain.
func TestStormIsMollifiedAndDrainedOnce(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) { t.Parallel(); stormOnce(t, tripping(t)) })
	t.Run("a cluster", func(t *testing.T) {
		t.Parallel()
		cfg := tripping(t)
		cfg.Redis, cfg.Prefix = stacktest.Cluster(t)
		stormOnce(t, cfg)
	})
}

func stormOnce(t *testing.T, cfg mollifier.Config) {
	cfg.NoDrain = true
	a, b := open(t, cfg), open(t, cfg)
	w := watch(t, a, b)
	passed := trigger(t, a, order("passed"))
	w.acknowledged(passed)
	trip(t, a)
	before := count(t, cfg.Postgres, `select count(*) from runs`)

	const n = 60
	results := make([]run.Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			key := ""
			if i%2 == 0 {
				key = fmt.Sprint("k", i)
			}
			r, err := a.Trigger(t.Context(), order(key))
			if err != nil {
				t.Errorf("trigger: %v", err)
				return
			}
			w.acknowledged(r)
			results[i] = r
			read, err := b.Run(t.Context(), "prod", r.ID())
			if err != nil || read.Status != run.Queued || !read.CreatedAt.Equal(r.AcceptedAt()) || read.Trigger.IdempotencyKey != key {
				t.Errorf("read on the other node: %+v, %v", read, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, r := range results {
		if r.State() != run.Buffered || r.Identity() != run.Confirmed || r.Cached() ||
			(r.Durability() != run.DurableRedis && r.Durability() != run.DurableRedisFsync) {
			t.Errorf("%d: %s, %s, %s, cached %v", i, r.State(), r.Durability(), r.Identity(), r.Cached())
		}
		if i%2 == 0 {
			if again := trigger(t, b, order(fmt.Sprint("k", i))); again.ID() != r.ID() || !again.Cached() {
				t.Errorf("the other node answered %s, cached %v; want %s", again.ID(), again.Cached(), r.ID())
			}
		}
	}
	if again := trigger(t, a, order("passed")); again.ID() != passed.ID() || !again.Cached() {
		t.Errorf("the key of a run that passed: %s, want %s", again.ID(), passed.ID())
	}
	if now := count(t, cfg.Postgres, `select count(*) from runs`); now != before {
		t.Errorf("%d rows came while nobody drained", now-before)
	}
	page, err := b.List(t.Context(), "prod", mollifier.Filter{}, mollifier.Page{Limit: 100})
	if err != nil || len(page.Runs) < n+1 || page.Partial {
		t.Errorf("the list has %d runs, partial %v, %v", len(page.Runs), page.Partial, err)
	}

	cfg.NoDrain = false
	open(t, cfg)
	drained(t, cfg)
	for _, r := range results {
		if n := count(t, cfg.Postgres, `select count(*) from runs where id = $1 and kind = 0 and accepted_at = $2`,
			r.ID().String(), r.AcceptedAt().UnixMicro()); n != 1 {
			t.Errorf("%s: %d rows with its created-at", r.ID(), n)
		}
	}
	w.end()
	if got, want := count(t, cfg.Postgres, `select count(*) from runs`), len(page.Runs); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
	disjoint(t, cfg.Postgres)
	if again := trigger(t, b, order("k0")); again.ID() != results[0].ID() || !again.Cached() {
		t.Errorf("after the drain: %s, want %s", again.ID(), results[0].ID())
	}
}

// Every change of a buffered run is seen at once, and is in Postgres after the drain.
func TestChangesOfABufferedRunAreDrained(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := tripping(t)
	cfg.NoDrain = true
	a, b := open(t, cfg), open(t, cfg)
	trip(t, a)
	one := func(key string, change func(*run.Trigger)) run.ID {
		tr := order(key)
		if change != nil {
			change(&tr)
		}
		r := trigger(t, a, tr)
		if r.State() != run.Buffered {
			t.Fatalf("%s: %s", key, r.State())
		}
		return r.ID()
	}
	later, latest := time.Now().Add(time.Hour).Truncate(time.Millisecond), time.Now().Add(2*time.Hour).Truncate(time.Millisecond)
	canceled, tagged, described := one("c", nil), one("t", func(tr *run.Trigger) { tr.Tags = []string{"x"} }), one("m", nil)
	delayed, reset := one("d", func(tr *run.Trigger) { tr.DelayUntil = later }), one("r", nil)
	if r, err := b.Cancel(ctx, "prod", canceled, "enough"); err != nil || r.Status != run.Canceled {
		t.Errorf("cancel: %s, %v", r.Status, err)
	}
	if r, added, err := b.AddTags(ctx, "prod", tagged, []string{"x", "y"}); err != nil || added != 1 || len(r.Trigger.Tags) != 2 {
		t.Errorf("tags: %v, %d new, %v", r.Trigger.Tags, added, err)
	}
	doc := []byte(`{"n":12345678901234567, "a":[]}`)
	if _, err := b.SetMetadata(ctx, "prod", described, run.MetadataChange{Replace: &run.Metadata{Bytes: doc, Type: "application/json"}}); err != nil {
		t.Errorf("metadata: %v", err)
	}
	if r, err := b.Reschedule(ctx, "prod", delayed, latest); err != nil || !r.Trigger.DelayUntil.Equal(latest) || r.Status != run.Delayed {
		t.Errorf("reschedule: %s until %s, %v", r.Status, r.Trigger.DelayUntil, err)
	}
	replay, err := b.Replay(ctx, "prod", canceled, nil)
	if err != nil || replay.ID() == canceled || replay.Cached() {
		t.Errorf("replay: %v", err)
	}
	if cleared, err := b.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "r"}); err != nil || cleared != reset {
		t.Errorf("reset: %s, %v, want %s", cleared, err, reset)
	}
	next := trigger(t, a, order("r"))
	if next.Cached() || next.ID() == reset {
		t.Errorf("the reset key answered %s", next.ID())
	}

	check := func(where string) {
		t.Helper()
		get := func(id run.ID) run.Run {
			r, err := a.Run(ctx, "prod", id)
			if err != nil {
				t.Errorf("%s: %s: %v", where, id, err)
			}
			return r
		}
		if r := get(canceled); r.Status != run.Canceled {
			t.Errorf("%s: canceled is %s", where, r.Status)
		}
		if r := get(tagged); len(r.Trigger.Tags) != 2 {
			t.Errorf("%s: tags %v", where, r.Trigger.Tags)
		}
		if r := get(described); !bytes.Equal(r.Trigger.Metadata, doc) {
			t.Errorf("%s: metadata %s", where, r.Trigger.Metadata)
		}
		if r := get(delayed); !r.Trigger.DelayUntil.Equal(latest) || r.Status != run.Delayed {
			t.Errorf("%s: %s until %s", where, r.Status, r.Trigger.DelayUntil)
		}
		if r := get(replay.ID()); r.Trigger.IdempotencyKey != "" || !bytes.Equal(r.Trigger.Payload, order("").Payload) {
			t.Errorf("%s: the replay is %+v", where, r.Trigger)
		}
		if r := get(reset); r.KeyUntil.After(time.Now()) {
			t.Errorf("%s: the interval of the reset run goes on until %s", where, r.KeyUntil)
		}
	}
	check("buffered")
	cfg.NoDrain = false
	open(t, cfg)
	drained(t, cfg)
	check("drained")
	if again := trigger(t, b, order("r")); again.ID() != next.ID() {
		t.Errorf("after the drain the key answers %s, want %s", again.ID(), next.ID())
	}
	if n := count(t, cfg.Postgres, `select count(*) from runs where kind = 1`); n != 0 {
		t.Errorf("%d aliases", n)
	}
	disjoint(t, cfg.Postgres)
}

// Triggers of the same keys from three nodes while the gate trips, some before
// and some after: each key has one run, told once as new, and no alias (case 11).
func TestGateFlipsUnderTheSameKeys(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.Gate.Threshold = 40
	engines := []*mollifier.Engine{open(t, cfg), open(t, cfg), open(t, cfg)}
	w := watch(t, engines[0], engines[1])
	const keys, each = 90, 6
	type told struct {
		ids   map[run.ID]bool
		fresh int
	}
	var (
		mu  sync.Mutex
		by  = map[string]*told{}
		hit = map[run.State]int{}
		wg  sync.WaitGroup
	)
	for i := range keys * each {
		wg.Go(func() {
			key := fmt.Sprint("k", i/each)
			r, err := engines[i%3].Trigger(t.Context(), order(key))
			if err != nil {
				t.Errorf("%s: %v", key, err)
				return
			}
			w.acknowledged(r)
			mu.Lock()
			defer mu.Unlock()
			if by[key] == nil {
				by[key] = &told{ids: map[run.ID]bool{}}
			}
			by[key].ids[r.ID()] = true
			hit[r.State()]++
			if !r.Cached() {
				by[key].fresh++
			}
		})
	}
	wg.Wait()
	for key, told := range by {
		if len(told.ids) != 1 || told.fresh != 1 {
			t.Errorf("%s: %d runs, %d told as new", key, len(told.ids), told.fresh)
		}
	}
	if hit[run.Buffered] == 0 || hit[run.Materialised] == 0 {
		t.Errorf("the gate did not flip: %v", hit)
	}
	drained(t, cfg)
	w.end()
	if n := count(t, cfg.Postgres, `select count(*) from runs`); n != keys {
		t.Errorf("%d rows, want %d", n, keys)
	}
	disjoint(t, cfg.Postgres)
}

// What the customer wrote comes back byte for byte, from the buffer and from Postgres.
func TestPayloadsSurviveTheBuffer(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.NoDrain = true
	e := open(t, cfg)
	trip(t, e)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	payloads := [][]byte{
		nil,
		{},
		[]byte("null"), []byte(`{"tags":null,"a":[],"o":{}}`),
		[]byte(`{"n":12345678901234567,"f":1e400,"z":-0.0,"d":0.1e-9}`),
		[]byte(`"\u0000\"\\\b \u2028"`), []byte("\"\U0001F600\u0007\""), []byte(`{"a":1,"a":2}`),
		bytes.Repeat([]byte("["), 20_000), every, bytes.Repeat(every, 4096), []byte("\xff\xfe\x00"),
	}
	ids := make([]run.ID, len(payloads))
	for i, p := range payloads {
		tr := order(fmt.Sprint("p", i%2*i))
		tr.Payload, tr.PayloadType = p, "application/octet-stream"
		if i%2 == 0 {
			tr.IdempotencyKey = ""
		}
		r := trigger(t, e, tr)
		if r.State() != run.Buffered {
			t.Fatalf("%d: %s", i, r.State())
		}
		ids[i] = r.ID()
	}
	check := func(where string) {
		t.Helper()
		for i, id := range ids {
			r, err := e.Run(t.Context(), "prod", id)
			if err != nil || !bytes.Equal(r.Trigger.Payload, payloads[i]) || r.Trigger.PayloadType != "application/octet-stream" {
				t.Errorf("%s: payload %d: %.60q became %.60q, %v", where, i, payloads[i], r.Trigger.Payload, err)
			}
		}
	}
	check("buffered")
	cfg.NoDrain = false
	open(t, cfg)
	drained(t, cfg)
	check("drained")
}
