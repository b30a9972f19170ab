package redisdb

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/redis/go-redis/v9"
)

// server is one Redis that calls go to, with a breaker of its own.
type server struct {
	client  *redis.Client
	breaker *breaker
	known   sync.Map // by *Script: executed here before
}

// servers is where calls go: one server, or the masters of a cluster.
type servers interface {
	// of returns the server that has the slot of a key.
	of(ctx context.Context, key string) (*server, error)
	// all returns those that calls without a key go to.
	all() []*server
	// at returns the server at an address, to which another one has sent a call.
	at(ctx context.Context, addr string) (*server, error)
	// lost is told that a server did not answer; another may have its slots soon.
	lost(ctx context.Context)
	// look finds out anew who has which slot.
	look(ctx context.Context) error
	subscribe(ctx context.Context, channel string) *redis.PubSub
	close() error
}

// single is one server, or the one that Sentinel names.
type single struct{ *server }

func (s single) of(context.Context, string) (*server, error) { return s.server, nil }
func (s single) at(context.Context, string) (*server, error) { return s.server, nil }
func (s single) all() []*server                              { return []*server{s.server} }
func (s single) lost(context.Context)                        {}
func (s single) look(context.Context) error                  { return nil }
func (s single) close() error                                { return s.client.Close() }

func (s single) subscribe(ctx context.Context, channel string) *redis.PubSub {
	return s.client.Subscribe(ctx, channel)
}

// cluster is the masters of a Redis Cluster. Who has which slot is known by the
// driver's client; calls are sent by this package, so that each server has a breaker
// of its own and nothing is repeated that may have been executed.
type cluster struct {
	slots *redis.ClusterClient
	make  func(addr string) *redis.Client
	fresh func() *breaker

	looking chan struct{} // holds one while somebody looks

	mu      sync.Mutex
	masters map[string]*server // by address, as of the last look
	strays  map[string]*server // servers that had no slot then
	looks   int
}

func newCluster(slots *redis.ClusterClient, client func(addr string) *redis.Client, fresh func() *breaker) *cluster {
	return &cluster{
		slots: slots, make: client, fresh: fresh, looking: make(chan struct{}, 1),
		masters: map[string]*server{}, strays: map[string]*server{},
	}
}

func (c *cluster) of(ctx context.Context, key string) (*server, error) {
	client, err := c.slots.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known(client), nil
}

// known is the server of a client of the driver's; c.mu is held. A server that is
// gone and comes back has a new client, and begins anew.
func (c *cluster) known(client *redis.Client) *server {
	addr := client.Options().Addr
	s := c.masters[addr]
	if s == nil || s.client != client {
		s = &server{client: client, breaker: c.fresh()}
		c.masters[addr] = s
	}
	return s
}

func (c *cluster) all() []*server {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*server, 0, len(c.masters))
	for _, s := range c.masters {
		list = append(list, s)
	}
	return list
}

func (c *cluster) at(ctx context.Context, addr string) (*server, error) {
	if s := c.met(addr); s != nil {
		return s, nil
	}
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.masters[addr]; s != nil {
		return s, nil
	}
	s := c.strays[addr] // it has no slot yet: one is on its way to it
	if s == nil {
		s = &server{client: c.make(addr), breaker: c.fresh()}
		c.strays[addr] = s
	}
	return s, nil
}

func (c *cluster) met(addr string) *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.masters[addr]; s != nil {
		return s
	}
	return c.strays[addr]
}

// lost has the driver ask for the slots anew, in the background and not more often
// than it thinks fit.
func (c *cluster) lost(ctx context.Context) { c.slots.ReloadState(context.WithoutCancel(ctx)) }

// look returns when the slots were asked for by somebody who began after the call.
func (c *cluster) look(ctx context.Context) error {
	c.mu.Lock()
	before := c.looks
	c.mu.Unlock()
	select {
	case c.looking <- struct{}{}:
		defer func() { <-c.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	done := c.looks > before+1 // one that ended may have begun before the call, two can not
	c.mu.Unlock()
	if done {
		return nil
	}
	var mu sync.Mutex
	var found []*redis.Client
	if err := c.slots.ForEachMaster(ctx, func(_ context.Context, client *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, client)
		return nil
	}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	masters := make(map[string]*server, len(found))
	for _, client := range found {
		s := c.known(client)
		masters[client.Options().Addr] = s
	}
	c.masters = masters
	return nil
}

// subscribe uses any server that answers: what is published on one is heard on all.
func (c *cluster) subscribe(ctx context.Context, channel string) *redis.PubSub {
	list := c.all()
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, s := range list {
		if s.breaker.state() == BreakerClosed {
			return s.client.Subscribe(ctx, channel)
		}
	}
	return c.slots.Subscribe(ctx, channel)
}

func (c *cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.slots.Close()
	for _, s := range c.strays {
		if e := s.client.Close(); err == nil {
			err = e
		}
	}
	return err
}
