package redisdb

import (
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

// Three Sentinels name the server; when it dies they name its replica, and calls go
// there. One Sentinel fewer changes nothing.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	const password = "shared"
	share := func(c *devstack.RedisConfig) {
		c.Password, c.Settings = password, map[string]string{"masterauth": password}
	}
	primary, replica := stacktest.PrivateRedis(t, share), stacktest.PrivateRedis(t, share)
	follow(t, replica, primary)
	link := plain(t, replica.URL())
	wait(t, func() bool {
		return strings.Contains(link.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	url, sentinels := stacktest.Sentinels(t, 3, "main", primary, password)
	watched := plain(t, strings.Split(url, "?")[0])
	wait(t, func() bool {
		found, err := watched.Do(t.Context(), "sentinel", "ckquorum", "main").Text()
		return err == nil && strings.HasPrefix(found, "OK 3") &&
			strings.Contains(watched.Info(t.Context(), "sentinel").Val(), "slaves=1,sentinels=3")
	})

	d := must(New(Config{URL: url, Prefix: "m", Partitions: partitions, Deadline: 2 * time.Second, BreakerPause: 10 * time.Millisecond}))
	defer func() { _ = d.Close() }()
	if caps, err := d.Open(t.Context()); err != nil || caps.Cluster {
		t.Fatalf("%+v %v", caps, err)
	}
	heard := make(chan struct{}, 100)
	go func() {
		_ = d.Subscribe(t.Context(), d.names.Wake(), func() { heard <- struct{}{} }, func(string) {})
	}()
	<-heard
	set := func() error {
		return d.Run(t.Context(), []Call{{Script: setScript, Keys: []string{"m:a"}, Args: []any{"1"}}, {Script: tick}})[0].Err
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	_, _, before := d.LastTime()
	if err := sentinels[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return set() == nil })
	if _, _, after := d.LastTime(); after == before || strings.Contains(after, before) && !strings.Contains(after, " ") {
		t.Fatalf("the server is %q as before", after)
	}
	if got := link.Get(t.Context(), "m:a").Val(); got != "1" {
		t.Fatal("it went elsewhere")
	}
	<-heard // the subscription has followed
}

// What a URL may name, and how it is refused.
func TestAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url      string
		seeds    string
		sentinel string
		refused  string
	}{
		{"redis://u:secret@a:1/3", "a:1", "", ""},
		{"redis://a", "a:6379", "", ""},
		{"rediss://a:1?addr=b:2&addr=c:3&client_name=x", "a:1 b:2 c:3", "", ""},
		{"redis://:secret@a?master_name=main&addr=b:2&sentinel_password=secret", "a:26379 b:2", "main", ""},
		{"unix:///run/redis.sock", "", "", ""},
		{"unix:///run/redis.sock?addr=secret:1", "", "", "socket"},
		{"redis://a?addr=secret", "", "", "host:port"},
		{"redis://a?master_name=", "", "", "master_name"},
		{"redis://a?secret%zz", "", "", "parameters"},
		{"redis://a?addres=b:2", "", "", "Config.URL"},
	} {
		a, err := parseURL(c.url)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", c.url, err)
			}
			continue
		}
		if err != nil || strings.Join(a.seeds, " ") != c.seeds || (a.sentinel != nil) != (c.sentinel != "") || a.sentinel != nil && a.sentinel.master != c.sentinel {
			t.Errorf("%s: %+v %v", c.url, a, err)
		}
	}
}
