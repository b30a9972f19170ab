package runstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/internal/mutant"
)

//go:embed sql/*.sql
var statements embed.FS

// statement returns the text of sql/name.sql, with sql/columns.sql in place of
// each ":columns".
func statement(name string) string { return statementOf(name, "columns") }

// statementOf is as statement, with another list of columns.
func statementOf(name, columns string) string {
	return strings.ReplaceAll(sqlFile(name), ":columns", "\n"+sqlFile(columns))
}

func sqlFile(name string) string {
	text, err := statements.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic(err) // a name in this package that has no file
	}
	return mutant.Text(string(text))
}

var (
	durableSQL    = statement("durable")
	serverSQL     = statement("server")
	deploymentSQL = statement("deployment")
	agreedSQL     = statement("agreed")
	hookMarkSQL   = statement("hook_mark")
	hookUnmarkSQL = statement("hook_unmark")
	hookMarkedSQL = statement("hook_marked")
)

// The limits of [Config].
const (
	MinConns            = 4
	MaxConns            = 1000
	MinStatementTimeout = 100 * time.Millisecond
	MaxStatementTimeout = time.Minute
	minServerVersion    = 140000
)

// Config says how a [Store] uses Postgres.
type Config struct {
	// URL is the database's address: postgres://user:password@host:port/name.
	// Required. With several hosts, connections go to the one that accepts
	// writes. The driver's exec mode must be one that prepares statements.
	URL string
	// MaxConns is how many connections are opened at most, 4 to 1000. They are
	// split: a part that only [Store.Settle] and [Store.Check] use, and a
	// smaller part for everything else, so that reads and workers never make
	// triggers wait for a connection.
	MaxConns int
	// StatementTimeout is when Postgres gives a statement up, 100 ms to 1 min.
	// Waiting for a lock is given up after half of it.
	StatementTimeout time.Duration
	// Application is how connections present themselves. Default "mollifier".
	Application string
	// BreakerFailures is after how many failures of the connection in a row the
	// store stops asking Postgres: calls then fail at once with
	// run.ErrUnavailable, until Postgres answers again. It also stops when
	// Postgres hangs, within about a second. Errors of rows and of statements
	// do not count. Zero means that there is no breaker, and that calls retry
	// until their context ends.
	BreakerFailures int
	// BreakerPause is how long the store waits before it looks whether Postgres
	// is back. Default 1 s.
	BreakerPause time.Duration
	// OnBreaker is told each change of the breaker's state. It is called by
	// whoever brought it about, must be quick, and must not use the store.
	OnBreaker func(BreakerState)
	// Observe is told how long each attempt took: with a connection, and
	// waiting for one of the pool. The error is nil unless Postgres, or the way
	// to it, was at fault. It must be quick and safe for concurrent use.
	Observe func(latency, poolWait time.Duration, err error)
	// Hook is told of runs in the transaction that inserts them; see [Hook]. Nil
	// costs nothing.
	Hook Hook
}

// Store keeps runs in one Postgres database. Its methods are safe for
// concurrent use. It starts no goroutines but those of its connection pools
// and, while Postgres is in doubt, of its breaker; they end with [Store.Close].
type Store struct {
	hot     *pgxpool.Pool // settle, takeover, check
	cold    *pgxpool.Pool // everything else
	attempt time.Duration // the deadline of one attempt, connection included
	closed  atomic.Bool
	breaker *breaker // nil for none
	observe func(latency, poolWait time.Duration, err error)
	hook    Hook // nil for none
}

// Open checks the configuration and makes the connection pools. It does not
// wait for Postgres: see [Store.Verify]. The error names the field that is
// wrong, and never holds the URL.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.MaxConns < MinConns || c.MaxConns > MaxConns {
		return nil, fmt.Errorf("runstore: Config.MaxConns must be %d to %d", MinConns, MaxConns)
	}
	if c.StatementTimeout < MinStatementTimeout || c.StatementTimeout > MaxStatementTimeout {
		return nil, fmt.Errorf("runstore: Config.StatementTimeout must be %s to %s", MinStatementTimeout, MaxStatementTimeout)
	}
	if c.BreakerFailures < 0 {
		return nil, errors.New("runstore: Config.BreakerFailures must not be negative")
	}
	if c.BreakerPause < 0 {
		return nil, errors.New("runstore: Config.BreakerPause must not be negative")
	}
	if c.BreakerPause == 0 {
		c.BreakerPause = time.Second
	}
	if c.Application == "" {
		c.Application = "mollifier"
	}
	reserve := max(1, c.MaxConns*3/8)
	s := &Store{attempt: 2*c.StatementTimeout + time.Second, observe: c.Observe, hook: c.Hook}
	var err error
	if s.hot, err = openPool(ctx, c, c.MaxConns-reserve, hotPlans); err != nil {
		return nil, err
	}
	if s.cold, err = openPool(ctx, c, reserve, coldPlans); err != nil {
		s.hot.Close()
		return nil, err
	}
	if c.BreakerFailures > 0 {
		s.breaker = newBreaker(c, reachable(s.hot.Config().ConnConfig), func() {
			s.hot.Reset()
			s.cold.Reset()
		})
	}
	return s, nil
}

// Available reports whether calls go out to Postgres: whether the breaker, if
// there is one, is closed. It costs nothing and asks nobody.
func (s *Store) Available() bool {
	return !s.closed.Load() && (s.breaker == nil || s.breaker.state() == BreakerClosed)
}

// Breaker is the state of the breaker; closed if there is none.
func (s *Store) Breaker() BreakerState {
	if s.breaker == nil {
		return BreakerClosed
	}
	return s.breaker.state()
}

func openPool(ctx context.Context, c Config, conns int, plans func(*pgx.ConnConfig)) (*pgxpool.Pool, error) {
	p, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, errors.New("runstore: Config.URL must be a postgres:// URL") // the parser's error repeats the address
	}
	switch p.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe:
	default:
		return nil, errors.New("runstore: Config.URL: default_query_exec_mode must be cache_statement or cache_describe")
	}
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	p.ConnConfig.RuntimeParams["application_name"] = c.Application
	p.ConnConfig.RuntimeParams["statement_timeout"] = milliseconds(c.StatementTimeout)
	p.ConnConfig.RuntimeParams["lock_timeout"] = milliseconds(c.StatementTimeout / 2)
	p.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = milliseconds(2 * c.StatementTimeout)
	// No statement here is long enough for its compilation to pay; one that looks long to
	// the planner would take a second for it, each time.
	p.ConnConfig.RuntimeParams["jit"] = "off"
	named := p.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement
	plans(p.ConnConfig)
	if p.ConnConfig.ValidateConnect == nil {
		p.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	p.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[mayKeep] = named
		_, err := conn.Exec(ctx, durableSQL)
		return err
	}
	p.MaxConns, p.MinConns, p.MinIdleConns = int32(conns), 0, 0
	p.MaxConnLifetimeJitter = p.MaxConnLifetime / 4
	pool, err := pgxpool.NewWithConfig(ctx, p)
	if err != nil {
		return nil, errors.New("runstore: Config.URL: unusable pool settings")
	}
	return pool, nil
}

// Close waits for the connections that are in use and closes all. Calls after
// it fail with run.ErrClosed.
func (s *Store) Close() {
	s.closed.Store(true)
	if s.breaker != nil {
		s.breaker.close()
	}
	s.hot.Close()
	s.cold.Close()
}

// Hooks compares whether this store calls a hook with what is written of the deployment:
// that its rows are handed to one. A store with a hook writes it, once and for all
// nodes. One without is refused where it is written, with [ErrNoHook], since what it wrote
// would be handed to nobody; unless drop says that the deployment gives its hook up, and
// then it is written no more. The schema must be in place.
func (s *Store) Hooks(ctx context.Context, drop bool) error {
	marked := false
	c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		switch {
		case s.hook != nil:
			_, err = conn.Exec(ctx, hookMarkSQL)
			return err
		case drop:
			_, err = conn.Exec(ctx, hookUnmarkSQL)
			return err
		}
		return conn.QueryRow(ctx, hookMarkedSQL).Scan(&marked)
	})
	switch {
	case c != nil:
		return outward(c)
	case marked:
		return ErrNoHook
	}
	return nil
}

// Pool is what one of the two pools of connections is like, since the store was opened.
type Pool struct {
	Name       string // "hot": for settling, drains and checks; "cold": for everything else
	Busy, Idle int    // connections now
	Most       int
	Waits      int64         // times that somebody waited for a connection
	Waited     time.Duration // for how long together
}

// Pools are both pools.
func (s *Store) Pools() [2]Pool {
	of := func(name string, p *pgxpool.Pool) Pool {
		st := p.Stat()
		return Pool{
			Name: name, Busy: int(st.AcquiredConns()), Idle: int(st.IdleConns()), Most: int(st.MaxConns()),
			Waits: st.EmptyAcquireCount(), Waited: st.EmptyAcquireWaitTime(),
		}
	}
	return [2]Pool{of("hot", s.hot), of("cold", s.cold)}
}

// Ready reports whether Postgres answers now; nil means it does. It tries once.
func (s *Store) Ready(ctx context.Context) error {
	if c := s.try(ctx, s.hot, func(ctx context.Context, conn *pgxpool.Conn) error { return conn.Ping(ctx) }); c != nil {
		return refusal(c)
	}
	return nil
}

// Verify refuses a server that can not keep the store's promises: older than
// Postgres 14, another encoding than UTF-8, or read-only. It tries a few times
// if Postgres does not answer, and then fails with run.ErrUnavailable.
func (s *Store) Verify(ctx context.Context) error {
	var (
		version  int
		encoding string
		readOnly bool
	)
	if c := s.retry(ctx, s.hot, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, serverSQL).Scan(&version, &encoding, &readOnly)
	}); c != nil {
		return refusal(c)
	}
	switch {
	case version < minServerVersion:
		return fmt.Errorf("runstore: Postgres is version %d, and must be 14 or later", version/10000)
	case encoding != "UTF8":
		return fmt.Errorf("runstore: the database's encoding is %s, and must be UTF8", encoding)
	case readOnly:
		return errors.New("runstore: Postgres is read-only, and must accept writes")
	}
	return nil
}

// Deployment writes what all nodes of the deployment must agree on, once, or
// compares it with what was written. A difference is [ErrDisagrees], naming
// both values. The schema must be in place.
func (s *Store) Deployment(ctx context.Context, partitions, hashVersion int) error {
	var p, v int
	if c := s.retry(ctx, s.cold, aFewTimes, func(ctx context.Context, conn *pgxpool.Conn) error {
		if _, err := conn.Exec(ctx, deploymentSQL, partitions, hashVersion); err != nil {
			return err
		}
		return conn.QueryRow(ctx, agreedSQL).Scan(&p, &v)
	}); c != nil {
		return outward(c)
	}
	if p != partitions {
		return fmt.Errorf("runstore: %w: partitions are %d here, and %d in Postgres", ErrDisagrees, partitions, p)
	}
	if v != hashVersion {
		return fmt.Errorf("runstore: %w: the hash version is %d here, and %d in Postgres", ErrDisagrees, hashVersion, v)
	}
	return nil
}
