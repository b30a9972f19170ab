package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/ring"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Source is where callbacks read what others have counted. It answers from memory.
type Source interface {
	Shards() actors.Stats
	Refusals() *Refusals
	Gate() gate.Stats
	// Pressure is the signal of Postgres that mollifies all environments, or "".
	Pressure() string
	Levels() drain.Levels
	// Drain is what this node has drained, how fast, and whether it waits for Postgres.
	Drain() (s drain.Stats, perSecond float64, paused bool)
	// Removed is what retention has removed on this node, by kind.
	Removed() map[string]int
	// Breakers are the states of both stores' breakers.
	Breakers() (redis, postgres string)
	Ring() ring.Stats
	// Durability is what a run in the buffer has survived; undurable, how many calls to
	// Redis have not become so in time.
	Durability() (of run.Durability, undurable uint64)
	Pools() [2]runstore.Pool
	Overrides() *override.State
	// Unrecorded is how many decisions of the gate were not recorded for want of room.
	Unrecorded() uint64
	// Unfit is why nothing is put into the buffer although Redis answers, or nil.
	Unfit() error
	// Enrolled reports whether an organisation may be a label.
	Enrolled(organisation string) bool
}

// pressures are the gate's signals.
var pressures = [...]string{gate.ReasonPressureErrors.String(), gate.ReasonPressurePool.String(), gate.ReasonPressureLatency.String()}

// gateReasons are all reasons of the gate: those past the last have no name.
func gateReasons() (names []string) {
	for r := gate.Reason(0); r.String() != ""; r++ {
		names = append(names, r.String())
	}
	return names
}

// Read has the source read whenever somebody collects.
func (t *Telemetry) Read(from Source) error {
	if t == nil || t.meter == nil {
		return nil
	}
	if t.readings != nil {
		return errTwice
	}
	made, err := observables(t.meter)
	if err != nil {
		return err
	}
	all := make([]metric.Observable, 0, len(made))
	for _, o := range made {
		all = append(all, o)
	}
	t.readings, err = t.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		r := reading{to: to, made: made}
		r.triggers(&t.answers, from.Refusals(), from.Shards())
		r.gate(from.Gate(), from.Pressure())
		r.levels(from.Levels(), from.Enrolled)
		r.drain(from.Drain())
		r.removed(from.Removed())
		r.stores(from.Breakers())
		r.pools(from.Pools())
		r.ring(from.Ring())
		r.durability(from.Durability())
		r.overrides(from.Overrides())
		tell(&r, "mollifier.gate.unrecorded", from.Unrecorded())
		tell(&r, "mollifier.buffer.unfit", one(from.Unfit() != nil))
		return nil
	}, all...)
	return err
}

// observables are the instruments of all metrics that are read and not told.
func observables(meter metric.Meter) (map[string]metric.Float64Observable, error) {
	made := map[string]metric.Float64Observable{}
	for i := range table {
		m := &table[i]
		var (
			o    metric.Float64Observable
			err  error
			unit = metric.WithUnit(m.Unit)
			text = metric.WithDescription(m.Text)
		)
		switch m.Kind {
		case Counter:
			o, err = meter.Float64ObservableCounter(m.Name, unit, text)
		case Gauge:
			o, err = meter.Float64ObservableGauge(m.Name, unit, text)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("telemetry: %s: %w", m.Name, err)
		}
		made[m.Name] = o
	}
	return made, nil
}

// reading is one collection.
type reading struct {
	to   metric.Observer
	made map[string]metric.Float64Observable
}

type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

func tell[N number](r *reading, name string, v N, labels ...string) {
	attributes := make([]attribute.KeyValue, 0, len(labels)/2)
	for i := 0; i < len(labels); i += 2 {
		attributes = append(attributes, attribute.String(labels[i], labels[i+1]))
	}
	r.to.ObserveFloat64(r.made[name], float64(v), metric.WithAttributes(attributes...))
}

