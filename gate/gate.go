package gate

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/internal/mutant"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Redis is what a gate needs of Redis: [redisdb.DB] is one.
type Redis interface {
	// Run executes calls in one round trip, within ctx; an error is the call's own.
	Run(ctx context.Context, calls []redisdb.Call) []redisdb.Result
	// Available reports, without I/O, whether a call would go out.
	Available() bool
	Names() redisdb.Names
}

// Gate decides for one node. Its methods are safe for concurrent use, and only
// [Gate.Report] does I/O.
type Gate struct {
	cfg   Config
	redis Redis
	began time.Time

	off, shadow atomic.Bool
	unfit       atomic.Bool
	overrides   overrides
	pressure    pressure
	decided     decisions
	counts      counts
	trips       trips
	history     history

	seed    maphash.Seed
	stripes [stripes]stripe
	wake    chan struct{} // has room for one: something is to be reported
	resume  int64         // Report's own: Redis is left alone before this instant
}

// New checks the configuration by the names of its fields. It does not touch
// the network. Without [Gate.Report] running, the gate counts for this node
// alone.
func New(cfg Config, redis Redis) (*Gate, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if redis == nil {
		return nil, errors.New("gate: Redis is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gate{
		cfg: cfg, redis: redis, began: cfg.Now(),
		pressure: pressure{cfg: cfg.Pressure},
		seed:     maphash.MakeSeed(),
		wake:     make(chan struct{}, 1),
	}
	g.overrides.init(cfg)
	g.off.Store(cfg.Off)
	g.shadow.Store(cfg.Shadow)
	return g, nil
}

// Route says what the gate would do with the trigger now. It counts nothing
// and allocates nothing.
func (g *Gate) Route(s *run.Snapshot, now time.Time) Decision {
	return g.route(s, g.at(now), 0).Decision
}

// Decide counts the trigger, if it is one that counts, and then decides: the
// one that passes the threshold is the first that is mollified. It allocates
// only for an environment that it has not met before.
func (g *Gate) Decide(s *run.Snapshot, now time.Time) Decision {
	r := g.route(s, g.at(now), 1)
	g.note(s, now, r)
	return r.Decision
}

// Mollified counts a trigger that went into the buffer because [Gate.Route]
// said so, whatever the gate would say by now. It returns what was counted.
func (g *Gate) Mollified(s *run.Snapshot, now time.Time) Decision {
	r := g.route(s, g.at(now), 1)
	if r.Outcome != Mollify {
		r.Outcome, r.Reason = Mollify, ReasonRate
	}
	g.note(s, now, r)
	return r.Decision
}

// note takes down a decision.
func (g *Gate) note(s *run.Snapshot, now time.Time, r routed) {
	g.decided.record(r.Decision, r.enrolled)
	if g.cfg.Record == nil || !r.Counts {
		return
	}
	g.cfg.Record(Counted{
		Organisation: s.Trigger.Organisation, Environment: s.Trigger.Environment, At: now,
		Decision: r.Decision, Enrolled: r.enrolled, ByRate: r.byRate, Limits: r.limits.exported(),
	})
}

// Count counts n triggers of an environment without deciding anything. Not for
// triggers that [Gate.Decide] or [Gate.Mollified] has seen. n below 1 is nothing.
func (g *Gate) Count(environment string, n int, now time.Time) {
	if n < 1 || g.off.Load() {
		return
	}
	limits, _ := g.overrides.of(environment)
	g.advance(environment, g.at(now), int64(n), limits)
}

// routed is a decision, and what it was taken under.
type routed struct {
	Decision
	enrolled, byRate bool
	limits           limits
}

// route decides, having counted n of the trigger if it counts.
func (g *Gate) route(s *run.Snapshot, now, n int64) (r routed) {
	t := &s.Trigger
	in := Input{
		Debounce:       t.Debounce != nil,
		OneTimeToken:   t.OneTimeToken,
		TriggerAndWait: t.ResumeParent && !t.ParentRun.IsZero(),
		Off:            g.off.Load(),
		Enrolled:       g.cfg.Enrolled(t.Organisation),
		Shadow:         g.shadow.Load(),
		Unfit:          g.unfit.Load(),
	}
	r.enrolled = in.Enrolled
	r.limits, in.Force = g.overrides.of(t.Environment)
	if r.Decision = Decide(in); !r.Counts {
		return r
	}
	switch {
	case n > 0:
		in.Tripped = g.advance(t.Environment, now, n, r.limits)
	default:
		in.Tripped = g.tripped(t.Environment, now)
	}
	if mutant.On("gate-opens-without-redis") && !g.redis.Available() {
		in.Tripped = false
	}
	in.Why = ReasonRate
	pressed := g.pressure.reason(now)
	if !in.Tripped {
		in.Why, in.Tripped = pressed, pressed != noReason
	}
	r.byRate = in.Force == ForceNone && pressed == noReason
	r.Decision = Decide(in)
	return r
}

// SetUnfit says that nothing may be put into the buffer, whatever the rate, until it is
// said otherwise. Triggers are counted meanwhile, so that the rate is known afterwards.
func (g *Gate) SetUnfit(unfit bool) { g.unfit.Store(unfit) }

// Observe tells the gate what one call to Postgres was like: how long it took
// once it had a connection, how long it waited for one, and whether Postgres
// failed it. Pass errors that are about Postgres (it can not be reached, it
// timed out) and not those about what was written, nor the caller's own end.
func (g *Gate) Observe(latency, poolWait time.Duration, err error) {
	g.pressure.observe(g.at(g.cfg.Now()), latency, poolWait, err != nil)
}

// Pressure returns the name of what trips all environments now, or "".
func (g *Gate) Pressure() string { return g.pressure.reason(g.at(g.cfg.Now())).String() }

// Load returns what Postgres has been like of late: what [Gate.Observe] was told.
func (g *Gate) Load() Load { return g.pressure.load(g.at(g.cfg.Now())) }

// Switch turns the mollifier on or off, from the next decision on.
func (g *Gate) Switch(on bool) { g.off.Store(!on) }

// SetShadow turns shadow mode on or off, from the next decision on.
func (g *Gate) SetShadow(on bool) { g.shadow.Store(on) }

// Limits returns the limits that hold for an environment.
func (g *Gate) Limits(environment string) Limits {
	l, _ := g.overrides.of(environment)
	return l.exported()
}

// Check says what is wrong with an override, by the name of the field: it is judged
// together with the configured settings that it leaves.
func (g *Gate) Check(o Override) error {
	_, err := g.overrides.check(o)
	return err
}

// Replace takes the overrides of all environments, by their ids, from the next
// trigger on, in place of those that it had. What [Gate.Check] refuses is left out
// and returned.
func (g *Gate) Replace(all map[string]Override) (refused map[string]error) {
	return g.overrides.replace(all)
}

// clockBegins is what the gate's own clock begins with.
const clockBegins = 1_000_000

// at is a moment on the gate's own clock: microseconds, always positive, and
// not moved by whoever sets the machine's clock.
func (g *Gate) at(now time.Time) int64 {
	return max(micros(now.Sub(g.began)), 0) + clockBegins
}
