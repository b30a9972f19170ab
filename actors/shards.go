package actors

import (
	"context"
	"crypto/rand"
	"hash/maphash"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/shard"
)

// Config says how the shards run. Every field is required, but for Observer and Witness.
type Config struct {
	Partitions     int
	Shards         int
	ClaimTTL       time.Duration
	WaitBudget     time.Duration
	RedisDeadline  time.Duration // for one batch to Redis
	SettleDeadline time.Duration // for one batch to Postgres, its retries included
	SettleSlots    int           // batches to Postgres under way at once
	MaxCallers     int
	MaxBytes       int64
	Logger         *slog.Logger

	// Diverts says whether what Postgres can not take of an organisation may go to
	// the buffer. From memory.
	Diverts func(organisation string) bool
	// Durability is what a run in the buffer can be said to have survived.
	Durability func() run.Durability
	// Admit takes a run of so many bytes that is to be buffered into account, or
	// says why there is no room for it: a *run.RefusedError. From memory.
	Admit func(environment string, bytes int) error
	// Accepted is told that runs have come into the buffer. It returns at once.
	Accepted func()
	// Observer is told what is done. Nil: nobody is.
	Observer Observer
	// Witness is told what becomes of triggers. Nil: nobody is.
	Witness Witness
}

// Stores are where the writers write.
type Stores struct {
	Claims Claims
	Runs   Runs
	Buffer Buffer
	Gate   Gate
	Clock  Clock
}

// The bounds of batches. Redis: what one script call should hold up other
// clients for, at most. Postgres: past about 500 rows a statement gains nothing.
const (
	claimItems  = 512
	claimSlots  = 2
	settleItems = 500
	settleBytes = 4 << 20
	checkItems  = 1000
	checkSlots  = 1
	lookItems   = 1000
	lookSlots   = 1
	acceptItems = 256
	acceptBytes = 4 << 20
	acceptSlots = 1 // a second would halve the batches: what a partition costs is paid once a batch

	// pollEvery is how often a foreign claim is looked at in case its wake-up is lost.
	pollEvery = 250 * time.Millisecond
	tickEvery = 50 * time.Millisecond
)

// Shards is the running actors and writers of one node. Its methods are safe
// for concurrent use.
type Shards struct {
	cfg    Config
	stores Stores
	log    *slog.Logger
	count  counters
	shares shares

	system *actor.ActorSystem
	cells  []*cell
	pids   []*actor.PID

	claims    *writer[posted]
	settles   *writer[posted]
	debounces *writer[posted]
	checks    *writer[posted]
	looks     *writer[posted]
	accepts   *writer[posted]
	landed    landings
	opened    openCalls

	closing  atomic.Bool
	quiet    chan struct{} // closed once closing and no caller is inside Trigger
	quieted  sync.Once
	stopOnce sync.Once
	stopped  chan struct{}
	outside  sync.RWMutex // senders that Stop does not wait for
	ticker   sync.WaitGroup
}

// Start spawns the shards. It fails only when an actor can not be spawned.
func Start(cfg Config, stores Stores) (*Shards, error) {
	if cfg.Witness == nil {
		cfg.Witness = nobody{}
	}
	s := &Shards{
		cfg: cfg, stores: stores, log: cfg.Logger,
		quiet: make(chan struct{}), stopped: make(chan struct{}),
		landed: landings{news: make(chan struct{}, 1)}, shares: shares{seed: maphash.MakeSeed()},
	}
	ops := limits{items: claimItems, bytes: settleBytes, slots: claimSlots}
	s.claims = newWriter("claims", ops, func(*posted) int { return 256 }, s.flushClaims)
	s.settles = newWriter("settles", limits{settleItems, settleBytes, cfg.SettleSlots},
		func(p *posted) int { return p.request.Snapshot.Trigger.Size() }, s.flushSettles)
	// One at a time: what is under way holds the debounce keys' locks, so a second
	// batch would wait for them, on a connection, with triggers that could be one more push.
	s.debounces = newWriter("debounces", limits{settleItems, settleBytes, 1},
		func(p *posted) int { return p.request.Snapshot.Trigger.Size() }, s.flushSettles)
	s.checks = newWriter("checks", limits{checkItems, settleBytes, checkSlots}, func(*posted) int { return 256 }, s.flushChecks)

	s.looks = newWriter("looks", limits{lookItems, settleBytes, lookSlots}, func(*posted) int { return 256 }, s.flushLooks)
	s.accepts = newWriter("accepts", limits{acceptItems, acceptBytes, acceptSlots},
		func(p *posted) int { return p.request.Snapshot.Trigger.Size() }, s.flushAccepts)

	var waited func(time.Duration)
	if o := cfg.Observer; o != nil {
		for _, w := range s.writers() {
			w.told = o.Batch
		}
		waited = o.Waited
	}

	// Proto.Actor's own log speaks of its insides; a shard's troubles are logged where they happen.
	s.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	for i := range cfg.Shards {
		c := &cell{index: i, shards: s, turns: newTurns(shardLabel(i)), table: shard.NewTable[*call](shard.Config{
			ClaimTTL: cfg.ClaimTTL, WaitBudget: cfg.WaitBudget, Poll: pollEvery,
			NewToken: newToken,
			NewID:    func(partition int) run.ID { return run.MintID(time.Now(), partition) },
			Gate:     view{&s.stores, cfg.Diverts, cfg.Witness}, Durability: cfg.Durability, Waited: waited,
		}, s.opened.close)}
		// The supervisor restarts without a limit: the default one would stop
		// a shard, and strand its keys, after ten panics.
		props := actor.PropsFromProducer(func() actor.Actor { return shardActor{c} },
			actor.WithSupervisor(actor.NewRestartingStrategy()), actor.WithDispatcher(c.turns))
		pid, err := s.system.Root.SpawnNamed(props, "shard-"+strconv.Itoa(i))
		s.cells = append(s.cells, c)
		if err != nil {
			s.end()
			return nil, err
		}
		s.pids = append(s.pids, pid)
	}
	s.ticker.Go(s.tickLoop)
	s.ticker.Go(s.landedLoop)
	return s, nil
}

