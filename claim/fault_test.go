package claim

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// breakable opens a store on a Redis of its own, with a breaker of small
// numbers, and reports the breaker's states in order.
func breakable(t *testing.T, server *devstack.Redis, deadline time.Duration) (*bench, <-chan redisdb.BreakerState) {
	t.Helper()
	states := make(chan redisdb.BreakerState, 1000)
	b := onRedis(t, redisdb.Config{
		URL: server.URL(), Prefix: "m", Partitions: partitions, Deadline: deadline,
		BreakerFailures: 2, BreakerPause: 20 * time.Millisecond,
		OnBreaker: func(s redisdb.BreakerState) { states <- s },
	})
	return b, states
}

func unavailableNow(t *testing.T, r Reply) *run.RefusedError {
	t.Helper()
	var refused *run.RefusedError
	if !errors.Is(r.Err, run.ErrUnavailable) || !errors.As(r.Err, &refused) || refused.Part != "redis" || r.State != 0 {
		t.Fatalf("reply %+v, want redis unavailable", r)
	}
	return refused
}

// Case 125: a Redis that hangs costs a deadline for a few calls, then nothing.
func TestHang(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	const deadline = 150 * time.Millisecond
	b, states := breakable(t, server, deadline)
	k, mine := keyOf("a"), NewToken()
	at := b.want(k.op(Claim, mine), Claimed).AcceptedAt
	b.want(keyOf("other").publish(mine, newID(), at, at+hour, false), Lost) // Redis knows the script
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	opened := false
	for range 2 {
		began := time.Now()
		r := b.Do(t.Context(), []Op{k.op(Claim, NewToken()), k.publish(mine, newID(), at, at+hour, false)})[0]
		if took := time.Since(began); took > 20*deadline {
			t.Fatalf("a call took %s", took)
		}
		unavailableNow(t, r)
		if !redisdb.OutcomeUnknown(r.Err) {
			t.Fatalf("%v: whether it was executed is not known", r.Err)
		}
		select {
		case s := <-states:
			opened = s == redisdb.BreakerOpen
		default:
		}
	}
	if !opened {
		t.Fatalf("breaker %s after two deadlines", b.db.Breaker())
	}
	// Refused while open; probes go on failing; nobody gets an answer.
	refusals := 0
	for refusals == 0 {
		r := b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0]
		refused := unavailableNow(t, r)
		if !redisdb.OutcomeUnknown(r.Err) {
			refusals++
			if refused.RetryAfter <= 0 || refused.RetryAfter > time.Second {
				t.Fatalf("retry after %s", refused.RetryAfter)
			}
		}
	}
	if _, err := b.Clock(t.Context(), 0, k.hash); !errors.Is(err, run.ErrUnavailable) {
		t.Fatalf("clock: %v", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the breaker closes", func() bool {
		b.Do(t.Context(), []Op{k.op(Renew, mine)})
		return b.db.Breaker() == redisdb.BreakerClosed && b.db.Available()
	})
	// What was sent while Redis hung was executed late: the publish happened.
	eventually(t, "the late publish", func() bool {
		r := b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0]
		return r.State == Resolved
	})
}

// One probe at a time, however many call while the breaker is half open.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	b, states := breakable(t, server, 5*time.Second)
	k := keyOf("a")
	b.want(k.op(Claim, NewToken()), Claimed)
	heard := hear(t, b.Store)
	<-heard
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the breaker opens", func() bool {
		r := b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0]
		unavailableNow(t, r)
		select {
		case s := <-states:
			return s == redisdb.BreakerOpen
		default:
			return false
		}
	})
	// No connection: certainly not executed. And no address in the text.
	address := strings.TrimPrefix(server.URL()[strings.LastIndex(server.URL(), "@")+1:], "redis://")
	host, port, err := net.SplitHostPort(strings.TrimSuffix(address, "/0"))
	if err != nil {
		host, port = "127.0.0.1", "127.0.0.1"
	}
	eventually(t, "a refused connection", func() bool {
		r := b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0]
		unavailableNow(t, r)
		if strings.Contains(r.Err.Error(), host) || strings.Contains(r.Err.Error(), port) {
			t.Fatalf("the error names the server: %v", r.Err)
		}
		return strings.Contains(r.Err.Error(), "no connection") && !redisdb.OutcomeUnknown(r.Err)
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "claims again, with what was synced still there", func() bool {
		return b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0].State == Pending
	})
	if h := <-heard; h != (run.Hash{}) {
		t.Fatalf("after a restart, first announced %s", h)
	}
}

