package claim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

const partitions = 8

// bench is an opened store with a plain client beside it.
type bench struct {
	t testing.TB
	*Store
	db  *redisdb.DB
	cfg redisdb.Config
	raw redis.UniversalClient
}

// onShared opens a store on the shared Redis. Tests of rules, not of deadlines:
// the machine may be busy.
func onShared(t testing.TB) *bench {
	url, prefix := stacktest.Redis(t)
	return onRedis(t, redisdb.Config{URL: url, Prefix: prefix, Partitions: partitions, Deadline: 10 * time.Second})
}

func onRedis(t testing.TB, cfg redisdb.Config) *bench {
	t.Helper()
	db, err := redisdb.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, Store: must(New(db, Config{})), db: db, cfg: cfg, raw: plain(t, cfg.URL)}
	if _, err := db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func plain(t testing.TB, url string) redis.UniversalClient { return stacktest.Client(t, url) }

// key is one key of a test.
type key struct {
	partition int
	hash      run.Hash
}

func keyOf(text string) key {
	k := run.Key{Kind: run.KindIdempotency, Environment: "env", Task: "task", Text: text}
	return key{partition: len(text) % partitions, hash: k.Hash()}
}

func (k key) op(v Verb, token Token) Op {
	return Op{Verb: v, Partition: k.partition, Hash: k.hash, Token: token}
}

func (k key) publish(token Token, id run.ID, at, until run.Instant, found bool) Op {
	op := k.op(Publish, token)
	op.Run, op.AcceptedAt, op.Until, op.Found = id, at, until, found
	op.PayloadHash = run.DigestPayload("application/json", []byte(id.String()))
	return op
}

func (b *bench) redisKey(k key) string { return b.names.Record(k.partition, k.hash) }

func (b *bench) put(k key, record string) {
	b.t.Helper()
	if err := b.raw.Set(b.t.Context(), b.redisKey(k), record, time.Minute).Err(); err != nil {
		b.t.Fatal(err)
	}
}

// get returns the record, or "" if there is none.
func (b *bench) get(k key) string {
	b.t.Helper()
	record, err := b.raw.Get(b.t.Context(), b.redisKey(k)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		b.t.Fatal(err)
	}
	return record
}

func (b *bench) lives(k key) time.Duration {
	b.t.Helper()
	d, err := b.raw.PTTL(b.t.Context(), b.redisKey(k)).Result()
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func (b *bench) now() run.Instant {
	b.t.Helper()
	now, err := b.raw.Time(b.t.Context()).Result()
	if err != nil {
		b.t.Fatal(err)
	}
	return run.InstantOf(now)
}

// one carries out one op and fails the test on an error.
func (b *bench) one(op Op) Reply {
	b.t.Helper()
	r := b.Do(b.t.Context(), []Op{op})[0]
	if r.Err != nil {
		b.t.Fatalf("%s: %v", op.Verb, r.Err)
	}
	return r
}

func (b *bench) want(op Op, state State) Reply {
	b.t.Helper()
	r := b.one(op)
	if r.State != state {
		b.t.Fatalf("%s: %s, want %s", op.Verb, r.State, state)
	}
	return r
}

// fields splits a record; the test's own reading of the form.
func fields(record string) []string { return strings.Split(record, "|") }

func instant(t testing.TB, text string) run.Instant {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return run.Instant(n)
}

func pending(token Token, acc, deadline run.Instant, flags string) string {
	return fmt.Sprintf("1|p|%s|%d|%d|%s", token.append(nil), acc, deadline, flags)
}

func resolved(id run.ID, acc, until run.Instant) string {
	return fmt.Sprintf("1|r|%s|%d|%d|-|-", id, acc, until)
}

func bound(id run.ID, acc, until run.Instant) string {
	return fmt.Sprintf("1|b|%s|%d|%d|-|-|%s", id, acc, until, envTag)
}

const envTag = "env-1_X"

// buffer writes as much of an entry as a claim looks at.
func (b *bench) buffer(k key, id run.ID, status string, until run.Instant) {
	b.t.Helper()
	err := b.raw.HSet(b.t.Context(), b.names.Entry(k.partition, envTag, id), "v", "1", "st", status, "until", int64(until)).Err()
	if err != nil {
		b.t.Fatal(err)
	}
}

func floor(at run.Instant) string { return fmt.Sprintf("1|f|%d", at) }

func newID() run.ID { return run.MintID(time.UnixMilli(1_800_000_000_000), 1) }

// eventually waits until ok, asking again and again.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ask := time.NewTicker(5 * time.Millisecond)
	defer ask.Stop()
	for !ok() {
		select {
		case <-ask.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// close in time: between two readings of Redis's clock.
func within(t testing.TB, at, from, to run.Instant) {
	t.Helper()
	if at < from || at > to {
		t.Fatalf("instant %d outside [%d, %d]", at, from, to)
	}
}

const (
	second = run.Instant(time.Second / time.Microsecond)
	hour   = 3600 * second
)
