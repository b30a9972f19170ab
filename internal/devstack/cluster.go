//go:build unix

package devstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"golang.org/x/sync/errgroup"
)

// slotsOfACluster is how many slots every Redis Cluster has.
const slotsOfACluster = 16384

// ClusterConfig says how a private Redis Cluster is run.
type ClusterConfig struct {
	// Server is what its servers share: Dir is the folder in which each has one of its
	// own. Password must be set.
	Server RedisConfig
	// Masters share the slots evenly; at least 1.
	Masters int
	// Replicas of each master.
	Replicas int
}

// Cluster is a private Redis Cluster. Its servers may be stopped, killed and paused
// one by one; slots whose master is gone are out, the others go on.
type Cluster struct {
	cfg     ClusterConfig
	servers []*Redis // masters first, then the replicas, those of the first master first
}

// NewCluster prepares a cluster without starting it.
func NewCluster(cfg ClusterConfig) (*Cluster, error) {
	if cfg.Masters < 1 || cfg.Replicas < 0 || cfg.Server.Password == "" {
		return nil, errors.New("devstack: a cluster needs masters and a password")
	}
	c := &Cluster{cfg: cfg}
	for i := range cfg.Masters * (1 + cfg.Replicas) {
		one := cfg.Server
		one.Dir = filepath.Join(cfg.Server.Dir, strconv.Itoa(i))
		bus, err := freePort(0)
		if err != nil {
			return nil, err
		}
		one.Settings = map[string]string{
			"cluster-enabled": "yes", "cluster-port": strconv.Itoa(bus),
			"cluster-require-full-coverage": "no", "cluster-allow-replica-migration": "no",
			"masterauth": cfg.Server.Password,
		}
		maps.Copy(one.Settings, cfg.Server.Settings)
		server, err := NewRedis(one)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, server)
	}
	return c, nil
}

// Start starts the servers and makes them one cluster. It returns when each of them
// knows all others, and all slots are served.
func (c *Cluster) Start(ctx context.Context) error {
	started, starting := errgroup.WithContext(ctx)
	for _, s := range c.servers {
		started.Go(func() error { return s.Start(starting) })
	}
	if err := started.Wait(); err != nil {
		return err
	}
	clients := make([]*redis.Client, len(c.servers))
	for i, s := range c.servers {
		clients[i] = s.Client()
		defer clients[i].Close()
	}
	for i, client := range clients {
		if i < c.cfg.Masters {
			first, next := i*slotsOfACluster/c.cfg.Masters, (i+1)*slotsOfACluster/c.cfg.Masters
			if err := client.ClusterAddSlotsRange(ctx, first, next-1).Err(); err != nil {
				return fmt.Errorf("devstack: the slots of a cluster: %w", err)
			}
		}
		if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return fmt.Errorf("devstack: a cluster's epoch: %w", err)
		}
		if i == 0 {
			continue
		}
		// The other's bus port has to be told as well: it is not the port plus 10,000.
		host, port, err := net.SplitHostPort(c.servers[0].Addr())
		if err != nil {
			return err
		}
		if err := client.Do(ctx, "cluster", "meet", host, port, c.servers[0].cfg.Settings["cluster-port"]).Err(); err != nil {
			return fmt.Errorf("devstack: the servers of a cluster meet: %w", err)
		}
	}
	whole := func() (bool, error) {
		for _, client := range clients {
			info, err := client.ClusterInfo(ctx).Result()
			if err != nil {
				return false, err
			}
			for _, all := range []string{
				"cluster_state:ok\r", fmt.Sprintf("cluster_known_nodes:%d\r", len(clients)), fmt.Sprintf("cluster_slots_assigned:%d\r", slotsOfACluster),
			} {
				if !strings.Contains(info, all) {
					return false, nil
				}
			}
		}
		return true, nil
	}
	if err := poll(ctx, whole); err != nil {
		return fmt.Errorf("devstack: a cluster forms: %w", err)
	}
	for i, client := range clients[c.cfg.Masters:] {
		id, err := clients[i/max(c.cfg.Replicas, 1)].Do(ctx, "cluster", "myid").Text()
		if err != nil {
			return err
		}
		if err := poll(ctx, func() (bool, error) { return client.ClusterReplicate(ctx, id).Err() == nil, nil }); err != nil {
			return fmt.Errorf("devstack: a replica of a cluster: %w", err)
		}
	}
	return c.synced(ctx, clients)
}

// synced returns when each replica has what its master has.
func (c *Cluster) synced(ctx context.Context, clients []*redis.Client) error {
	err := poll(ctx, func() (bool, error) {
		for _, client := range clients[c.cfg.Masters:] {
			info, err := client.Info(ctx, "replication").Result()
			if err != nil {
				return false, err
			}
			if !strings.Contains(info, "master_link_status:up") {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("devstack: the replicas of a cluster: %w", err)
	}
	return nil
}

// Kill ends all servers at once.
func (c *Cluster) Kill() error {
	var all error
	for _, s := range c.servers {
		all = errors.Join(all, s.Kill())
	}
	return all
}

// Master returns the server that began as master i.
func (c *Cluster) Master(i int) *Redis { return c.servers[i] }

// Replica returns the server that began as replica n of master i.
func (c *Cluster) Replica(i, n int) *Redis { return c.servers[c.cfg.Masters+i*c.cfg.Replicas+n] }

// URL is how to connect, password included: keep it out of logs. It names all that
// began as masters.
func (c *Cluster) URL() string {
	url := c.servers[0].URL()
	for i, s := range c.servers[1:c.cfg.Masters] {
		url += string("?&"[min(i, 1)]) + "addr=" + s.Addr()
	}
	return url
}

// Client returns a plain client of the server, for whoever sets servers up.
func (r *Redis) Client() *redis.Client {
	opt, err := redis.ParseURL(r.URL())
	if err != nil {
		panic(err) // it was made here
	}
	opt.Protocol, opt.DisableIdentity = 2, true
	opt.ReadTimeout, opt.WriteTimeout = 10*time.Second, 10*time.Second
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(opt)
}
