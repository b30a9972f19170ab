package override

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says how a [Store] works. The zero value of every optional field means its
// default.
type Config struct {
	// URL of the Postgres: postgres://user:password@host:port/database. Required. Its
	// schema must have been migrated.
	URL string
	// Node names this node in the audit. Required.
	Node string
	// Changed is told what is in force: once before [Open] returns, and whenever that
	// changes. Calls follow one another; it must not call the Store. Required.
	Changed func(*State)

	Poll    time.Duration // between looks without an announcement; default 5 s
	Timeout time.Duration // of one connect and one look; default 2 s
	Logger  *slog.Logger  // nil discards
}

// Store is the overrides as one node sees and changes them. Its methods are safe for
// concurrent use. It opens at most three connections: two for what it is asked, and
// one that listens.
type Store struct {
	cfg   Config
	pool  *pgxpool.Pool
	asked chan question
	state atomic.Pointer[State]
	down  bool // the loop's own: the last look failed

	mu     sync.Mutex // guards loaded and timer, and puts calls of Changed in order
	loaded State
	timer  *time.Timer // until the next override ends
	closed bool

	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	loops sync.WaitGroup
}

// Open reads the overrides and keeps them up to date until [Store.Close]. ctx bounds
// the call, not the Store's life. The error is run.ErrUnavailable if Postgres does not
// answer, and otherwise names the field of Config that can not work.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Poll == 0 {
		cfg.Poll = 5 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Node == "":
		return nil, errors.New("override: Config.Node is required")
	case cfg.Changed == nil:
		return nil, errors.New("override: Config.Changed is required")
	case cfg.Poll < 0 || cfg.Timeout < 0:
		return nil, errors.New("override: Config.Poll and Config.Timeout must be more than 0")
	}
	pool, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil { // its text may repeat parts of the URL
		return nil, errors.New("override: Config.URL must be a postgres:// URL")
	}
	pool.ConnConfig.ConnectTimeout = cfg.Timeout
	if pool.ConnConfig.ValidateConnect == nil { // of several hosts, the one that can be written to
		pool.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pool.MaxConns, pool.MinConns, pool.MinIdleConns = 2, 0, 0
	listener := pool.ConnConfig.Copy()
	s := &Store{cfg: cfg, asked: make(chan question)}
	if s.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return nil, unavailable(err)
	}
	first, err := s.load(ctx)
	if err != nil {
		s.pool.Close()
		return nil, unavailable(err)
	}
	s.replace(first)
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.loops.Go(func() { s.follow(s.ctx, listener) })
	return s, nil
}

// Format writes "override.Store" whatever the verb: a Store holds the URL's password.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "override.Store") }

// Close ends the looks and closes the connections. What was in force stays so, and
// nothing ends any more.
func (s *Store) Close() {
	s.stop()
	s.loops.Wait()
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.pool.Close()
}

// State returns what is in force on this node. It asks nobody.
func (s *Store) State() *State { return s.state.Load() }

// replace takes over what Postgres has.
func (s *Store) replace(next State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = next
	s.settle()
}

// expire lets go what has ended.
func (s *Store) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.settle()
	}
}

// settle puts in force what was loaded and has not ended. mu is held.
func (s *Store) settle() {
	now, next := time.Now(), time.Duration(0)
	live := slices.DeleteFunc(slices.Clone(s.loaded.Overrides), func(o Override) bool {
		if o.Ends.IsZero() {
			return false
		}
		left := o.Ends.Sub(now)
		if left > 0 && (next == 0 || left < next) {
			next = left
		}
		return left <= 0
	})
	if s.timer != nil {
		s.timer.Stop()
	}
	if next > 0 {
		s.timer = time.AfterFunc(next, s.expire)
	}
	before := s.state.Load()
	state := &State{Version: s.loaded.Version, Overrides: live}
	s.state.Store(state)
	if before == nil || before.Version != state.Version || len(before.Overrides) != len(live) {
		s.cfg.Changed(state)
	}
}
