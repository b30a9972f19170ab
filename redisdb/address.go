package redisdb

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/redis/go-redis/v9"
)

// address is what Config.URL names.
type address struct {
	options redis.Options // of the first server, or of the one that Sentinel names
	seeds   []string      // host:port of all that the URL names; none for a socket
	// sentinel is set if the seeds are sentinels, which know the server.
	sentinel *sentinel
}

type sentinel struct{ master, username, password string }

// sentinelPort is a sentinel's where the URL names none.
const sentinelPort = "26379"

// parseURL reads the address of Redis. Errors never repeat the URL: it may hold a
// password.
func parseURL(text string) (*address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("redisdb: Config.URL is not a URL")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("redisdb: Config.URL: the parameters behind the ? can not be read")
	}
	more := query["addr"]
	var s *sentinel
	if query.Has("master_name") {
		s = &sentinel{query.Get("master_name"), query.Get("sentinel_username"), query.Get("sentinel_password")}
		if s.master == "" {
			return nil, errors.New("redisdb: Config.URL: master_name must name the server as the sentinels call it")
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), sentinelPort)
		}
	}
	for _, ours := range []string{"addr", "master_name", "sentinel_username", "sentinel_password"} {
		query.Del(ours)
	}
	u.RawQuery = query.Encode()
	opt, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("redisdb: Config.URL: %w", err)
	}
	if u.Scheme == "unix" {
		if s != nil || len(more) > 0 {
			return nil, errors.New("redisdb: Config.URL: addr and master_name are for redis:// and rediss://, not for a socket")
		}
		return &address{options: *opt}, nil
	}
	a := &address{options: *opt, seeds: []string{opt.Addr}, sentinel: s}
	for _, seed := range more {
		if _, _, err := net.SplitHostPort(seed); err != nil {
			return nil, errors.New("redisdb: Config.URL: each addr must be host:port")
		}
		a.seeds = append(a.seeds, seed)
	}
	return a, nil
}
