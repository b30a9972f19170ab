package redisdb

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

var (
	echo  = NewScript(`return { ARGV[1], KEYS[1] or '', #ARGV, { 'inner', false } }`)
	one   = NewScript(`return 'no array'`)
	wrong = NewScript(`return redis.call('LPUSH', KEYS[1])`)
	tick  = NewClockScript(`local t = redis.call('TIME')
local id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
return { 'x', string.format('%.0f', t[1] * 1000000 + t[2]) .. '|' .. id }`)
	untimed = NewClockScript(`return { 'x' }`)
)

// Each call has its own outcome, in its place.
func TestRun(t *testing.T) {
	t.Parallel()
	d := onShared(t)
	key := d.Names().Record(3, run.Hash{1})
	for range 2 {
		r := d.Run(t.Context(), []Call{
			{Script: echo, Keys: []string{key}, Args: []any{[]byte("a\x00b"), 7}},
			{Script: wrong, Keys: []string{key}},
			{Script: one},
			{Script: echo, Args: []any{"again"}},
			{Script: untimed},
		})
		if got := fmt.Sprintf("%q", r[0].Values); got != fmt.Sprintf("%q", []any{"a\x00b", key, int64(2), []any{"inner", nil}}) {
			t.Fatalf("%s: %v", got, r[0].Err)
		}
		for i, unknown := range map[int]bool{1: false, 2: true, 4: true} {
			if !errors.Is(r[i].Err, run.ErrUnavailable) || r[i].Values != nil || OutcomeUnknown(r[i].Err) != unknown {
				t.Fatalf("call %d: %+v", i, r[i])
			}
		}
		if r[3].Err != nil || r[3].Values[0] != "again" {
			t.Fatalf("%+v", r[3])
		}
		if d.raw.ScriptFlush(t.Context()).Err() != nil {
			t.Fatal("flush")
		}
	}
	if d.Run(t.Context(), nil) != nil || d.Breaker() != BreakerClosed {
		t.Fatalf("breaker %s", d.Breaker())
	}
}

// Calls are executed in their order, also when the server knows only the script
// of the later one, from another node.
func TestOrderOfUnknownScripts(t *testing.T) {
	t.Parallel()
	d := onShared(t)
	other := onRedis(t, d.cfg)
	key := d.Names().Record(1, run.Hash{2})
	get := NewScript("-- " + d.cfg.Prefix + "\nreturn { redis.call('GET', KEYS[1]) }")
	set := NewScript("-- " + d.cfg.Prefix + "\nredis.call('SET', KEYS[1], ARGV[1]) return {}")
	other.Run(t.Context(), []Call{{Script: get, Keys: []string{key}}})
	r := d.Run(t.Context(), []Call{{Script: set, Keys: []string{key}, Args: []any{"x"}}, {Script: get, Keys: []string{key}}})
	if r[0].Err != nil || r[1].Err != nil || r[1].Values[0] != "x" {
		t.Fatalf("%+v", r)
	}
}

func TestStrings(t *testing.T) {
	t.Parallel()
	if texts, ok := (Result{Values: []any{"a", "b"}}).Strings(2); !ok || texts[1] != "b" {
		t.Fatal(texts)
	}
	for _, values := range [][]any{nil, {"a"}, {"a", int64(1)}, {"a", nil}, {"a", "b", "c"}} {
		if _, ok := (Result{Values: values}).Strings(2); ok {
			t.Fatalf("%v", values)
		}
	}
}

func TestLastTime(t *testing.T) {
	t.Parallel()
	d := onShared(t)
	if at, _, epoch := d.LastTime(); at != 0 || epoch != "" {
		t.Fatalf("%d %q", at, epoch)
	}
	before := must(d.raw.Time(t.Context()).Result())
	r := d.Run(t.Context(), []Call{{Script: tick}})[0]
	at, heard, epoch := d.LastTime()
	if r.Err != nil || len(r.Values) != 1 || r.At != at || at < run.InstantOf(before) || heard.IsZero() {
		t.Fatalf("%+v, last %d", r, at)
	}
	if info := parseInfo(d.raw.Info(t.Context(), "server").Val()); info["run_id"] != epoch {
		t.Fatalf("epoch %q, run id %q", epoch, info["run_id"])
	}
}

// Readings of several servers: the oldest counts, and who is silent drops out.
func TestClockOfSeveralServers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c clock
		began := time.Now()
		c.saw(100, "a", began)
		c.saw(50, "b", began.Add(10*time.Millisecond))
		if at, heard, epoch := c.last(); at != 50 || !heard.Equal(began) || epoch != "a b" {
			t.Fatalf("%d %s %q", at, heard, epoch)
		}
		c.saw(90, "a", began.Add(20*time.Millisecond)) // its clock stepped back
		if at, heard, epoch := c.last(); at != 50 || !heard.Equal(began.Add(10*time.Millisecond)) || epoch != "b a" {
			t.Fatalf("%d %s %q", at, heard, epoch)
		}
		c.saw(95, "a", began.Add(2*time.Second))
		if at, _, epoch := c.last(); at != 95 || epoch != "a" {
			t.Fatalf("%d %q", at, epoch)
		}
	})
}

func FuzzParseClock(f *testing.F) {
	for _, text := range []string{"", "1|a", "|", "1|", "x|a", "9007199254740993|a", "1|a b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, epoch, ok := parseClock(text)
		if ok != (epoch != "") || at < 0 || at > MaxInstant {
			t.Fatalf("%q: %d %q %t", text, at, epoch, ok)
		}
	})
}

// Not open, closed: refused without the network.
func TestNotOpen(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Redis(t)
	d := must(New(Config{URL: url, Prefix: prefix, Partitions: partitions}))
	r := d.Run(t.Context(), []Call{{Script: echo}})[0]
	if !errors.Is(r.Err, run.ErrUnavailable) || OutcomeUnknown(r.Err) || d.Available() {
		t.Fatalf("%v, available %t", r.Err, d.Available())
	}
	if _, err := d.Open(t.Context()); err != nil || !d.Available() {
		t.Fatalf("%v, available %t", err, d.Available())
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r = d.Run(t.Context(), []Call{{Script: echo}})[0]
	if !errors.Is(r.Err, run.ErrClosed) || OutcomeUnknown(r.Err) || d.Breaker() != BreakerClosed || d.Available() {
		t.Fatalf("%v, breaker %s", r.Err, d.Breaker())
	}
	if _, err := d.Open(t.Context()); !errors.Is(err, run.ErrUnavailable) {
		t.Fatal(err)
	}
}

// A caller that leaves says nothing about Redis.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	d := onShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if r := d.Run(ctx, []Call{{Script: echo}})[0]; !errors.Is(r.Err, run.ErrUnavailable) || !OutcomeUnknown(r.Err) {
			t.Fatalf("%v", r.Err)
		}
	}
	if d.Breaker() != BreakerClosed {
		t.Fatalf("breaker %s", d.Breaker())
	}
}