func newToken() (t shard.Token) {
	_, _ = rand.Read(t[:]) // never fails: the program is aborted instead
	return t
}

func (s *Shards) send(at int, message any) { s.system.Root.Send(s.pids[at], message) }

// Wake tells the shards that the claim of a key was published, released or
// reset. After Stop it does nothing.
func (s *Shards) Wake(hash run.Hash) { s.fromOutside(wake{hash}) }

// WakeAll tells the shards that wake-ups may have been missed. After Stop it
// does nothing.
func (s *Shards) WakeAll() { s.fromOutside(wakeAll{}) }

// fromOutside broadcasts what comes from neither a caller nor a writer, which
// Stop waits for: it must not meet actors that are gone.
func (s *Shards) fromOutside(message any) {
	s.outside.RLock()
	defer s.outside.RUnlock()
	select {
	case <-s.stopped:
	default:
		s.broadcast(message)
	}
}

func (s *Shards) broadcast(message any) {
	for at := range s.pids {
		s.send(at, message)
	}
}

// Stats returns the counters.
func (s *Shards) Stats() Stats {
	stats := s.count.stats()
	for _, c := range s.cells {
		stats.Flights += c.flights.Load()
	}
	return stats
}

// tickLoop lets time pass for the shards that wait for it.
func (s *Shards) tickLoop() {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for at, c := range s.cells {
				if c.timed.Load() {
					s.send(at, tick{})
				}
			}
		case <-s.stopped:
			return
		}
	}
}

// Stop refuses new triggers, lets the others be answered and their flights end,
// and stops the actors. When ctx ends first, whoever still waits is answered
// with run.ErrClosed and Stop returns the cause of ctx. Calls after the first
// wait for it and return nil.
func (s *Shards) Stop(ctx context.Context) (err error) {
	s.stopOnce.Do(func() { err = s.stop(ctx) })
	return err
}

func (s *Shards) stop(ctx context.Context) error {
	s.closing.Store(true)
	if s.count.callers.Load() == 0 {
		s.quieted.Do(func() { close(s.quiet) })
	}
	err := s.drain(ctx)
	if err != nil {
		s.broadcast(failAll{&run.RefusedError{Reason: run.ErrClosed, Part: "engine", RetryAfter: time.Second}})
		<-s.quiet // everybody has been answered, or is about to leave
	}
	for _, w := range s.writers() {
		w.wait()
	}
	s.outside.Lock()
	close(s.stopped)
	s.outside.Unlock()
	s.ticker.Wait()
	for _, pid := range s.pids {
		// Poison is queued last, so that the mailbox empties first.
		if e := s.system.Root.PoisonFuture(pid).Wait(); e != nil && err == nil {
			err = e
		}
	}
	s.end()
	return err
}

func (s *Shards) writers() []*writer[posted] {
	return []*writer[posted]{s.claims, s.settles, s.debounces, s.checks, s.looks, s.accepts}
}

// end ends the goroutines of shards and writers, which have nothing to do any more.
func (s *Shards) end() {
	s.system.Shutdown()
	for _, c := range s.cells {
		c.turns.end()
	}
	for _, w := range s.writers() {
		w.end()
	}
}

// drain waits until no caller and no flight is left.
func (s *Shards) drain(ctx context.Context) error {
	select {
	case <-s.quiet:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for at := range s.pids {
		empty := make(chan struct{})
		s.send(at, drain{empty})
		select {
		case <-empty:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
