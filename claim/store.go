package claim

import (
	"errors"
	"fmt"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
)

// MaxTTL is the longest TTL of a claim, on any node of any deployment. The
// claim script relies on it: a deadline further ahead means that the clock of
// Redis stepped back, and is drawn in.
const MaxTTL = 30 * time.Second

// life is how long, at least, a record stays after the last instant at which
// anyone may still need its floor.
const life = 60 * time.Second

// Config is the settings of a [Store]. The zero value of a field means its
// default.
type Config struct {
	// TTL of a claim without renewal: 1 ms to MaxTTL. Default 10 s.
	TTL time.Duration
}

// Store is the claims of one deployment. Its methods are safe for concurrent
// use. It holds nothing but its Redis, which its owner opens and closes; until
// that is open, every call is refused.
type Store struct {
	db    *redisdb.DB
	names redisdb.Names
	ttl   time.Duration
}

// New checks the configuration, by the names of its fields.
func New(db *redisdb.DB, cfg Config) (*Store, error) {
	if db == nil {
		return nil, errors.New("claim: without a Redis")
	}
	if cfg.TTL == 0 {
		cfg.TTL = 10 * time.Second
	}
	if cfg.TTL < time.Millisecond || cfg.TTL > MaxTTL {
		return nil, fmt.Errorf("claim: Config.TTL must be 1ms to %s", MaxTTL)
	}
	return &Store{db: db, names: db.Names(), ttl: cfg.TTL}, nil
}
