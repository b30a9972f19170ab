package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

// newRedis prepares a server of this cluster.
func (c *Cluster) newRedis() (*devstack.Redis, string, error) {
	dir := filepath.Join(c.Dir, fmt.Sprintf("redis%d", c.servers))
	c.servers++
	r, err := devstack.NewRedis(devstack.RedisConfig{
		Dir: dir, DieWithParent: true, Settings: map[string]string{"appendfsync": c.aof},
	})
	return r, dir, err
}

// Failover starts a replica, has the primary die with lag of writes that the
// replica never gets, and makes the replica the primary for all nodes.
func (c *Cluster) Failover(ctx context.Context, lag time.Duration) error {
	primary := c.Redis()
	u, err := url.Parse(primary.URL())
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return err
	}
	password, _ := u.User.Password()
	replica, dir, err := c.newRedis()
	if err != nil {
		return err
	}
	// The nodes know one password.
	record, err := json.Marshal(map[string]any{"password": password})
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+".json", record, 0o600); err != nil {
		return err
	}
	if err := replica.Start(ctx); err != nil {
		return err
	}
	admin, err := adminClient(replica.URL())
	if err != nil {
		return errors.Join(err, replica.Kill())
	}
	// By command and not by configuration: started again, it is a primary.
	err = errors.Join(
		admin.Do(ctx, "CONFIG", "SET", "masterauth", password).Err(),
		admin.Do(ctx, "REPLICAOF", host, port).Err(),
	)
	if err != nil {
		return errors.Join(err, admin.Close(), replica.Kill())
	}
	for {
		info, err := admin.Info(ctx, "replication").Result()
		if err == nil && strings.Contains(info, "master_link_status:up") {
			break
		}
		if err := Wait(ctx, 10*time.Millisecond); err != nil || primary.PID() == 0 {
			return errors.Join(err, admin.Close(), replica.Kill()) // the primary has died before it had a replica
		}
	}
	err = errors.Join(
		replica.Pause(), Wait(ctx, lag), primary.Kill(), replica.Resume(),
		admin.Do(ctx, "REPLICAOF", "NO", "ONE").Err(),
	)
	if err != nil {
		return errors.Join(err, admin.Close(), replica.Kill())
	}
	c.mu.Lock()
	old := c.admin
	c.redis, c.dir, c.admin = replica, dir, admin
	c.mu.Unlock()
	for _, l := range c.Links(true) {
		l.Retarget(replica.Addr())
	}
	return old.Close()
}
