package drain

import (
	"math"
	"sync"
	"time"
)

// rates measures how fast entries leave the buffer, of each environment and of
// all. Only the time in which something was waiting counts, so that a rate says
// what the drain can do and not what there was to do.
type rates struct {
	mu    sync.Mutex
	total rate
	envs  map[string]*rate
}

// rate is an average that forgets what is longer ago than about [memory].
type rate struct {
	perSecond float64
	weight    float64 // of what has been seen, up to 1
	since     time.Time
	active    bool // something is waiting
}

const (
	memory     = 10 * time.Second
	ratedEnvs  = 10_000
	leastSpell = time.Millisecond
)

// upTo lets the rate know that until now nothing more has left.
func (r *rate) upTo(now time.Time, n int) {
	spell := max(now.Sub(r.since), leastSpell)
	keep := math.Exp(-spell.Seconds() / memory.Seconds())
	r.perSecond = r.perSecond*keep + float64(n)/spell.Seconds()*(1-keep)
	r.weight = r.weight*keep + (1 - keep)
	r.since = now
}

func (r *rate) read(now time.Time) float64 {
	c := *r
	if c.active && now.Sub(c.since) > time.Second {
		c.upTo(now, 0)
	}
	if c.weight == 0 {
		return 0
	}
	return c.perSecond / c.weight
}

func (r *rate) wake(now time.Time) {
	if !r.active {
		r.active, r.since = true, now
	}
}

// waiting tells who has something waiting now; all others rest.
func (rs *rates) waiting(heads []head, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.envs == nil {
		rs.envs = make(map[string]*rate)
	}
	busy := make(map[string]bool)
	for _, h := range heads {
		busy[h.environment] = true
		rs.of(h.environment).wake(now)
	}
	for env, r := range rs.envs {
		if !busy[env] {
			r.active = false
			if len(rs.envs) > ratedEnvs {
				delete(rs.envs, env)
			}
		}
	}
	if rs.total.active = rs.total.active && len(busy) > 0; len(busy) > 0 {
		rs.total.wake(now)
	}
}

func (rs *rates) of(environment string) *rate {
	r := rs.envs[environment]
	if r == nil {
		r = &rate{}
		rs.envs[environment] = r
	}
	return r
}

// left tells that n entries of an environment have left the buffer.
func (rs *rates) left(environment string, n int, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.envs == nil {
		rs.envs = make(map[string]*rate)
	}
	for _, r := range [...]*rate{&rs.total, rs.of(environment)} {
		if r.since.IsZero() {
			r.since = now.Add(-time.Second)
		}
		r.upTo(now, n)
	}
}
