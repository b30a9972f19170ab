package buffer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

func onPrivate(t *testing.T, deadline time.Duration) (*bench, *devstack.Redis) {
	server := stacktest.PrivateRedis(t)
	return onRedis(t, redisdb.Config{
		URL: server.URL(), Prefix: "m", Partitions: partitions, Deadline: deadline,
		BreakerFailures: 2, BreakerPause: 20 * time.Millisecond,
	}, Config{}), server
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ask := time.NewTicker(5 * time.Millisecond)
	defer ask.Stop()
	end := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-ask.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// A restart keeps what was accepted, and ends every fence: the new server is
// not the one that the look was fenced by.
func TestRestart(t *testing.T) {
	t.Parallel()
	b, server := onPrivate(t, 5*time.Second)
	s := snap(1, "key")
	first := b.buffered(s)
	old := b.fresh(snap(1, "other"))
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	got := b.Accept(t.Context(), []Acceptance{old})[0]
	if !errors.Is(got.Err, run.ErrUnavailable) || got.State != 0 {
		t.Fatalf("%+v", got)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old fence has passed", func() bool {
		old.Since = b.now() // as young as can be
		return b.Accept(t.Context(), []Acceptance{old})[0].State == Stale
	})
	if e, found := b.get(ref(s)); !found || e.Snapshot.AcceptedAt != first.AcceptedAt {
		t.Fatalf("%+v", e)
	}
	b.buffered(old.Snapshot)
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// A reply that is lost: what happened is not known, and a repetition tells.
func TestLostReply(t *testing.T) {
	t.Parallel()
	b, server := onPrivate(t, 150*time.Millisecond)
	warm := snap(1, "warm")
	b.buffered(warm)
	a := b.fresh(snap(1, "key"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	got := b.Accept(t.Context(), []Acceptance{a})[0]
	if !errors.Is(got.Err, run.ErrUnavailable) || !redisdb.OutcomeUnknown(got.Err) {
		t.Fatalf("%+v", got)
	}
	_, outcome, err := b.Patch(t.Context(), ref(warm), func(*Entry) (run.Patch, error) { return run.Patch{Delay: 1}, nil })
	if !errors.Is(err, run.ErrUnavailable) || outcome != 0 {
		t.Fatalf("%d %v", outcome, err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the late accept is found", func() bool {
		return b.Accept(t.Context(), []Acceptance{a})[0].State == AlreadyThere
	})
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// The reply to a lease is lost, in either order of the two calls: asked again,
// the same token holds the same entries, and nobody holds any besides.
func TestLostLease(t *testing.T) {
	t.Parallel()
	b, server := onPrivate(t, 150*time.Millisecond)
	want := make([]run.ID, 0, 5)
	for i := range 5 {
		s := snap(1, fmt.Sprint(i))
		b.buffered(s)
		want = append(want, s.ID)
	}
	b.lease(2, 1, NewToken()) // so that the script is known
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	token := NewToken()
	for range 2 {
		if _, err := b.Lease(t.Context(), 1, env, 3, token, time.Hour); !redisdb.OutcomeUnknown(err) {
			t.Fatal(err)
		}
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	var got []Lease
	eventually(t, "the lease is answered", func() (ok bool) {
		var err error
		got, err = b.Lease(t.Context(), 1, env, 3, token, time.Hour)
		return err == nil
	})
	if !slices.Equal(ids(got), want[:3]) {
		t.Fatalf("leased %v, want %v", ids(got), want[:3])
	}
	if rest := ids(b.lease(1, 9, NewToken())); !slices.Equal(rest, want[3:]) {
		t.Fatalf("left were %v, want %v", rest, want[3:])
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Out of memory: nothing more is taken, and what is there drains.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	b, _ := onPrivate(t, 10*time.Second)
	a, c, d := snap(1, "a"), snap(1, "c"), snap(1, "d")
	for _, s := range []*run.Snapshot{a, c, d} {
		b.buffered(s)
	}
	fresh := b.fresh(snap(1, "new"))
	limit := func(bytes string) {
		if err := b.raw.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	got := b.Accept(t.Context(), []Acceptance{fresh})[0]
	if !errors.Is(got.Err, run.ErrUnavailable) || redisdb.OutcomeUnknown(got.Err) || !strings.Contains(got.Err.Error(), "OOM") {
		t.Fatalf("%+v", got)
	}
	token := NewToken()
	if got := b.lease(1, 3, token); len(got) != 3 {
		t.Fatalf("leased %v", ids(got))
	}
	b.held("extend", b.Extend(t.Context(), []Holding{{ref(a), token}}, time.Hour), HeldDone)
	b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(a), Token: token}}), HeldDone)
	b.held("fail", b.Fail(t.Context(), []Holding{{ref(c), token}}), HeldDone)
	b.ack(Ack{Ref: ref(d)})
	b.lapse(1)
	b.reap(1)
	if _, found := b.get(ref(a)); !found {
		t.Fatal("not found")
	}
	limit("0")
	fresh = b.fresh(fresh.Snapshot)
	b.want(fresh, AcceptedNew)
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Everything works for a user who may do no more than this, on these keys.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	b, server := onPrivate(t, 10*time.Second)
	err := b.raw.Do(t.Context(), "ACL", "SETUSER", "mollifier", "on", ">secret", "resetchannels", "~m:*", "&m:*", "-@all",
		"+hello", "+client|setname", "+select", "+ping", "+info", "+eval", "+evalsha",
		"+get", "+getrange", "+strlen", "+mget", "+set", "+setrange", "+mset", "+msetnx", "+append", "+time", "+publish", "+exists", "+del", "+pexpire",
		"+hget", "+hmget", "+hgetall", "+hset", "+hdel", "+persist",
		"+lrange", "+ltrim", "+lpush", "+rpush", "+llen", "+lindex", "+lrem",
		"+zadd", "+zrem", "+zcard", "+zcount", "+zrange", "+zrangebyscore", "+zrangebylex", "+zrevrangebylex").Err()
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(server.URL(), "@")
	raw, keeper := b.raw, &shelf{}
	b = onRedis(t, redisdb.Config{
		URL: "redis://mollifier:secret@" + server.URL()[at+1:], Prefix: "m", Partitions: partitions, Deadline: 10 * time.Second,
	}, Config{Keeper: keeper})
	b.raw = raw
	for range 2 {
		token := NewToken()
		s, other := snap(1, "key"), snap(1, "other")
		b.buffered(s)
		b.want(b.fresh(snap(1, "key")), BoundTo)
		b.buffered(other)
		unchanged := b.raw.Dump(t.Context(), b.entryName(s)).Val()
		patch(t, b, ref(s), run.Patch{Delay: 5})
		b.lease(1, 9, token)
		b.held("extend", b.Extend(t.Context(), []Holding{{ref(s), token}}, time.Hour), HeldDone)
		b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(s), Token: token, Count: true}}), HeldDone)
		b.held("fail", b.Fail(t.Context(), []Holding{{ref(other), token}}), HeldDone)
		b.lease(1, 9, NewToken())
		b.lapse(1)
		b.reap(1)
		for _, err := range []error{
			errOf(b.Heads(t.Context(), []int{1})), errOf(b.Sweep(t.Context(), 1, 0, 5)), errOf(b.Revive(t.Context(), 1, 5)),
			errOf(b.Usage(t.Context(), env)), errOf(b.List(t.Context(), env, Page{Limit: 5})),
			errOf(b.List(t.Context(), env, Page{Limit: 5, After: s.ID})),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		b.ack(Ack{Ref: ref(s), Ver: 1})
		b.raw.RestoreReplace(t.Context(), b.entryName(s), time.Minute, unchanged)
		b.raw.SetRange(t.Context(), b.entryName(s), int64(atStatus), string(rune(Materialised)))
		b.stands(keeper.kept[s.ID], Lacking)
		b.restore(keeper.kept[s.ID], Restored{Patches: 1})
		b.ack(Ack{Ref: ref(s), Ver: 1})
		late := snap(1, "late")
		b.buffered(late)
		b.lease(1, 9, NewToken())
		b.lapse(1)
		b.reap(1)
		b.ack(Ack{Ref: ref(late)})
		b.raw.Del(t.Context(), b.recordName(s), b.recordName(other), b.recordName(late))
	}
	if err := b.raw.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.buffered(snap(1, "after a flush"))
}

func errOf[T any](_ T, err error) error { return err }
