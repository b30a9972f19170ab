//go:build unix

package mollifiertest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest/link"
	"github.com/e0ff5a15/mollifier/override"
)

// partitions of every deployment here: few, so that engines start quickly.
const partitions = 16

// closeWithin bounds the close of a node at the end of its test.
const closeWithin = 20 * time.Second

// Node is an engine and its paths to the stores.
type Node struct {
	*mollifier.Engine
	// Redis and Postgres are the engine's own paths; in fair weather until the test
	// changes it.
	Redis, Postgres *link.Link
	crashed         atomic.Bool
}

// Start opens an engine on stores of its own. It is closed when the test ends.
func Start(t testing.TB, configure ...func(*mollifier.Config)) *Node {
	t.Helper()
	return NewStores(t).Start(t, configure...)
}

// Start opens an engine on these stores: one node more. It is closed when the test ends.
// The functions may change anything but the URLs, the prefix and Partitions. Calls to
// Redis have five seconds, not a quarter of one: to a busy machine that is no outage.
func (s *Stores) Start(t testing.TB, configure ...func(*mollifier.Config)) *Node {
	t.Helper()
	n := &Node{}
	cfg := mollifier.Config{Migrate: true, RedisDeadline: 5 * time.Second}
	for _, f := range configure {
		f(&cfg)
	}
	cfg.Prefix, cfg.Partitions = s.Prefix, partitions
	n.Redis, cfg.Redis = linked(t, s.Redis)
	n.Postgres, cfg.Postgres = linked(t, s.Postgres)
	var err error
	if n.Engine, err = mollifier.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		if n.crashed.Load() {
			cancel() // there is nothing to wait for
		}
		if err := n.Close(ctx); err != nil && !n.crashed.Load() {
			t.Errorf("mollifiertest: close: %v", err)
		}
	})
	return n
}

func linked(t testing.TB, server string) (*link.Link, string) {
	t.Helper()
	l, through, err := link.To(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, through
}

// Crash cuts the node off from both stores for good. What it was doing stays as a killed
// process leaves it: claims until they run out, leases until they end, statements that
// had arrived done. The engine itself still answers whoever calls it, by refusing.
func (n *Node) Crash() {
	n.crashed.Store(true)
	n.Redis.SetWeather(link.Weather{Refuse: true})
	n.Postgres.SetWeather(link.Weather{Refuse: true})
}

// Mollify has every trigger of an environment mollified, as in a storm: on this node at
// once, and on the deployment's others as soon as they hear of it.
func (n *Node) Mollify(t testing.TB, environment string) {
	t.Helper()
	if _, err := n.SetGate(t.Context(), override.Override{
		Environment: environment, Gate: override.Gate{Force: "mollify"}, By: override.Author{Name: "mollifiertest"},
	}); err != nil {
		t.Fatal(err)
	}
}
