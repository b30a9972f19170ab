package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Source is the stores, as package fallback reads them. It is safe for
// concurrent use.
type Source interface {
	// Outlines reads runs without the customer's bytes. What it could not read is
	// not in the map, and then there is an error.
	Outlines(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error)
	// List reads a page in outline, newest first; next is where it goes on.
	List(ctx context.Context, environment string, f runstore.Filter, p runstore.Page) (runs []run.Run, next run.ID, err error)
	// Runs is as Outlines, whole.
	Runs(ctx context.Context, environment string, ids []run.ID) (map[run.ID]run.Run, error)
}

// The refusals of a watch.
var (
	// ErrEnvironment means that the environment has its share of watches.
	ErrEnvironment = errors.New("too many watches of this environment")
	// ErrNode means that this node has all watches that it takes.
	ErrNode = errors.New("too many watches on this node")
)

// Config is what a [Hub] works with. Zero fields take their defaults.
type Config struct {
	Source Source // required
	// Every is the least time between two looks at single runs. Default 250 ms.
	Every time.Duration
	// EverySet is the least time between two looks at one set. Default 1 s.
	EverySet time.Duration
	// Deadline bounds one read of the stores. Default 5 s.
	Deadline time.Duration
	// PerEnvironment is how many polls of an environment wait at once, and how many
	// subjects are followed for it; of the latter an eighth may be sets. Default 2,000.
	PerEnvironment int
	// PerNode is how many of all environments. Default 20,000.
	PerNode int
}

// linger is how long a topic outlives its last poll, in looks: clients that
// come again at once find it.
const linger = 8

// Hub looks at what is followed on this node. Its methods are safe for
// concurrent use. End it with [Hub.Close].
type Hub struct {
	cfg Config

	mu     sync.Mutex
	topics map[string]*topic
	perEnv map[string]*share
	polls  int
	fresh  chan struct{} // capacity 1: a single run was never looked at
	freshS chan struct{} // capacity 1: likewise a set

	ctx   context.Context // ends with Close
	close context.CancelFunc
	loops sync.WaitGroup
}

// share is what one environment uses.
type share struct{ polls, topics, sets int }

// New starts a hub. It costs nothing while nobody watches.
func New(cfg Config) *Hub {
	if cfg.Source == nil {
		panic("watch: Config.Source is required")
	}
	def(&cfg.Every, 250*time.Millisecond)
	def(&cfg.EverySet, time.Second)
	def(&cfg.Deadline, 5*time.Second)
	def(&cfg.PerEnvironment, 2000)
	def(&cfg.PerNode, 20_000)
	h := &Hub{
		cfg: cfg, topics: map[string]*topic{}, perEnv: map[string]*share{},
		fresh: make(chan struct{}, 1), freshS: make(chan struct{}, 1),
	}
	h.ctx, h.close = context.WithCancel(context.Background())
	h.loops.Go(h.lookAtRuns)
	h.loops.Go(h.lookAtSets)
	return h
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Close ends the looks; polls that wait are answered that nothing is new.
func (h *Hub) Close() {
	h.close()
	h.loops.Wait()
}

// Polls is how many polls are waiting now.
func (h *Hub) Polls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.polls
}

// join enters a poll of a subject.
func (h *Hub) join(s *Subject) (*topic, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.polls >= h.cfg.PerNode {
		return nil, ErrNode
	}
	used := h.perEnv[s.Environment]
	if used == nil {
		used = &share{}
		h.perEnv[s.Environment] = used
	}
	if used.polls >= h.cfg.PerEnvironment {
		return nil, ErrEnvironment
	}
	key := s.key()
	t := h.topics[key]
	if t == nil {
		if used.topics >= h.cfg.PerEnvironment || !s.one() && used.sets >= max(1, h.cfg.PerEnvironment/8) {
			return nil, ErrEnvironment
		}
		if len(h.topics) >= h.cfg.PerNode {
			return nil, ErrNode
		}
		t = &topic{subject: *s, changed: make(chan struct{})}
		h.topics[key] = t
		used.topics++
		told := h.fresh
		if !s.one() {
			used.sets++
			told = h.freshS
		}
		select {
		case told <- struct{}{}:
		default:
		}
	}
	t.polls++
	t.idle = time.Time{}
	used.polls++
	h.polls++
	return t, nil
}

func (h *Hub) leave(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.polls--
	h.perEnv[t.subject.Environment].polls--
	if t.polls--; t.polls == 0 {
		t.idle = time.Now()
	}
}

// sweep forgets the topics of one kind that nobody has polled for a while. The
// lock is held.
func (h *Hub) sweep(one bool, age time.Duration) {
	now := time.Now()
	for key, t := range h.topics {
		if t.subject.one() != one || t.polls > 0 || now.Sub(t.idle) < age {
			continue
		}
		delete(h.topics, key)
		used := h.perEnv[t.subject.Environment]
		used.topics--
		if !one {
			used.sets--
		}
		if *used == (share{}) {
			delete(h.perEnv, t.subject.Environment)
		}
	}
}

// state is what the last look found, and the channel that is closed when a
// later one finds something else.
func (h *Hub) state(t *topic) (members []Member, looked bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return t.members, t.looked, t.changed
}
