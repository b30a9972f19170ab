package fallback_test

import (
	"errors"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// keyedAt buffers a run of a key, in the partition that the key names.
func (w *world) keyed(env, text string) (run.Key, *moving) {
	w.t.Helper()
	key := run.Key{Kind: run.KindIdempotency, Environment: env, Task: "task", Text: text}
	for range partitions { // environments count up, and the partition of a run with them
		if int(w.envs.Load())%partitions == shard.Partition(key, partitions) {
			break
		}
		w.envs.Add(1)
	}
	return key, w.accept(env, run.Trigger{IdempotencyKey: text})
}

// A key leads to its run wherever that is, as a read by id does.
func TestKeyOfARunThatMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for from := queued; from <= gone; from++ {
		for _, path := range paths(from, 3) {
			env := w.env()
			key, m := w.keyed(env, "k")
			m.to(from)
			calls := 0
			w.hooks.set(func(string) error {
				if calls < len(path) {
					m.to(path[calls])
					calls++
				}
				return nil
			})
			got, err := w.reader.Key(t.Context(), key)
			w.hooks.set(nil)
			if err != nil || got.ID != m.id || got.Status != run.Queued {
				t.Errorf("path %v: %v %v %v", path, got.ID, got.Status, err)
			}
		}
	}
}

func TestKeysThatNobodyHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	claims := must(claim.New(w.db, claim.Config{}))
	for _, s := range []stage{queued, settled, gone} {
		env := w.env()
		key, m := w.keyed(env, "k")
		m.to(s)
		foreign := key
		foreign.Environment = w.env()
		if _, err := w.reader.Key(t.Context(), foreign); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("%v: another environment: %v", s, err)
		}
		if s == gone {
			if _, err := w.rows.Finish(t.Context(), env, m.id, run.Finish{Status: run.Failed}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.reader.Key(t.Context(), key); !errors.Is(err, run.ErrNotFound) {
				t.Errorf("cleared by a failure: %v", err)
			}
			continue
		}
		cut := must(claims.Clock(t.Context(), shard.Partition(key, partitions), key.Hash()))
		cut, _, err := w.rows.Reset(t.Context(), env, key.Hash(), cut)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := claims.Reset(t.Context(), shard.Partition(key, partitions), key.Hash(), cut); err != nil {
			t.Fatal(err)
		}
		if _, err := w.reader.Key(t.Context(), key); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("%v: after a reset: %v", s, err)
		}
		if got := read(t, w, env, m.id); !got.KeyUntil.Before(got.CreatedAt.Add(time.Hour)) {
			t.Errorf("%v: the key still seems to hold until %v", s, got.KeyUntil)
		}
	}
	if _, err := w.reader.Key(t.Context(), run.Key{}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("no key: %v", err)
	}
}

func TestKeysWhileAStoreIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for s, want := range map[stage]string{queued: "", settled: "", gone: "store unavailable"} {
		env := w.env()
		key, m := w.keyed(env, "k")
		m.to(s)
		w.hooks.set(down("rows"))
		got, err := w.reader.Key(t.Context(), key)
		w.hooks.set(nil)
		if fault(err) != want || err == nil && got.ID != m.id {
			t.Errorf("%v without Postgres: %v %v", s, got.ID, err)
		}
	}
	blind := newWorld(t, func(c *fallback.Config) { c.Records = fallback.RedisRecords{DB: closed(t)} })
	env := blind.env()
	key, m := blind.keyed(env, "k")
	if _, err := blind.reader.Key(t.Context(), key); fault(err) != "store unavailable" {
		t.Errorf("queued without Redis: %v", err)
	}
	m.to(acked)
	if got, err := blind.reader.Key(t.Context(), key); err != nil || got.ID != m.id {
		t.Errorf("materialised without Redis: %v %v", got.ID, err)
	}
}
