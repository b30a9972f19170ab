package claim

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

// MaxTTL is the longest TTL of a claim, on any node of any deployment. The
// claim script relies on it: a deadline further ahead means that the clock of
// Redis stepped back, and is drawn in.
const MaxTTL = 30 * time.Second

// life is how long, at least, a record stays after the last instant at which
// anyone may still need its floor.
const life = 60 * time.Second

// Config says how a [Store] reaches Redis. The zero value of an optional field
// means its default.
type Config struct {
	// URL of Redis: redis://[user:password@]host:port[/db], rediss:// for TLS,
	// unix:// for a socket. Required. If that server is part of a Redis
	// Cluster, the cluster is used, and the URL is its seed.
	URL string
	// Prefix begins every name in Redis: 1 to 64 characters of
	// [A-Za-z0-9_.:-]. Required; all nodes of a deployment share it.
	Prefix string
	// Partitions of the deployment, 1 to run.MaxPartitions. Required.
	Partitions int
	// TTL of a claim without renewal: more than 0, at most MaxTTL. Default 10 s.
	TTL time.Duration
	// Deadline of one call, connecting included. Default 250 ms.
	Deadline time.Duration
	// Conns is the most connections kept to each server. Default 8. The
	// subscription of [Store.Wakes] takes one more.
	Conns int
	// ClientName is shown in Redis's CLIENT LIST. Default "mollifier".
	ClientName string

	// BreakerFailures in a row open the breaker. Default 3: with the default
	// deadline, callers that come one after another open it 750 ms into a hang.
	BreakerFailures int
	// BreakerPause is how long the breaker stays open before it lets a probe
	// through; each store draws its own within 20% of it. Default 500 ms.
	BreakerPause time.Duration
	// OnBreaker is told each new state of the breaker, in order, from the
	// goroutine whose call changed it and under the breaker's lock: it must
	// return at once and must not use the store. Nil: nobody is told.
	OnBreaker func(BreakerState)
}

func (c Config) withDefaults() Config {
	def(&c.TTL, 10*time.Second)
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
		{"TTL", c.TTL >= time.Millisecond && c.TTL <= MaxTTL, fmt.Sprintf("must be 1ms to %s", MaxTTL)},
		{"Deadline", c.Deadline >= time.Millisecond && c.Deadline <= 10*time.Second, "must be 1ms to 10s"},
		{"Conns", c.Conns >= 1 && c.Conns <= 1000, "must be 1 to 1000"},
		{"ClientName", c.ClientName != "" && !strings.ContainsAny(c.ClientName, " \r\n"), "must be without blanks"},
		{"BreakerFailures", c.BreakerFailures >= 1, "must be at least 1"},
		{"BreakerPause", c.BreakerPause > 0, "must be more than 0"},
	} {
		if !rule.ok {
			return fmt.Errorf("claim: Config.%s %s", rule.field, rule.limit)
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

// Store is the claims of one deployment. Its methods are safe for concurrent
// use. Make it with [New] and [Store.Open] it before use; [Store.Close] it.
type Store struct {
	cfg     Config
	names   names
	breaker *breaker
	options redis.Options

	// link is nil until Open has succeeded once.
	link atomic.Pointer[link]

	mu     sync.Mutex // guards closed, and lets one Open run at a time
	closed bool
}

// link is an opened connection to Redis.
type link struct {
	client redis.UniversalClient
	caps   Capabilities
}

// New checks the configuration, by the names of its fields. It does not touch
// the network.
func New(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	opt, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	return &Store{
		cfg:     cfg,
		names:   newNames(cfg.Prefix, cfg.Partitions),
		breaker: newBreaker(cfg.BreakerFailures, cfg.BreakerPause, cfg.OnBreaker),
		options: *opt,
	}, nil
}

// Available reports whether a call would go out to Redis now: the store is
// open and the breaker is not. It costs no network. True is no promise, and in
// the half-open state only the first call goes out.
func (s *Store) Available() bool {
	return s.link.Load() != nil && s.breaker.state() != BreakerOpen
}

// Breaker returns the state of the breaker.
func (s *Store) Breaker() BreakerState { return s.breaker.state() }

// Close closes the connections. Calls that are under way fail; later ones are
// refused. A second Close does nothing. End [Store.Wakes] by its context.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	l := s.link.Load()
	if l == nil {
		return nil
	}
	if err := l.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("claim: close: %w", classify(err))
	}
	return nil
}