func (r *reading) triggers(a *answers, refusals *Refusals, s actors.Stats) {
	tell(r, "mollifier.triggers", s.Triggers)
	tell(r, "mollifier.triggers.waiting", s.Waiting)
	for kind := range a.answered {
		outcome, state, identity := "created", "materialised", "confirmed"
		if kind&kindCached != 0 {
			outcome = "cached"
		}
		if kind&kindBuffered != 0 {
			state = "buffered"
		}
		if kind&kindProvisional != 0 {
			identity = "provisional"
		}
		tell(r, TriggersAnswered, a.answered[kind].Load(), "outcome", outcome, "state", state, "identity", identity)
	}
	for _, refused := range refusals.All() {
		tell(r, TriggersRefused, refused.Count, "reason", refused.Reason)
	}
	tell(r, "mollifier.triggers.payload_mismatches", a.mismatches.Load())
	tell(r, "mollifier.flights", s.Flights)
	tell(r, "mollifier.flights.diverted", s.Diverted)
	tell(r, "mollifier.flights.landed", s.Landed)
	tell(r, "mollifier.claims", s.Claims, "verb", "claim")
	tell(r, "mollifier.claims", s.Publishes, "verb", "publish")
	tell(r, "mollifier.claims", s.Releases, "verb", "release")
	tell(r, "mollifier.claims.undecided", s.FailOpen)
	tell(r, "mollifier.panics", s.Panics, "part", "shards")
}

func (r *reading) gate(s gate.Stats, pressure string) {
	for _, d := range s.Decided {
		tell(r, "mollifier.gate.decisions", d.Count,
			"outcome", d.Outcome.String(), "reason", d.Reason.String(), "enrolled", strconv.FormatBool(d.Enrolled))
	}
	tell(r, "mollifier.gate.trips", s.Trips)
	tell(r, "mollifier.gate.environments", s.Environments)
	tell(r, "mollifier.gate.counted", s.Reported, "where", "redis")
	tell(r, "mollifier.gate.counted", s.Kept, "where", "node")
	tell(r, "mollifier.gate.counted", s.Untracked, "where", "nowhere")
	tell(r, "mollifier.gate.calls", s.Calls-min(s.Calls, s.Failures), "result", "answered")
	tell(r, "mollifier.gate.calls", s.Failures, "result", "failed")
	for _, signal := range pressures {
		tell(r, "mollifier.gate.pressure", one(pressure == signal), "signal", signal)
	}
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

func (r *reading) levels(l drain.Levels, enrolled func(string) bool) {
	if l.Age >= 0 {
		tell(r, "mollifier.buffer.reading.age", l.Age.Seconds())
	}
	tell(r, "mollifier.buffer.entries", l.Total.Entries)
	tell(r, "mollifier.buffer.size", l.Total.Bytes)
	tell(r, "mollifier.buffer.oldest.age", l.Total.Oldest.Seconds())
	tell(r, "mollifier.buffer.stale", l.Stale)
	tell(r, "mollifier.buffer.unreadable", l.Dead)
	for organisation, level := range labelled(l.Organisations, enrolled) {
		tell(r, BufferOrganisation, level.Entries, "organisation", organisation)
		tell(r, "mollifier.buffer.organisation.size", level.Bytes, "organisation", organisation)
		tell(r, "mollifier.buffer.organisation.oldest.age", level.Oldest.Seconds(), "organisation", organisation)
	}
}

// labelled is the levels of the enrolled organisations with the most entries, and
// of the rest together.
func labelled(all map[string]drain.Level, enrolled func(string) bool) map[string]drain.Level {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(all[b].Entries, all[a].Entries), cmp.Compare(a, b))
	})
	out := make(map[string]drain.Level, organisationsMost+1)
	named := 0
	for _, name := range names {
		l, label := all[name], name
		if named++; named > organisationsMost || !enrolled(name) {
			label, named = Others, named-1
		}
		sum := out[label]
		out[label] = drain.Level{Entries: sum.Entries + l.Entries, Bytes: sum.Bytes + l.Bytes, Oldest: max(sum.Oldest, l.Oldest)}
	}
	return out
}

