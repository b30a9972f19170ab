package buffer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

const (
	partitions = 8
	env        = "env_1"
	second     = run.Instant(time.Second / time.Microsecond)
	hour       = 3600 * second
)

// bench is a buffer, the claims beside it, and a plain client to look with.
type bench struct {
	t testing.TB
	*Store
	claims *claim.Store
	raw    redis.UniversalClient
	prefix string
}

func onShared(t testing.TB) *bench { return onSharedWith(t, Config{}) }

func onSharedWith(t testing.TB, cfg Config) *bench {
	url, prefix := stacktest.Redis(t)
	return onRedis(t, redisdb.Config{URL: url, Prefix: prefix, Partitions: partitions, Deadline: 10 * time.Second}, cfg)
}

func onRedis(t testing.TB, at redisdb.Config, cfg Config) *bench {
	t.Helper()
	db := must(redisdb.New(at))
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw := stacktest.Client(t, at.URL)
	return &bench{
		t: t, Store: must(New(db, cfg)), claims: must(claim.New(db, claim.Config{})), raw: raw, prefix: at.Prefix,
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// snap is a snapshot with an id of the partition; key "" is none.
func snap(partition int, key string) *run.Snapshot { return snapIn(env, partition, key) }

func snapIn(environment string, partition int, key string) *run.Snapshot {
	t := run.Trigger{
		Organisation: "org", Environment: environment, Task: "task", Payload: []byte(`{"n":12345678901234567}`),
		IdempotencyKey: key, KeyTTL: time.Hour,
	}
	k := t.Key()
	var hash run.Hash
	if !k.IsZero() {
		hash = k.Hash()
	}
	s := run.NewSnapshot(newID(partition), k, hash, t)
	return &s
}

var idClock = time.UnixMilli(1_800_000_000_000)

var minted atomic.Int64

// newID is greater than all before it, as ids of later milliseconds are.
func newID(partition int) run.ID {
	return run.MintID(idClock.Add(time.Duration(minted.Add(1))*time.Millisecond), partition)
}

func ref(s *run.Snapshot) Ref { return Ref{s.Trigger.Environment, s.ID} }

func (b *bench) now() run.Instant { return run.InstantOf(must(b.raw.Time(b.t.Context()).Result())) }

func (b *bench) epoch() string {
	b.db.Run(b.t.Context(), []redisdb.Call{redisdb.ClockCall()})
	_, _, epoch := b.db.LastTime()
	return epoch
}

// fresh is an acceptance whose look into Postgres found nothing, just now.
func (b *bench) fresh(s *run.Snapshot) Acceptance {
	return Acceptance{Snapshot: s, Since: b.now(), Epoch: b.epoch()}
}

func (b *bench) accept(a Acceptance) Accepted {
	b.t.Helper()
	out := b.Accept(b.t.Context(), []Acceptance{a})[0]
	if out.Err != nil {
		b.t.Fatal(out.Err)
	}
	return out
}

func (b *bench) want(a Acceptance, state State) Accepted {
	b.t.Helper()
	out := b.accept(a)
	if out.State != state {
		b.t.Fatalf("accept: %s, want %s", out.State, state)
	}
	return out
}

// buffered accepts a run afresh.
func (b *bench) buffered(s *run.Snapshot) Accepted {
	b.t.Helper()
	return b.want(b.fresh(s), AcceptedNew)
}

func (b *bench) get(r Ref) (Entry, bool) {
	b.t.Helper()
	g := b.Get(b.t.Context(), []Ref{r})[0]
	if g.Err != nil {
		b.t.Fatal(g.Err)
	}
	return g.Entry, g.Found
}

func (b *bench) status(r Ref) string {
	b.t.Helper()
	e, found := b.get(r)
	if !found {
		return "gone"
	}
	return e.Status.String()
}

func (b *bench) lease(partition, n int, token Token) []Lease {
	b.t.Helper()
	leases, err := b.Lease(b.t.Context(), partition, env, n, token, time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	return leases
}

func (b *bench) ack(a Ack) Acked {
	b.t.Helper()
	out := b.Ack(b.t.Context(), []Ack{a})[0]
	if out.Err != nil {
		b.t.Fatal(out.Err)
	}
	return out
}

func (b *bench) reap(partition int) Reaped {
	b.t.Helper()
	r, err := b.Reap(b.t.Context(), partition, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// lapse lets every lease and delay of a partition be over.
func (b *bench) lapse(partition int) {
	b.t.Helper()
	name := b.names.Leases(partition)
	for _, member := range b.raw.ZRange(b.t.Context(), name, 0, -1).Val() {
		b.raw.ZAdd(b.t.Context(), name, redis.Z{Score: 1, Member: member})
	}
}

func (b *bench) entryName(s *run.Snapshot) string {
	p, _ := s.ID.Partition()
	return b.names.Entry(p, redisdb.EnvTag(s.Trigger.Environment), s.ID)
}

func (b *bench) recordName(s *run.Snapshot) string {
	p, _ := s.ID.Partition()
	return b.names.Record(p, s.Hash)
}

func (b *bench) record(s *run.Snapshot) string {
	b.t.Helper()
	text, err := b.raw.Get(b.t.Context(), b.recordName(s)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		b.t.Fatal(err)
	}
	return text
}

func (b *bench) put(s *run.Snapshot, record string) {
	b.t.Helper()
	if err := b.raw.Set(b.t.Context(), b.recordName(s), record, time.Minute).Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) claim(s *run.Snapshot, token claim.Token) claim.Reply {
	b.t.Helper()
	p, _ := s.ID.Partition()
	r := b.claims.Do(b.t.Context(), []claim.Op{{Verb: claim.Claim, Partition: p, Hash: s.Hash, Token: token}})[0]
	if r.Err != nil {
		b.t.Fatal(r.Err)
	}
	return r
}

// state is everything that the buffer keeps under the prefix, as text, but for
// instants that move.
func (b *bench) state() string {
	b.t.Helper()
	ctx := b.t.Context()
	var out []string
	for _, name := range stacktest.Keys(b.t, b.raw, b.prefix+"*") {
		var value any
		switch b.raw.Type(ctx, name).Val() {
		case "hash":
			value = b.raw.HGetAll(ctx, name).Val()
		case "list":
			value = b.raw.LRange(ctx, name, 0, -1).Val()
		case "zset":
			value = b.raw.ZRange(ctx, name, 0, -1).Val()
		case "string":
			value = b.raw.Get(ctx, name).Val()
		}
		out = append(out, fmt.Sprintf("%s=%v", name, value))
	}
	sortStrings(out)
	return strings.Join(out, "\n")
}

// sound checks what must hold between the parts of the buffer at any time.
func (b *bench) sound() error {
	ctx := b.t.Context()
	for p := range b.db.Partitions() {
		totals := map[string]Usage{}
		entries := map[string]map[string]string{} // not materialised, by "<tag>:<id>"
		prefix := strings.TrimSuffix(b.names.Leases(p), "l")
		for _, name := range stacktest.Keys(b.t, b.raw, prefix+"e:*") {
			f := b.fields(name)
			for _, field := range []string{"v", "s", "st", "acc", "b"} {
				if f[field] == "" {
					return fmt.Errorf("%s: a partial entry: %v", name, f)
				}
			}
			if ttl := b.raw.TTL(ctx, name).Val(); (f["st"] == "m") != (ttl > 0) {
				return fmt.Errorf("%s: status %s lives %s", name, f["st"], ttl)
			}
			if f["st"] == "m" {
				continue
			}
			member := strings.TrimPrefix(name, prefix+"e:")
			tag, _, _ := strings.Cut(member, ":")
			entries[member] = f
			size := must(parseInt(f["b"]))
			for _, field := range []string{tag, "*"} {
				u := totals[field]
				totals[field] = Usage{u.Entries + 1, u.Bytes + size}
			}
			if b.raw.ZScore(ctx, prefix+"i:"+tag, strings.TrimPrefix(member, tag+":")).Err() != nil {
				return fmt.Errorf("%s: not in the index", name)
			}
			leased := b.raw.ZScore(ctx, b.names.Leases(p), member).Err() == nil
			queued := 0
			for _, id := range b.raw.LRange(ctx, prefix+"q:"+tag, 0, -1).Val() {
				if tag+":"+id == member {
					queued++
				}
			}
			for _, dead := range b.raw.LRange(ctx, b.names.Dead(p), 0, -1).Val() {
				if dead == member {
					queued++
				}
			}
			if wantLease := f["st"] == "l"; leased != wantLease || !leased && queued != 1 || leased && queued != 0 {
				return fmt.Errorf("%s: status %s, leased %t, %d times in line", name, f["st"], leased, queued)
			}
		}
		usage := b.raw.HGetAll(ctx, b.names.Usage(p)).Val()
		if len(usage) != len(totals) {
			return fmt.Errorf("partition %d: counts %v, want %v", p, usage, totals)
		}
		for field, want := range totals {
			if got, ok := parseUsage(usage[field]); !ok || got != want {
				return fmt.Errorf("partition %d: count of %s is %q, want %+v", p, field, usage[field], want)
			}
			if field != "*" && !b.raw.HExists(ctx, b.names.Envs(p), field).Val() {
				return fmt.Errorf("partition %d: environment %s is not listed", p, field)
			}
		}
		if n := b.raw.HLen(ctx, b.names.Envs(p)).Val(); int(n) != max(len(totals)-1, 0) {
			return fmt.Errorf("partition %d: %d environments listed, %v have entries", p, n, totals)
		}
		for field := range totals {
			if field == "*" {
				continue
			}
			for _, id := range b.raw.ZRange(ctx, prefix+"i:"+field, 0, -1).Val() {
				if entries[field+":"+id] == nil {
					return fmt.Errorf("partition %d: index holds %s, which is not there", p, id)
				}
			}
		}
	}
	return nil
}

func sortStrings(list []string) { slices.Sort(list) }

func parseInt(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }
