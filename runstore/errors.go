package runstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

// ErrNoHook: the deployment's rows are handed to a hook, and this store has none.
var ErrNoHook = errors.New("the runs of this deployment are handed to a hook, and this node has none")

// ErrDisagrees: this node's settings differ from what its deployment was made with.
var ErrDisagrees = errors.New("deployment disagrees")

// OutcomeUnknown reports whether the change that err came from may have taken
// effect, or may still: a reply was lost. Settling the same run id again tells.
func OutcomeUnknown(err error) bool {
	c, ok := errors.AsType[*cause](err)
	return ok && c.unknown
}

// verdict is what to do about an error.
type verdict int

const (
	hopeless  verdict = iota // repeating it gives the same error
	transient                // repeating it may succeed
	poison                   // some row of the batch is at fault: split it
)

// cause is an error of Postgres or of the way to it, without what must not
// leave this package: no host, no value, no statement. The driver's error is
// not wrapped for that reason; an ended context is.
type cause struct {
	verdict verdict
	unknown bool // the change may have taken effect all the same
	closed  bool // the store was closed first
	// down: Postgres is not there, or the way to it is broken; answered: it did
	// answer, whatever it said; ailing: it said that it can not go on.
	down, answered, ailing bool
	hook                   bool // the hook refused, and it is not known what is at fault
	text                   string
	context                error // an ended context, or what the hook says of an invalid run
}

func (c *cause) Error() string { return c.text }

func (c *cause) Unwrap() error { return c.context }

// missing is the error of a call that names no run, environment or key.
func missing(field string) error {
	return &run.InvalidError{Field: field, Rule: "must not be empty"}
}

// diagnose is the one place that knows what an error of Postgres means.
func diagnose(err error) *cause {
	if c, ok := errors.AsType[*cause](err); ok {
		return c
	}
	if h, ok := errors.AsType[*hookError](err); ok {
		return h.cause()
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return diagnoseState(refused.Code)
	}
	c := &cause{verdict: transient, text: "connection lost", unknown: !pgconn.SafeToRetry(err), down: true}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		c.text, c.unknown = "can not connect", false
	}
	if errors.Is(err, pgx.ErrTxCommitRollback) {
		c.text, c.unknown, c.down, c.answered = "rolled back at commit", false, false, true
	}
	for _, ended := range [...]error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			c.text, c.context = c.text+": "+ended.Error(), ended
		}
	}
	return c
}

func diagnoseState(state string) *cause {
	c := &cause{verdict: hopeless, text: "SQLSTATE " + state, answered: true}
	class := state
	if len(state) == 5 {
		class = state[:2]
	}
	switch class {
	case "22", "23", "54": // bad value, constraint, over a limit of the program
		c.verdict = poison
	case "08": // connection
		c.verdict, c.unknown, c.down = transient, true, true
	case "53", "58": // out of resources, error of the system below
		c.verdict, c.ailing = transient, true
	}
	switch state {
	case "40001", "40P01", // serialisation, deadlock
		"55P03", "57014", // lock and statement timeouts: rolled back
		"25P03", // idle in transaction for too long
		"0A000": // a cached plan that a migration made void; the driver forgets it
		c.verdict = transient
	case "25006": // a server that became read-only
		c.verdict, c.down = transient, true
	case "40003", "57P01", "57P02", "57P03", "57P04", "57P05":
		// The server goes away. It may do so after it has committed.
		c.verdict, c.unknown, c.down = transient, true, true
	}
	c.answered = !c.down
	return c
}

// PartHook is the Part of a *run.RefusedError that comes from the [Hook].
const PartHook = "hook"

// refusal is the error that callers get when c was the last word.
func refusal(c *cause) error {
	reason := run.ErrUnavailable
	if c.closed {
		reason = run.ErrClosed
	}
	part := "postgres"
	if c.hook {
		part = PartHook
	}
	return &run.RefusedError{Reason: reason, Part: part, Err: c}
}

// rejection is the error of a single row that is at fault.
func rejection(c *cause) error {
	if c.hook {
		return fmt.Errorf("runstore: %w (%w)", run.ErrRejected, c)
	}
	return fmt.Errorf("runstore: %w (%s)", run.ErrRejected, c.text)
}

// outward gives any error of a statement about one row its outward form.
func outward(c *cause) error {
	if c.verdict == poison {
		return rejection(c)
	}
	return refusal(c)
}

// patience says how long to repeat an operation.
type patience struct {
	tries   uint // 0: until the context ends
	unknown bool // also when the last attempt may have taken effect
}

var (
	untilDone = patience{unknown: true}           // idempotent, and somebody waits for it
	aFewTimes = patience{tries: 4, unknown: true} // idempotent
	ifSure    = patience{tries: 4}                // not to be done twice
)

const (
	firstPause = 10 * time.Millisecond
	longPause  = time.Second
)

// retry takes a connection of pool and runs op with it until op succeeds, fails
// for good, or p or ctx ends. Each attempt has its own deadline. The result is
// nil or a *cause; once an attempt may have taken effect, so may the whole.
func (s *Store) retry(ctx context.Context, pool *pgxpool.Pool, p patience, op func(context.Context, *pgxpool.Conn) error) *cause {
	var last *cause
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, longPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		c := s.try(ctx, pool, op)
		if c == nil {
			return struct{}{}, nil
		}
		c.unknown = c.unknown || (last != nil && last.unknown)
		last = c
		if c.verdict != transient || (c.unknown && !p.unknown) {
			return struct{}{}, backoff.Permanent(c)
		}
		return struct{}{}, c
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(p.tries), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil && last.context == nil {
		last.text, last.context = last.text+"; "+ended.Error(), ended
	}
	return last
}

// try makes one attempt. The cause it returns is the caller's own.
func (s *Store) try(ctx context.Context, pool *pgxpool.Pool, op func(context.Context, *pgxpool.Conn) error) *cause {
	limited, cancel := context.WithTimeout(ctx, s.attempt)
	defer cancel()
	attempt := func(limited context.Context) *cause { return s.attemptOnce(ctx, limited, pool, op) }
	if s.breaker == nil || s.closed.Load() {
		return attempt(limited)
	}
	return s.breaker.do(ctx, limited, attempt)
}

func (s *Store) attemptOnce(caller, ctx context.Context, pool *pgxpool.Pool, op func(context.Context, *pgxpool.Conn) error) (c *cause) {
	var began, acquired time.Time
	if s.observe != nil {
		began = time.Now()
		defer func() {
			now := time.Now()
			if acquired.IsZero() {
				acquired = now
			}
			var err error
			if c != nil && (c.down || c.ailing) && caller.Err() == nil {
				err = c
			}
			s.observe(now.Sub(acquired), acquired.Sub(began), err)
		}()
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		failed := *diagnose(err)
		failed.unknown = false // nothing was sent
		if s.closed.Load() {
			failed = cause{verdict: hopeless, text: "closed", closed: true}
		}
		return &failed
	}
	defer conn.Release()
	if s.observe != nil {
		acquired = time.Now()
	}
	if err := op(ctx, conn); err != nil {
		failed := *diagnose(err)
		return &failed
	}
	return nil
}
