//go:build unix

package devstack

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// RedisConfig says how a private Redis is run.
type RedisConfig struct {
	// Dir is the server's folder; it is made if need be. Its log and its record
	// (port and password) are beside it, with the endings .log and .json.
	Dir string
	// Ephemeral gives durability up for speed: nothing is synced to disk. The
	// default is an append-only file that is synced before every answer.
	Ephemeral bool
	// DieWithParent has the kernel kill the server when this process ends
	// (Linux only).
	DieWithParent bool
	// Password of the server; "" draws one. Servers that are clients of each other
	// share one.
	Password string
	// Sentinel runs it as a Sentinel: it holds nothing, and watches others.
	Sentinel bool
	// Settings are further lines of redis.conf, by directive. They win over the
	// defaults.
	Settings map[string]string
}

// Redis is a private Redis (or Valkey) server. It evicts nothing, listens on
// loopback, and asks for a password. Its methods are safe for concurrent use.
type Redis struct {
	keeper
	cfg RedisConfig
}

// NewRedis prepares a server without starting it.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	dir, err := resolve(cfg.Dir)
	if err != nil {
		return nil, err
	}
	r := &Redis{cfg: cfg}
	r.name = "Redis"
	r.dir = dir
	r.logFile = dir + ".log"
	r.recordFile = dir + ".json"
	r.pidFile = filepath.Join(dir, "redis.pid")
	r.stopSignal = syscall.SIGTERM // syncs the append-only file, then exits
	r.bound = cfg.DieWithParent
	r.ping = pingRedis
	return r, nil
}

// Start starts the server, or takes over the one that runs in its folder, and
// returns when it answers; what it held is loaded by then. If ctx ends first the
// server is stopped again. After Stop or Kill it may be started again and has
// the same URL.
func (r *Redis) Start(ctx context.Context) error {
	program, err := systemLookup().redis(ctx)
	if err != nil {
		return err
	}
	if _, err := r.loadRecord(); err != nil {
		return err
	}
	if r.cfg.Password != "" {
		r.record.Password = r.cfg.Password
	}
	settings := r.settings()
	r.command = func(rec record) (string, []string, error) {
		// The password stands in the file, not among the arguments, which every
		// user of the machine may read.
		lines := append(slices.Clone(settings), fmt.Sprintf("port %d", rec.Port), "requirepass "+rec.Password, "")
		conf := filepath.Join(r.dir, "redis.conf")
		args := []string{conf}
		if r.cfg.Sentinel {
			args = append(args, "--sentinel")
		}
		return program, args, writeFileAtomic(conf, []byte(strings.Join(lines, "\n")))
	}
	return r.start(ctx, settings)
}

func (r *Redis) settings() []string {
	set := map[string]string{
		"bind":             "127.0.0.1",
		"protected-mode":   "yes",
		"daemonize":        "no",
		"supervised":       "no",
		"dir":              quoteRedis(r.dir),
		"pidfile":          quoteRedis(r.pidFile),
		"databases":        "1",
		"maxmemory-policy": "noeviction",
		"appendonly":       "yes",
		"appendfsync":      "always",
		"save":             `""`, // the append-only file holds everything
		// What a storm writes has mostly been drained when it is rewritten: at 64 MB, the
		// default, that is every few seconds, for the CPU that the storm needs.
		"auto-aof-rewrite-min-size": "512mb",
		// Names the folder in the list of processes, where /proc is missing.
		"proc-title-template": `"{title} {listen-addr} {config-file}"`,
	}
	if r.cfg.Ephemeral {
		set["appendfsync"] = "no"
	}
	if r.cfg.Sentinel {
		for _, of := range []string{"databases", "maxmemory-policy", "appendonly", "appendfsync", "save", "proc-title-template"} {
			delete(set, of)
		}
	}
	maps.Copy(set, r.cfg.Settings)
	lines := make([]string, 0, len(set))
	for _, directive := range slices.Sorted(maps.Keys(set)) {
		lines = append(lines, directive+" "+set[directive])
	}
	return lines
}

func quoteRedis(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Stop ends the server in an orderly way: what it holds is on disk. If ctx ends
// first it is killed. It is no error if the server is not running.
func (r *Redis) Stop(ctx context.Context) error { return r.stop(ctx) }

// URL is how to connect, password included: keep it out of logs.
func (r *Redis) URL() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := url.URL{Scheme: "redis", User: url.UserPassword("default", r.record.Password), Host: addr(r.record), Path: "/0"}
	return u.String()
}

func pingRedis(ctx context.Context, rec record) error {
	c := redis.NewClient(&redis.Options{
		Addr: addr(rec), Username: "default", Password: rec.Password,
		PoolSize: 1, MaxRetries: -1, Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer c.Close()
	return c.Ping(ctx).Err()
}
