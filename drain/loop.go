package drain

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// refreshEvery is how long turns are given from one look at what waits, if it
// is not used up before. Who comes meanwhile is seen after that.
const refreshEvery = 20 * time.Millisecond

// planner decides who is next. It is used by one goroutine.
type planner struct {
	*Drainer
	rotation rotation
	all      []int // the partitions
	looked   time.Time
	turns    int // given since the last look
	idle     time.Duration
	batches  sync.WaitGroup
	asking   atomic.Int64  // turns whose leases are not answered yet
	granted  atomic.Int64  // entries leased since the last look
	answered chan struct{} // has room for one
}

// loop drains until ctx ends, and then waits for the batches under way.
func (d *Drainer) loop(ctx context.Context) {
	p := &planner{Drainer: d, all: make([]int, d.cfg.Partitions), answered: make(chan struct{}, 1)}
	for i := range p.all {
		p.all[i] = i
	}
	defer p.batches.Wait()
	for ctx.Err() == nil {
		p.step(ctx)
	}
}

// step begins one batch, or waits for what keeps it from doing so.
func (p *planner) step(ctx context.Context) {
	if !p.runs.Available() {
		// Somebody else has found out already, and probes. What comes in meanwhile is
		// for the levels.
		if time.Since(p.looked) > p.cfg.IdleMax && !p.look(ctx) {
			return
		}
		p.sleep(ctx, jitter(p.cfg.PauseMin), nil)
		return
	}
	ok, wait := p.pace.enter(time.Now())
	if !ok {
		p.sleep(ctx, wait, p.pace.freed)
		return
	}
	t, ok := p.next(ctx)
	if !ok {
		p.pace.leave()
		return
	}
	p.asking.Add(1)
	p.batches.Go(func() {
		defer p.pace.leave()
		p.batch(ctx, t, sync.OnceFunc(func() {
			p.asking.Add(-1)
			signal(p.answered)
		}), &p.granted)
	})
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// next chooses whose turn it is. If it is nobody's it waits for a while first.
func (p *planner) next(ctx context.Context) (turn, bool) {
	now := time.Now()
	if p.rotation.empty() || now.Sub(p.looked) > refreshEvery {
		if p.turns > 0 && p.granted.Load() == 0 && p.rotation.empty() {
			// Every queue had its turn, and gave nothing: what waits is on its
			// way to somebody else, or not to be had yet.
			if p.asking.Load() > 0 {
				p.sleep(ctx, p.cfg.IdleMin, p.answered)
			} else {
				p.rest(ctx)
			}
		}
		if !p.look(ctx) {
			return turn{}, false
		}
	}
	t, ok := p.rotation.next(p.size)
	if !ok {
		p.rest(ctx)
		return turn{}, false
	}
	p.turns++
	return t, true
}

func (p *planner) size(environment string) int {
	return min(p.pace.size(), p.fits.entries(environment))
}

// rest waits, longer each time, until something may have come.
func (p *planner) rest(ctx context.Context) {
	p.idle = grow(p.idle, p.cfg.IdleMin, p.cfg.IdleMax)
	p.sleep(ctx, jitter(p.idle), p.woken)
}

// look asks what waits.
func (p *planner) look(ctx context.Context) bool {
	found, err := p.buffer.Heads(ctx, p.all)
	if err != nil {
		if ctx.Err() != nil {
			return false
		}
		wait := p.redisFailed("look for what waits", err)
		if len(found) == 0 {
			p.sleep(ctx, wait, nil)
			return false
		}
		// Some partitions are out, and the others go on.
	} else {
		p.redis.served()
	}
	if p.granted.Swap(0) > 0 {
		p.idle = 0
	}
	p.level.see(found)
	heads := headsOf(found, p.cfg.Paused)
	p.looked, p.turns = time.Now(), 0
	p.rates.waiting(heads, p.looked)
	p.fits.keep(heads)
	p.rotation.load(heads)
	return true
}

// redisFailed reports an error of Redis and returns how long to leave it alone.
func (d *Drainer) redisFailed(what string, err error) time.Duration {
	d.count.redisErrors.Add(1)
	if errors.Is(err, run.ErrUnavailable) {
		d.log.Debug("redis does not serve the drain", slog.String("to", what), slog.Any("error", err))
	} else if d.words.left() {
		d.log.Error("the buffer refuses the drain", slog.String("to", what), slog.Any("error", err))
	}
	return d.redis.failed(d.cfg.PauseMin, d.cfg.PauseMax)
}

// trouble is the growing pause while a store fails.
type trouble struct {
	mu    sync.Mutex
	pause time.Duration
}

func (t *trouble) failed(least, most time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause = grow(t.pause, least, most)
	return jitter(t.pause)
}

func (t *trouble) served() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause = 0
}
