//go:build unix

package stacktest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// kindVar chooses what [Redis] returns: "" the shared server, "cluster" the shared
// cluster, so that suites written for one run on the other as they are.
const kindVar = "MOLLIFIER_TEST_REDIS"

// OnCluster reports whether [Redis] returns the shared cluster.
func OnCluster() bool { return os.Getenv(kindVar) == "cluster" }

// shared is the cluster that the tests of this process share.
var shared struct {
	sync.Mutex
	cluster *devstack.Cluster
	dir     string
}

// Cluster returns the URL of a Redis Cluster of three masters that all tests of this
// process share, and a prefix, as [Redis] does. It is started by the first who asks.
// It may be neither flushed nor stopped, nor may its slots be moved: see
// [PrivateCluster].
func Cluster(t testing.TB) (url, prefix string) {
	t.Helper()
	s := need(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		dir := filepath.Join(s.base, "private", "cluster_"+unique())
		c, err := startCluster(t.Context(), dir, 3, 0, map[string]string{"appendonly": "no", "cluster-node-timeout": "15000"})
		if err != nil {
			t.Fatal(err)
		}
		shared.cluster, shared.dir = c, dir
	}
	cluster := shared.cluster
	prefix = "t" + unique() + ":"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		for i := range 3 {
			client := cluster.Master(i).Client()
			err := removeKeys(ctx, client, prefix)
			if err = errors.Join(err, client.Close()); err != nil {
				t.Errorf("stacktest: remove the test's keys: %v", err)
			}
		}
	})
	return cluster.URL(), prefix
}

// endCluster ends the shared cluster, if one was started.
func endCluster() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		return nil
	}
	err := errors.Join(shared.cluster.Kill(), os.RemoveAll(shared.dir))
	shared.cluster = nil
	return err
}

// PrivateCluster returns a started Redis Cluster of the test's own, each master with
// so many replicas. A master that does not answer is thought to be gone after 2 s,
// unless settings say otherwise. Its servers may be stopped and killed; it ends, and
// its files go, when the test ends, or on Linux when the test process does.
func PrivateCluster(t testing.TB, masters, replicas int, settings map[string]string) *devstack.Cluster {
	t.Helper()
	all := map[string]string{"cluster-node-timeout": "2000"}
	for directive, value := range settings {
		all[directive] = value
	}
	c, err := startCluster(t.Context(), filepath.Join(privateFolder(t), "cluster"), masters, replicas, all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Errorf("stacktest: end a private cluster: %v", err)
		}
	})
	return c
}

// startCluster starts anew when another program was faster to take a port.
func startCluster(ctx context.Context, dir string, masters, replicas int, settings map[string]string) (*devstack.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var last error
	for try := range 3 {
		c, err := devstack.NewCluster(devstack.ClusterConfig{
			Masters: masters, Replicas: replicas,
			Server: devstack.RedisConfig{
				Dir: filepath.Join(dir, fmt.Sprint(try)), Password: rand.Text(), DieWithParent: true, Settings: settings,
			},
		})
		if err != nil {
			return nil, err
		}
		if last = c.Start(ctx); last == nil {
			return c, nil
		}
		last = errors.Join(last, c.Kill())
	}
	return nil, last
}

// Sentinels returns started Sentinels of the test's own that watch a server under a
// name, and the URL that names it by them. Two must agree that it is gone, for which it
// must be silent for a second.
func Sentinels(t testing.TB, n int, name string, server *devstack.Redis, password string) (url string, all []*devstack.Redis) {
	t.Helper()
	host, port, _ := strings.Cut(server.Addr(), ":")
	url = fmt.Sprintf("redis://default:%s@", password)
	for i := range n {
		s, err := devstack.NewRedis(devstack.RedisConfig{
			Dir: filepath.Join(privateFolder(t), "sentinel"), Password: password, DieWithParent: true, Sentinel: true,
			Settings: map[string]string{
				"sentinel monitor":                 strings.Join([]string{name, host, port, "2"}, " "),
				"sentinel auth-pass":               name + " " + password,
				"sentinel down-after-milliseconds": name + " 1000",
				"sentinel failover-timeout":        name + " 10000",
				"sentinel sentinel-pass":           password,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, s)
		all = append(all, s)
		url += []string{"", "addr="}[min(i, 1)] + s.Addr() + []string{"/?", "&"}[min(i, 1)]
	}
	return url + "master_name=" + name + "&sentinel_username=default&sentinel_password=" + password, all
}

// Client returns a plain client of the Redis that a URL of this package names: of all
// of it, if that is a cluster.
func Client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	var c redis.UniversalClient
	if strings.Contains(url, "addr=") {
		opt, err := redis.ParseClusterURL(url)
		if err != nil {
			t.Fatal(err)
		}
		opt.Protocol, opt.MaintNotificationsConfig = 2, off
		c = redis.NewClusterClient(opt)
	} else {
		opt, err := redis.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		opt.Protocol, opt.MaintNotificationsConfig = 2, off
		c = redis.NewClient(opt)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func removeKeys(ctx context.Context, client *redis.Client, prefix string) error {
	keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}

// Keys returns the names that match a pattern in the Redis of [Client], all of it.
func Keys(t testing.TB, c redis.UniversalClient, pattern string) []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	add := func(ctx context.Context, one *redis.Client) error {
		names, err := one.Keys(ctx, pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, names...)
		return err
	}
	var err error
	switch c := c.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(t.Context(), add)
	case *redis.Client:
		err = add(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}
