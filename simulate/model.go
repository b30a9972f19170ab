package simulate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// BytesPerRun is what Redis needs for a buffered run with a key, besides its payload:
// an assumption with room to spare; docs/sizing.md says how to measure it.
const BytesPerRun = 1000

// Trigger is one trigger of a storm.
type Trigger struct {
	At          time.Duration // since the storm began; never before the one in front of it
	Environment string
	Key         uint64 // which key of its environment; 0 is none
	Payload     int    // bytes
}

// Config is the deployment that a storm meets. Every field but Algorithm is required.
type Config struct {
	gate.Limits
	Algorithm gate.Algorithm

	// The bounds of the buffer, of one environment and of all.
	MaxEntries, TotalEntries int
	MaxBytes, TotalBytes     int64
	MaxAge                   time.Duration

	// KeyTTL is how long a key holds its run.
	KeyTTL time.Duration
	// RowsPerSecond is what Postgres takes: 1 to 10,000,000.
	RowsPerSecond float64
	// BytesPerRun is what Redis needs for a buffered run besides its payload.
	BytesPerRun int64
}

// Validate reports the first field that no deployment could have, by name, but for
// those of the gate, which [Run] checks.
func (c *Config) Validate() error {
	for _, rule := range []struct {
		field string
		ok    bool
		limit string
	}{
		{"MaxEntries", c.MaxEntries >= 1, "must be at least 1"},
		{"TotalEntries", c.TotalEntries >= c.MaxEntries, "must be at least MaxEntries"},
		{"MaxBytes", c.MaxBytes >= run.MaxPayload, fmt.Sprintf("must be at least %d", run.MaxPayload)},
		{"TotalBytes", c.TotalBytes >= c.MaxBytes, "must be at least MaxBytes"},
		{"MaxAge", c.MaxAge >= time.Minute, "must be at least 1m"},
		{"KeyTTL", c.KeyTTL >= run.MinKeyTTL && c.KeyTTL <= run.MaxKeyTTL, "must be 1s to 365d"},
		{"RowsPerSecond", c.RowsPerSecond >= 1 && c.RowsPerSecond <= 10_000_000, "must be 1 to 10000000"},
		{"BytesPerRun", c.BytesPerRun >= 0 && c.BytesPerRun <= 1<<20, "must be 0 to 1048576"},
	} {
		if !rule.ok {
			return fmt.Errorf("simulate: Config.%s %s", rule.field, rule.limit)
		}
	}
	return nil
}

// noRedis is the Redis of a gate that nobody reports for: it is never asked.
type noRedis struct{}

func (noRedis) Run(context.Context, []redisdb.Call) []redisdb.Result {
	panic("simulate: the gate asked Redis")
}
func (noRedis) Available() bool      { return false }
func (noRedis) Names() redisdb.Names { return redisdb.Names{} }

// model is a deployment at a moment of a storm.
type model struct {
	cfg    Config
	gate   *gate.Gate
	keys   map[key]time.Duration // when it ends
	buffer *buffer
	row    float64       // nanoseconds that Postgres takes for one
	free   float64       // when Postgres has written all that it was given, in nanoseconds
	full   bool          // at the last look the oldest run was older than MaxAge
	next   time.Duration // when the buffer is looked at again
	report *Report
}

type key struct {
	environment *queue
	key         uint64
}

// clockBegins is when a storm begins on the gate's clock; any moment would do.
var clockBegins = time.Unix(0, 0)

// Run puts a storm before a deployment, until the buffer is empty again. Its memory
// grows with the keys and with what is in the buffer.
func Run(cfg Config, storm iter.Seq2[Trigger, error]) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gated := gate.Defaults()
	gated.Limits, gated.Algorithm = cfg.Limits, cfg.Algorithm
	gated.Enrolled = func(string) bool { return true }
	gated.Environments = 10_000_000
	gated.Now = func() time.Time { return clockBegins }
	g, err := gate.New(gated, noRedis{})
	if err != nil {
		return nil, err
	}
	m := &model{
		cfg: cfg, gate: g, keys: map[key]time.Duration{}, buffer: newBuffer(),
		row: float64(time.Second) / cfg.RowsPerSecond, report: newReport(),
	}
	for t, err := range storm {
		if err != nil {
			return nil, err
		}
		if t.At < m.report.Duration {
			return nil, errors.New("simulate: a trigger comes before the one in front of it")
		}
		m.upTo(t.At)
		m.arrive(t)
	}
	m.end()
	return m.report, nil
}

// arrive decides what becomes of a trigger.
func (m *model) arrive(t Trigger) {
	r := m.report
	r.Triggers++
	r.Duration = t.At
	q := m.buffer.of(t.Environment)
	k := key{q, t.Key}
	if t.Key != 0 && m.keys[k] > t.At {
		r.Shared++
		return
	}
	d := m.gate.Decide(&run.Snapshot{Trigger: run.Trigger{Organisation: t.Environment, Environment: t.Environment}}, clockBegins.Add(t.At))
	if d.Mollify() {
		size := int64(t.Payload) + overhead
		if bound := m.refuses(q, size); bound != nil {
			*bound++
			r.Refused.Total++
			return
		}
		r.Mollified++
		m.buffer.put(q, entry{t.At, size})
		r.peak(m.buffer, m.cfg.BytesPerRun)
	} else {
		r.Passed++
		m.free = max(m.free, float64(t.At)) + m.row
		r.Wait = max(r.Wait, time.Duration(m.free-m.row)-t.At)
	}
	if t.Key != 0 {
		m.keys[k] = t.At + m.cfg.KeyTTL
	}
}

// overhead is what the bounds of the buffer count for a trigger besides its payload.
var overhead = int64(new(run.Trigger).Size())

// refuses is the count of those whom the same bound refused, or nil.
func (m *model) refuses(q *queue, size int64) *int {
	r, b := &m.report.Refused, m.buffer
	switch {
	case q.entries() >= m.cfg.MaxEntries:
		return &r.Entries
	case q.bytes+size > m.cfg.MaxBytes:
		return &r.Bytes
	case b.entries >= m.cfg.TotalEntries:
		return &r.TotalEntries
	case b.bytes+size > m.cfg.TotalBytes:
		return &r.TotalBytes
	case m.full:
		return &r.Age
	}
	return nil
}

// upTo has Postgres work until a moment, and looks at the buffer on the way.
func (m *model) upTo(now time.Duration) {
	for m.next <= now {
		m.drain(m.next)
		m.look(m.next)
	}
	m.drain(now)
}

// drain writes the rows that are written before now.
func (m *model) drain(now time.Duration) {
	for m.buffer.entries > 0 {
		e := m.buffer.next()
		written := max(m.free, float64(e.at)) + m.row
		if written > float64(now) {
			return
		}
		m.buffer.take()
		m.free = written
		m.report.Empty = time.Duration(written)
		m.report.dwell.add(time.Duration(written) - e.at)
	}
}

// look notes how the buffer is, and when to look again.
func (m *model) look(now time.Duration) {
	oldest := m.buffer.oldest(now)
	m.full = oldest > m.cfg.MaxAge
	m.report.OldestAge = max(m.report.OldestAge, oldest)
	m.next = now + m.report.depth.add(m.buffer.entries)
}

// end has the buffer drained.
func (m *model) end() {
	m.look(m.report.Duration)
	for m.buffer.entries > 0 {
		m.upTo(m.next)
	}
	m.report.finish()
}
