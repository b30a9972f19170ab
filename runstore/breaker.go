package runstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sony/gobreaker/v2"
)

// BreakerState is the state of the breaker in front of Postgres.
type BreakerState string

// The states of the breaker.
const (
	BreakerClosed   BreakerState = "closed"    // calls go out
	BreakerOpen     BreakerState = "open"      // calls are refused at once
	BreakerHalfOpen BreakerState = "half-open" // the store itself asks, to see
)

const (
	// silence is how long an attempt may be without an answer before the store
	// asks whether Postgres is there at all, and question how long that may
	// take. Together they bound how long a Postgres that hangs goes unnoticed.
	silence  = 400 * time.Millisecond
	question = 500 * time.Millisecond
)

// breaker stops asking a Postgres that is not there. It opens after a number of
// failures of the connection in a row, and when Postgres hangs: an attempt has
// had no answer for a while, nobody else has had one meanwhile, and a question
// on a connection of its own stays without an answer too. A Postgres that is
// merely slow, or busy with locks, answers that question and stays in use.
//
// While it is open every call is refused without touching the network, and the
// store itself asks again after each pause: no caller pays for the probe.
type breaker struct {
	cb       *gobreaker.CircuitBreaker[struct{}]
	failures int
	ask      func(context.Context) error // nil if Postgres is there
	dropped  func()                      // what to do with connections that are of no use

	answered atomic.Int64 // when somebody last had an answer, in ns since start
	start    time.Time
	asking   atomic.Bool

	ctx   context.Context // of the breaker's own goroutines
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu     sync.Mutex // guards what follows, and adding to tasks
	closed bool
	flock  *flock
}

// flock is the attempts that were started since the breaker opened last; they
// are given up together.
type flock struct {
	ctx    context.Context
	giveUp context.CancelCauseFunc
}

func newFlock() *flock {
	ctx, giveUp := context.WithCancelCause(context.Background())
	return &flock{ctx, giveUp}
}

var (
	errGone    = errors.New("postgres does not answer")
	errRefused = &cause{verdict: hopeless, text: "the breaker is open"}
)

func newBreaker(c Config, ask func(context.Context) error, dropped func()) *breaker {
	b := &breaker{failures: c.BreakerFailures, ask: ask, dropped: dropped, start: time.Now(), flock: newFlock()}
	b.ctx, b.stop = context.WithCancel(context.Background())
	// The pause differs between nodes, so that they do not ask in step.
	pause := c.BreakerPause + time.Duration((rand.Float64()-0.5)*0.4*float64(c.BreakerPause))
	b.cb = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "postgres", MaxRequests: 1, Timeout: pause,
		ReadyToTrip: func(n gobreaker.Counts) bool { return int(n.ConsecutiveFailures) >= b.failures },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			// Called under gobreaker's lock: what follows must not ask it anything.
			if to == gobreaker.StateOpen {
				b.opened(pause)
			}
			if c.OnBreaker != nil {
				c.OnBreaker(stateOf(to))
			}
		},
	})
	return b
}

func stateOf(s gobreaker.State) BreakerState {
	switch s {
	case gobreaker.StateOpen:
		return BreakerOpen
	case gobreaker.StateHalfOpen:
		return BreakerHalfOpen
	}
	return BreakerClosed
}

func (b *breaker) state() BreakerState { return stateOf(b.cb.State()) }

// close ends the breaker's goroutines.
func (b *breaker) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.tasks.Wait()
}

// task runs f in a goroutine of the breaker's, unless it is closed.
func (b *breaker) task(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.tasks.Go(f)
	return true
}

// opened begins to ask after each pause whether Postgres is back.
func (b *breaker) opened(pause time.Duration) {
	b.task(func() {
		b.dropped()
		for {
			timer := time.NewTimer(pause + time.Millisecond)
			select {
			case <-b.ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			// One that fails opens the breaker again, which begins a task anew.
			_, err := b.cb.Execute(func() (struct{}, error) { return struct{}{}, b.question() })
			if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
				return
			}
		}
	})
}

func (b *breaker) question() error {
	ctx, cancel := context.WithTimeout(b.ctx, question)
	defer cancel()
	return b.ask(ctx)
}

// do makes one attempt, unless the breaker is open. parent is the caller's
// context; attempt gets one that also ends when the breaker opens. A failure of
// the connection counts against Postgres; what says nothing about it, an ended
// context of the caller or a row at fault, does not.
func (b *breaker) do(parent, ctx context.Context, attempt func(context.Context) *cause) *cause {
	if b.state() != BreakerClosed {
		return refusedNow()
	}
	b.mu.Lock()
	flock := b.flock
	b.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(flock.ctx, func() { cancel(errGone) })()
	began := b.now()
	watch := b.watch(ctx, began)
	c := attempt(ctx)
	watch.Stop()
	gone := context.Cause(ctx) == errGone
	switch {
	case c == nil || c.answered:
		b.answered.Store(int64(b.now()))
		b.count(nil)
	case !c.down:
	case gone:
		// Counted already, by the question that had no answer.
		c.context, c.text = nil, errGone.Error()
	case parent.Err() != nil:
		// The caller did not wait for an answer. That says nothing, unless
		// there is none.
		if errors.Is(parent.Err(), context.DeadlineExceeded) {
			b.suspect(began)
		}
	default:
		b.count(c)
	}
	return c
}

// watch becomes suspicious each time that an attempt has been silent for long.
func (b *breaker) watch(ctx context.Context, since time.Duration) *time.Timer {
	return time.AfterFunc(silence, func() {
		if ctx.Err() == nil {
			b.suspect(since)
			b.watch(ctx, b.now())
		}
	})
}

func refusedNow() *cause {
	c := *errRefused
	return &c
}

func (b *breaker) now() time.Duration { return time.Since(b.start) }

// count tells the breaker what became of an attempt that it let through.
func (b *breaker) count(err error) {
	if b.cb.State() != gobreaker.StateClosed {
		return // only the store's own question may close it again
	}
	_, _ = b.cb.Execute(func() (struct{}, error) { return struct{}{}, err })
}

// suspect asks Postgres whether it is there, if nobody has had an answer since
// the given moment and nobody is asking yet. If it is not, the breaker opens
// and every attempt under way is given up.
func (b *breaker) suspect(since time.Duration) {
	if time.Duration(b.answered.Load()) >= since || b.state() != BreakerClosed || !b.asking.CompareAndSwap(false, true) {
		return
	}
	if !b.task(func() {
		defer b.asking.Store(false)
		err := b.question()
		if err == nil || b.ctx.Err() != nil || time.Duration(b.answered.Load()) >= since {
			return
		}
		for range b.failures {
			b.count(err)
		}
		b.mu.Lock()
		old := b.flock
		b.flock = newFlock()
		b.mu.Unlock()
		old.giveUp(errGone)
	}) {
		b.asking.Store(false)
	}
}

// reachable asks on a connection of its own: one of a pool may be waited for,
// and says nothing of the server. A refusal that Postgres itself words is an
// answer, unless it says that it is not there for anybody.
func reachable(config *pgx.ConnConfig) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := pgx.ConnectConfig(ctx, config.Copy())
		if err == nil {
			_, err = conn.Exec(ctx, "select 1")
			// The answer is what was asked for; how the connection ends is not.
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), question)
			defer cancel()
			_ = conn.Close(bye)
		}
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok && !goingAway(refused.Code) {
			return nil
		}
		return err
	}
}

// goingAway reports whether a server says that it serves nobody now.
func goingAway(state string) bool {
	switch state {
	case "57P01", "57P02", "57P03", "25006":
		return true
	}
	return false
}
