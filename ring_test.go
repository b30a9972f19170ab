package mollifier_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// Redis loses what only it had, in one way or another, while two nodes live that
// have acknowledged it: every run and every change is there in the end, keys have
// one run, and no node that acknowledged a run says that there is none.
func TestRedisLosesWhatOnlyItHad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lose func(t *testing.T, r *devstack.Redis)
	}{
		{"emptied", func(t *testing.T, r *devstack.Redis) {
			opt, err := redis.ParseURL(r.URL())
			if err != nil {
				t.Fatal(err)
			}
			c := redis.NewClient(opt)
			defer c.Close()
			if err := c.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}},
		{"without a file", func(t *testing.T, r *devstack.Redis) {
			if err := errors.Join(r.Kill(), r.Start(t.Context())); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := stacktest.PrivateRedis(t, func(c *devstack.RedisConfig) {
				c.Settings = map[string]string{"appendonly": "no"}
			})
			cfg := tripping(t)
			cfg.Redis, cfg.Prefix, cfg.NoDrain = server.URL(), "m", true
			nodes := []*mollifier.Engine{open(t, cfg), open(t, cfg)}
			for _, e := range nodes {
				trip(t, e)
			}
			const n = 200
			ids := make([]run.ID, 0, n)
			for i := range n {
				r := trigger(t, nodes[i%2], order(fmt.Sprint("key", i)))
				if r.State() != run.Buffered {
					t.Fatalf("%d is %s", i, r.State())
				}
				ids = append(ids, r.ID())
				if i%10 == 0 { // by the other node
					if _, err := nodes[(i+1)%2].Cancel(t.Context(), "prod", r.ID(), "enough"); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.lose(t, server)
			for i, id := range ids {
				if _, err := nodes[i%2].Run(t.Context(), "prod", id); errors.Is(err, run.ErrNotFound) {
					t.Errorf("%s, acknowledged by this node, is not found", id)
				}
			}
			waitFor(t, "all is put back", func() bool {
				for _, id := range ids {
					if _, err := nodes[0].Run(t.Context(), "prod", id); err != nil {
						return false
					}
				}
				return true
			})
			waitFor(t, "the key is reset", func() bool {
				_, err := nodes[0].Reset(t.Context(), run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "send", IdempotencyKey: "key1"})
				// Who held the key is not known before it is drained; the tombstone is there.
				return err == nil || errors.Is(err, run.ErrNotFound)
			})
			var again run.Result
			waitFor(t, "the key is triggered again", func() bool {
				var err error
				again, err = nodes[1].Trigger(t.Context(), order("key1"))
				return err == nil
			})
			if again.ID() == ids[1] {
				t.Error("a reset key gave the run that was put back")
			}
			second := trigger(t, nodes[0], order("key3")) // its record was not put back
			cfg.NoDrain = false
			drainer := open(t, cfg)
			drained(t, cfg)
			waitFor(t, "nobody keeps anything", func() bool {
				return nodes[0].RingStats().Entries+nodes[1].RingStats().Entries+drainer.RingStats().Entries == 0
			})
			for i, id := range append(ids, second.ID(), again.ID()) {
				r, err := drainer.Run(t.Context(), "prod", id)
				if err != nil || i < n && (i%10 == 0) != (r.Status == run.Canceled) {
					t.Fatalf("%d, %s: %+v %v", i, id, r.Status, err)
				}
			}
			a, errA := drainer.Run(t.Context(), "prod", ids[3])
			b, errB := drainer.Run(t.Context(), "prod", second.ID())
			if errA != nil || errB != nil || a.Canonical != b.Canonical {
				t.Errorf("one key has two runs: %s and %s", a.Canonical, b.Canonical)
			}
			disjoint(t, cfg.Postgres)
			if s := nodes[0].RingStats(); s.Runs == 0 || s.Evicted+s.Refused != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A node that keeps nothing, says so.
func TestRingOff(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	cfg.NoDrain, cfg.RingBytes = true, -1
	e := open(t, cfg)
	trip(t, e)
	if s := e.RingStats(); s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

// No replica has what is to be buffered: it is settled in Postgres under its id, and
// drained as a repeat.
func TestWhatNoReplicaHasIsSettled(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	cfg := tripping(t)
	cfg.Redis, cfg.Prefix, cfg.Durability, cfg.RedisDeadline = server.URL(), "m", run.DurableRedisReplica, time.Second
	e := open(t, cfg) // and no replica is there
	ids := map[run.ID]bool{}
	for i := range 6 {
		r := trigger(t, e, order(map[bool]string{true: fmt.Sprint("key", i)}[i%2 == 0]))
		if r.State() == run.Buffered || r.Durability() != run.DurablePostgres {
			t.Fatalf("%d is %s, %s", i, r.State(), r.Durability())
		}
		ids[r.ID()] = true
	}
	if e.Stats().Mollified != 0 || e.Stats().Accepts == 0 {
		t.Errorf("%+v", e.Stats())
	}
	drained(t, cfg)
	if n := count(t, cfg.Postgres, "select count(*) from runs"); n != len(ids) {
		t.Errorf("%d rows for %d runs", n, len(ids))
	}
}
