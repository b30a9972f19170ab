package redisdb

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/run"
)

// Config says how a [DB] reaches Redis. The zero value of an optional field
// means its default.
type Config struct {
	// URL of Redis: redis://[user:password@]host:port[/db], rediss:// for TLS,
	// unix:// for a socket. Required. Behind it may stand, as a URL's parameters,
	// addr=host:port for each further server of a Redis Cluster, one of which must
	// answer at [DB.Open]; a server that is part of a cluster stands for the whole
	// of it. With master_name=NAME the addresses are those of Sentinels (port 26379
	// where there is none), which name the server; sentinel_username and
	// sentinel_password are for them, user and password of the URL for the server.
	URL string
	// Prefix begins every name in Redis: 1 to 64 characters of
	// [A-Za-z0-9_.:-]. Required; all nodes of a deployment share it.
	Prefix string
	// Partitions of the deployment, 1 to run.MaxPartitions. Required.
	Partitions int
	// Deadline of one round trip, connecting included. Default 250 ms.
	Deadline time.Duration
	// Conns is the most connections kept to each server. Default 8. Each
	// [DB.Subscribe] takes one more.
	Conns int
	// Durability is what calls that ask for it must have survived before they count as
	// answered: "" or run.DurableRedis for nothing; run.DurableRedisFsync for a file that
	// is synced, by the server's setting or else WAITAOF; run.DurableRedisReplica for one
	// replica, by WAIT. [DB.Open] refuses what the server can not do.
	Durability run.Durability
	// ClientName is shown in Redis's CLIENT LIST. Default "mollifier".
	ClientName string

	// BreakerFailures in a row open the breaker. Default 3: with the default
	// deadline, callers that come one after another open it 750 ms into a hang.
	BreakerFailures int
	// BreakerPause is how long the breaker stays open before it lets a probe
	// through; each DB draws its own within 20% of it. Default 500 ms.
	BreakerPause time.Duration
	// OnBreaker is told each new state of a breaker (a cluster has one for each
	// server), in order, from the goroutine whose call changed it and under the
	// breaker's lock: it must return at once and must not use the DB. Nil: nobody is
	// told.
	OnBreaker func(BreakerState)
}

func (c Config) withDefaults() Config {
	def(&c.Deadline, 250*time.Millisecond)
	def(&c.Conns, 8)
	def(&c.ClientName, "mollifier")
	def(&c.BreakerFailures, 3)
	def(&c.BreakerPause, 500*time.Millisecond)
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"URL", c.URL != "", "must be a redis://, rediss:// or unix:// URL"},
		{"Prefix", validPrefix(c.Prefix), "must be 1 to 64 characters of [A-Za-z0-9_.:-]"},
		{"Partitions", c.Partitions >= 1 && c.Partitions <= run.MaxPartitions, fmt.Sprintf("must be 1 to %d", run.MaxPartitions)},
		{"Deadline", c.Deadline >= time.Millisecond && c.Deadline <= 10*time.Second, "must be 1ms to 10s"},
		{"Conns", c.Conns >= 1 && c.Conns <= 1000, "must be 1 to 1000"},
		{"ClientName", c.ClientName != "" && !strings.ContainsAny(c.ClientName, " \r\n"), "must be without blanks"},
		{"BreakerFailures", c.BreakerFailures >= 1, "must be at least 1"},
		{"Durability", c.Durability == "" || c.Durability == run.DurableRedis || c.Durability == run.DurableRedisFsync || c.Durability == run.DurableRedisReplica, "must be redis, redis-fsync or redis-replica"},
		{"BreakerPause", c.BreakerPause > 0, "must be more than 0"},
	} {
		if !rule.ok {
			return fmt.Errorf("redisdb: Config.%s %s", rule.field, rule.limit)
		}
	}
	return nil
}

// validPrefix keeps braces out: they would move the hash tag.
func validPrefix(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("_.:-", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// DB is the Redis of one deployment. Its methods are safe for concurrent use.
// Make it with [New] and [DB.Open] it before use; [DB.Close] it.
type DB struct {
	cfg      Config
	names    Names
	address  *address
	clock    clock
	unbroken unbroken

	undurable atomic.Uint64
	unfit     atomic.Pointer[unfitError] // what Examine found last

	// link is nil until Open has succeeded once.
	link atomic.Pointer[link]

	mu     sync.Mutex // held to close, and lets one Open run at a time
	closed atomic.Bool
}

// link is an opened connection to Redis.
type link struct {
	servers servers
	caps    Capabilities
	wait    []any // the command that waits for Config.Durability; nil: nothing is waited for
}

// New checks the configuration, by the names of its fields. It does not touch
// the network.
func New(cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	address, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	d := &DB{cfg: cfg, names: newNames(cfg.Prefix, cfg.Partitions), address: address}
	d.unbroken.trouble()
	return d, nil
}

func (c Config) fresh() *breaker { return newBreaker(c.BreakerFailures, c.BreakerPause, c.OnBreaker) }

// Names builds the names of everything in this deployment's Redis.
func (d *DB) Names() Names { return d.names }

// Partitions is how many partitions the deployment has.
func (d *DB) Partitions() int { return d.cfg.Partitions }

// Deadline is how long one [DB.Run] may take.
func (d *DB) Deadline() time.Duration { return d.cfg.Deadline }

// Available reports whether a call would go out to Redis now: the DB is open
// and the breaker is not, or on a cluster that of one server is not. It costs no
// network. True is no promise, and in the half-open state only the first call goes out.
func (d *DB) Available() bool {
	l := d.link.Load()
	if d.closed.Load() || l == nil {
		return false
	}
	for _, s := range l.servers.all() {
		if s.breaker.state() != BreakerOpen {
			return true
		}
	}
	return false
}

// Breaker returns the state of the breaker: on a cluster that of the server that is
// worst off. It is closed until [DB.Open] has succeeded.
func (d *DB) Breaker() BreakerState {
	worst := BreakerClosed
	if l := d.link.Load(); l != nil {
		for _, s := range l.servers.all() {
			switch state := s.breaker.state(); {
			case state == BreakerOpen:
				return BreakerOpen
			case state == BreakerHalfOpen:
				worst = BreakerHalfOpen
			}
		}
	}
	return worst
}

// Undurable is how many calls have been executed but did not become as durable as
// [Config].Durability asks for in time: whoever made them was told that their outcome
// is unknown.
func (d *DB) Undurable() uint64 { return d.undurable.Load() }

// Cluster reports whether this is a Redis Cluster, where the keys of one call
// must be of one slot. It is false until [DB.Open] has succeeded; calls fail
// until then.
func (d *DB) Cluster() bool {
	l := d.link.Load()
	return l != nil && l.caps.Cluster
}

// Close closes the connections. Calls that are under way fail; later ones are
// refused. A second Close does nothing. End [DB.Subscribe] by its context.
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Swap(true) {
		return nil
	}
	l := d.link.Load()
	if l == nil {
		return nil
	}
	if err := l.servers.close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("redisdb: close: %w", classify(err))
	}
	return nil
}
