package mollifier_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// A master of a cluster dies in a storm and its replica takes over; then another one
// dies for good, with its replica. Nothing that was acknowledged is lost or doubled.
func TestClusterFailsOverInAStorm(t *testing.T) {
	t.Parallel()
	failovers(t)
	c := stacktest.PrivateCluster(t, 3, 1, map[string]string{"appendfsync": "no"})
	throughAStorm(t, c.URL(), []func() error{
		c.Master(0).Kill,
		func() error { return errors.Join(c.Replica(1, 0).Kill(), c.Master(1).Kill()) },
	}, func() error { return c.Master(1).Start(t.Context()) })
}

// The same with a server whose Sentinels name its replica when it dies.
func TestSentinelsFailOverInAStorm(t *testing.T) {
	t.Parallel()
	failovers(t)
	const password = "shared"
	share := func(c *devstack.RedisConfig) {
		c.Password, c.Settings = password, map[string]string{"masterauth": password, "appendfsync": "no"}
	}
	primary, replica := stacktest.PrivateRedis(t, share), stacktest.PrivateRedis(t, share)
	raw := replica.Client()
	defer raw.Close()
	host, port, _ := strings.Cut(primary.Addr(), ":")
	if err := raw.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the replica has everything", func() bool {
		return strings.Contains(raw.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	url, sentinels := stacktest.Sentinels(t, 3, "main", primary, password)
	watched := sentinels[0].Client()
	defer watched.Close()
	waitFor(t, "the Sentinels know each other and the replica", func() bool {
		return strings.Contains(watched.Info(t.Context(), "sentinel").Val(), "slaves=1,sentinels=3")
	})
	throughAStorm(t, url, []func() error{primary.Kill}, nil)
}

// failovers skips what needs a machine that is not busy with other packages' tests:
// servers take each other for dead after a second or two.
func failovers(t *testing.T) {
	t.Helper()
	if os.Getenv("MOLLIFIER_TEST_FAILOVERS") == "" {
		t.Skip("make test-failovers runs it")
	}
}

// throughAStorm has two nodes take triggers while faults happen, one after the other,
// each of which has to be got over, and judges what was acknowledged once they are
// mended and the buffer is empty.
func throughAStorm(t *testing.T, url string, faults []func() error, mend func() error) {
	cfg := tripping(t)
	cfg.Redis, cfg.Prefix, cfg.Partitions, cfg.RedisDeadline = url, "m", 16, 500*time.Millisecond
	nodes := []*mollifier.Engine{open(t, cfg), open(t, cfg)}
	const keys = 60
	type answer struct {
		key int // -1: none
		id  run.ID
	}
	var (
		mu       sync.Mutex
		answers  []answer
		buffered atomic.Int64
		clients  sync.WaitGroup
		stop     = make(chan struct{})
	)
	end := sync.OnceFunc(func() { close(stop); clients.Wait() })
	t.Cleanup(end)
	for c := range 6 {
		clients.Go(func() {
			for i := c; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key, name := -1, ""
				if i%3 > 0 {
					key = i % keys
					name = fmt.Sprint("key", key)
				}
				r, err := nodes[i%2].Trigger(t.Context(), order(name))
				if err != nil {
					if !errors.Is(err, run.ErrUnavailable) && !errors.Is(err, run.ErrClaimTimeout) {
						t.Errorf("trigger: %v", err)
						return
					}
					continue
				}
				if r.State() == run.Buffered {
					buffered.Add(1)
				}
				mu.Lock()
				answers = append(answers, answer{key, r.ID()})
				mu.Unlock()
			}
		})
	}
	goesOn := func(what string) {
		t.Helper()
		from := buffered.Load()
		waitFor(t, what, func() bool { return t.Failed() || buffered.Load() >= from+100 })
	}
	goesOn("the storm is mollified")
	for i, fault := range faults {
		if err := fault(); err != nil {
			t.Error(err)
		}
		goesOn(fmt.Sprint("it goes on after fault ", i))
	}
	if mend != nil {
		if err := mend(); err != nil {
			t.Error(err)
		}
	}
	end()
	drained(t, cfg)
	waitFor(t, "nobody keeps anything", func() bool {
		return nodes[0].RingStats().Entries+nodes[1].RingStats().Entries == 0
	})
	canonical := map[int]run.ID{}
	for _, a := range answers {
		r, err := nodes[0].Run(t.Context(), "prod", a.id)
		switch {
		case err != nil:
			t.Errorf("%s, of key %d: %v", a.id, a.key, err)
		case a.key >= 0 && canonical[a.key].IsZero():
			canonical[a.key] = r.Canonical
		case a.key >= 0 && canonical[a.key] != r.Canonical:
			t.Errorf("key %d has the runs %s and %s", a.key, canonical[a.key], r.Canonical)
		}
	}
	disjoint(t, cfg.Postgres)
}