// Scripts are gone after SCRIPT FLUSH; in a pipeline only the calls that met
// that are repeated, each once.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	b, _ := breakable(t, server, 10*time.Second)
	k, other := keyOf("a"), keyOf("other")
	mine := NewToken()
	for range 3 {
		if err := b.raw.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		replies := b.Do(t.Context(), []Op{
			k.op(Claim, mine), other.op(Release, mine), other.op(Renew, mine), other.publish(mine, newID(), 5, 6, false),
		})
		for i, want := range []State{Claimed, Lost, Lost, Lost} {
			if replies[i].Err != nil || replies[i].State != want {
				t.Fatalf("op %d: %+v, want %s", i, replies[i], want)
			}
		}
	}
	// One script known, the others not.
	if err := b.raw.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.want(k.op(Claim, mine), Claimed)
	replies := b.Do(t.Context(), []Op{k.op(Claim, NewToken()), other.op(Renew, mine)})
	if replies[0].State != Pending || replies[1].State != Lost {
		t.Fatalf("%+v", replies)
	}
	if err := b.raw.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Clock(t.Context(), k.partition, k.hash); err != nil {
		t.Fatal(err)
	}
}

// All of Redis is lost: claims begin anew, and the old owner has lost its.
func TestFlushAll(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	b, _ := breakable(t, server, 10*time.Second)
	k, old, next := keyOf("a"), NewToken(), NewToken()
	at := b.want(k.op(Claim, old), Claimed).AcceptedAt
	if err := b.raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.want(k.publish(old, newID(), at, at+hour, false), Lost)
	b.want(k.op(Release, old), Lost)
	b.want(k.op(Renew, old), Lost)
	b.want(k.op(Claim, next), Claimed)
	b.want(k.op(Release, old), Lost)
	b.want(k.op(Claim, NewToken()), Pending)
}

// Out of memory: no new claims, but what frees memory or ends claims goes on.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	b, _ := breakable(t, server, 10*time.Second)
	k, o, mine := keyOf("a"), keyOf("other"), NewToken()
	at := b.want(k.op(Claim, mine), Claimed).AcceptedAt
	b.want(o.op(Claim, mine), Claimed)
	set := func(limit string) {
		if err := b.raw.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("1")
	refusal := b.Do(t.Context(), []Op{keyOf("new").op(Claim, mine)})[0]
	unavailableNow(t, refusal)
	if redisdb.OutcomeUnknown(refusal.Err) || !strings.Contains(refusal.Err.Error(), "OOM") {
		t.Fatalf("%v", refusal.Err)
	}
	replies := b.Do(t.Context(), []Op{
		keyOf("new").op(Claim, mine), k.publish(mine, newID(), at, at+hour, false), o.op(Renew, mine),
	})
	unavailableNow(t, replies[0])
	if replies[1].State != Done || replies[2].State != Done {
		t.Fatalf("%+v", replies)
	}
	eventually(t, "the breaker opened by refusals lets a release through", func() bool {
		return b.Do(t.Context(), []Op{o.op(Release, mine)})[0].State == Done
	})
	eventually(t, "a reset", func() bool { _, err := b.Reset(t.Context(), k.partition, k.hash, at+5); return err == nil })
	set("0")
	eventually(t, "claims again", func() bool {
		return b.Do(t.Context(), []Op{keyOf("new").op(Claim, mine)})[0].State == Claimed
	})
}

// A caller that leaves says nothing about Redis.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		r := b.Do(ctx, []Op{keyOf("a").op(Claim, NewToken())})[0]
		unavailableNow(t, r)
		if !redisdb.OutcomeUnknown(r.Err) {
			t.Fatalf("%v", r.Err)
		}
	}
	if b.db.Breaker() != redisdb.BreakerClosed {
		t.Fatalf("breaker %s", b.db.Breaker())
	}
	b.want(keyOf("a").op(Claim, NewToken()), Claimed)
}
