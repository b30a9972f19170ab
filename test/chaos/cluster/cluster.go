// Package cluster runs what is under test as its users run it: several nodes as
// processes, a Redis and a Postgres of their own, and between each node and each
// store a link whose weather can be changed.
//
// It knows nothing of the program but its flags and stack.json.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/mollifiertest/link"
)

// The client says on standard error whenever a server is gone, which is the rule here.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// stopWithin is how long a node may take to end in order: its own stop timeout,
// and some time for a busy machine.
const stopWithin = 45 * time.Second

// Options say what is run.
type Options struct {
	Dir     string // made if need be; it must be passable for the user of Postgres
	Program string // the program under test
	Nodes   int    // the first of them, if there are several, does not drain
	Flags   []string
	// AOF is Redis's appendfsync: always, everysec, or no.
	AOF string
}

// Cluster is everything under test. Its methods are safe for concurrent use.
type Cluster struct {
	Dir      string
	Postgres *devstack.Postgres
	Nodes    []*Node

	mu      sync.Mutex
	redis   *devstack.Redis
	dir     string // of that Redis
	servers int
	aof     string
	admin   *redis.Client
}

// Redis is the present primary.
func (c *Cluster) Redis() *devstack.Redis {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.redis
}

// RedisDir is the folder of the present primary.
func (c *Cluster) RedisDir() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dir
}

// Start returns a cluster that serves. If it fails nothing is left running.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, err
	}
	if err := os.Chmod(o.Dir, 0o711); err != nil {
		return nil, err
	}
	c := &Cluster{Dir: o.Dir, aof: o.AOF}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.redis, c.dir, err = c.newRedis(); err != nil {
		return nil, err
	}
	if c.Postgres, err = devstack.NewPostgres(devstack.PostgresConfig{
		Dir: filepath.Join(o.Dir, "postgres"), DieWithParent: true,
		Settings: map[string]string{"max_connections": "100"},
	}); err != nil {
		return nil, err
	}
	var both sync.WaitGroup
	var redisErr, postgresErr error
	both.Go(func() { redisErr = c.redis.Start(ctx) })
	both.Go(func() { postgresErr = c.Postgres.Start(ctx) })
	both.Wait()
	if err := errors.Join(redisErr, postgresErr); err != nil {
		return nil, err
	}
	if c.admin, err = adminClient(c.redis.URL()); err != nil {
		return nil, err
	}
	secret := filepath.Join(o.Dir, "secret.key")
	for i := range o.Nodes {
		n, err := c.node(o, i, secret)
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, n)
		// The first node makes the environments and the secret key.
		if err := n.Start(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) node(o Options, i int, secret string) (*Node, error) {
	n := &Node{
		Name: fmt.Sprintf("node%d", i), Drains: i > 0 || o.Nodes == 1,
		program: o.Program, dir: filepath.Join(o.Dir, fmt.Sprintf("node%d", i)),
	}
	var redisURL, postgresURL string
	var err error
	if n.Redis, redisURL, err = link.To(c.redis.URL()); err != nil {
		return nil, err
	}
	if n.Postgres, postgresURL, err = link.To(c.Postgres.URL()); err != nil {
		return nil, errors.Join(err, n.Redis.Close())
	}
	n.args = append([]string{
		"-data", n.dir, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0",
		"-secret-key-file", secret,
		"-seed", fmt.Sprintf("-drain=%t", n.Drains),
	}, o.Flags...)
	// Passwords: other users of the machine can read arguments.
	n.env = []string{"MOLLIFIER_REDIS=" + redisURL, "MOLLIFIER_POSTGRES=" + postgresURL}
	return n, nil
}

func adminClient(address string) (*redis.Client, error) {
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	o.Protocol, o.MaxRetries, o.PoolSize, o.DisableIdentity = 2, -1, 2, true
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

// RedisDo sends one command to Redis itself, past the links.
func (c *Cluster) RedisDo(ctx context.Context, args ...any) error {
	return c.client().Do(ctx, args...).Err()
}

func (c *Cluster) client() *redis.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.admin
}

// RedisInfo is a section of Redis's INFO.
func (c *Cluster) RedisInfo(ctx context.Context, section string) (string, error) {
	return c.client().Info(ctx, section).Result()
}

// Connect opens a connection to Postgres itself, past the links. The caller
// closes it.
func (c *Cluster) Connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, c.Postgres.URL())
}

// Links are the paths to Redis, or to Postgres, of all nodes.
func (c *Cluster) Links(redis bool) []*link.Link {
	links := make([]*link.Link, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		if redis {
			links = append(links, n.Redis)
		} else {
			links = append(links, n.Postgres)
		}
	}
	return links
}

// Gone reports nodes that ended although nobody asked them to.
func (c *Cluster) Gone() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Gone())
	}
	return errors.Join(errs...)
}

// Close stops everything. The files stay.
func (c *Cluster) Close() error {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, n := range c.Nodes {
		wait.Go(func() {
			err := errors.Join(n.Resume(), n.Stop(stopWithin))
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wait.Wait()
	for _, n := range c.Nodes {
		errs = append(errs, n.Redis.Close(), n.Postgres.Close())
	}
	if c.admin != nil {
		errs = append(errs, c.admin.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if c.redis != nil {
		errs = append(errs, c.redis.Stop(ctx))
	}
	if c.Postgres != nil {
		errs = append(errs, c.Postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

// Waiting is how many runs are in the buffer and not yet acknowledged as drained:
// the sum of the indexes. The prefix of keys is the default one.
func (c *Cluster) Waiting(ctx context.Context) (n int64, err error) {
	client := c.client()
	for cursor := uint64(0); ; {
		var keys []string
		if keys, cursor, err = client.Scan(ctx, cursor, "m:{*}:i:*", 1000).Result(); err != nil {
			return 0, err
		}
		for _, key := range keys {
			card, err := client.ZCard(ctx, key).Result()
			if err != nil {
				return 0, err
			}
			n += card
		}
		if cursor == 0 {
			return n, nil
		}
	}
}

// Kept is how many runs the nodes keep because only Redis has them, or has had them
// when they looked last. It is 0 once all of them are in Postgres.
func (c *Cluster) Kept(ctx context.Context) (total int64, err error) {
	for _, node := range c.Nodes {
		n, err := node.kept(ctx)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// Attempts is how many attempts are counted in the buffer's entries.
func (c *Cluster) Attempts(ctx context.Context) (n int, err error) {
	client := c.client()
	for cursor := uint64(0); ; {
		var keys []string
		if keys, cursor, err = client.Scan(ctx, cursor, "m:{*}:e:*", 1000).Result(); err != nil {
			return 0, err
		}
		pipe := client.Pipeline()
		counts := make([]*redis.StringCmd, len(keys))
		for i, key := range keys {
			counts[i] = pipe.HGet(ctx, key, "n")
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return 0, err
		}
		for _, count := range counts {
			if got, err := count.Int(); err == nil {
				n += got
			}
		}
		if cursor == 0 {
			return n, nil
		}
	}
}