func (r *reading) drain(s drain.Stats, perSecond float64, paused bool) {
	tell(r, "mollifier.drain.leased", s.Leased)
	tell(r, "mollifier.drain.runs", s.Materialised, "outcome", "materialised")
	tell(r, "mollifier.drain.runs", s.Failed, "outcome", "failed")
	tell(r, "mollifier.drain.runs", s.Unreadable, "outcome", "unreadable")
	tell(r, "mollifier.drain.changed", s.Dirty)
	tell(r, "mollifier.drain.refused", s.Refused)
	tell(r, "mollifier.drain.given_back", s.GivenBack)
	tell(r, "mollifier.drain.pauses", s.Pauses)
	tell(r, "mollifier.drain.paused", one(paused))
	tell(r, "mollifier.drain.rate", perSecond)
	tell(r, "mollifier.leases", s.Reaped, "event", "recovered")
	tell(r, "mollifier.leases", s.LeasesLost, "event", "lost")
	tell(r, "mollifier.leases", s.Repeated, "event", "repeated")
	tell(r, "mollifier.aliases", s.Aliased-min(s.Aliased, s.Overtaken), "cause", "unseen")
	tell(r, "mollifier.aliases", s.Overtaken, "cause", "overtaken")
	tell(r, "mollifier.panics", s.Panics, "part", "drain")
}

func (r *reading) removed(n map[string]int) {
	for _, kind := range removedKinds {
		tell(r, "mollifier.retention.removed", n[kind], "kind", kind)
	}
}

func (r *reading) stores(redis, postgres string) {
	for _, state := range []string{"closed", "half-open", "open"} {
		tell(r, "mollifier.store.breaker", one(redis == state), "store", "redis", "state", state)
		tell(r, "mollifier.store.breaker", one(postgres == state), "store", "postgres", "state", state)
	}
}

func (r *reading) pools(pools [2]runstore.Pool) {
	for _, p := range pools {
		tell(r, "mollifier.postgres.connections", p.Busy, "pool", p.Name, "state", "busy")
		tell(r, "mollifier.postgres.connections", p.Idle, "pool", p.Name, "state", "idle")
		tell(r, "mollifier.postgres.connections.limit", p.Most, "pool", p.Name)
		tell(r, "mollifier.postgres.connections.waits", p.Waits, "pool", p.Name)
		tell(r, "mollifier.postgres.connections.waited", p.Waited.Seconds(), "pool", p.Name)
	}
}

func (r *reading) ring(s ring.Stats) {
	tell(r, "mollifier.ring.entries", s.Entries)
	tell(r, "mollifier.ring.size", s.Bytes)
	tell(r, "mollifier.ring.evicted", s.Evicted)
	tell(r, "mollifier.ring.signals", s.Signals)
	tell(r, "mollifier.ring.restored", s.Runs, "what", "run")
	tell(r, "mollifier.ring.restored", s.Patches, "what", "change")
	tell(r, "mollifier.ring.refused", s.Refused)
}

// durabilities are what a run in the buffer may have survived.
var durabilities = [...]string{string(run.DurableRedis), string(run.DurableRedisFsync), string(run.DurableRedisReplica)}

func (r *reading) durability(of run.Durability, undurable uint64) {
	for _, d := range durabilities {
		tell(r, "mollifier.buffer.durability", one(string(of) == d), "durability", d)
	}
	tell(r, "mollifier.buffer.undurable", undurable)
}

// overrideKinds are what can be overridden.
var overrideKinds = [...]string{string(override.KindGate), string(override.KindDrain)}

func (r *reading) overrides(s *override.State) {
	n := map[override.Kind]int{}
	for i := range s.Overrides {
		n[s.Overrides[i].Kind]++
	}
	for _, kind := range overrideKinds {
		tell(r, "mollifier.overrides", n[override.Kind(kind)], "kind", kind)
	}
	tell(r, "mollifier.overrides.version", s.Version)
}
