package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/ring"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/telemetry/telemetrytest"
)

// everything is a source in which everything has happened.
type everything struct {
	organisations int
	refusals      *telemetry.Refusals
}

func (e everything) Refusals() *telemetry.Refusals { return e.refusals }

func (everything) Shards() actors.Stats { return actors.Stats{Triggers: 100, Flights: 10, Panics: 1} }
func (everything) Pressure() string     { return gate.ReasonPressurePool.String() }

func (everything) Gate() gate.Stats {
	s := gate.Stats{Trips: 1, Calls: 5, Failures: 2}
	for o := gate.Pass; o <= gate.Shadow; o++ {
		for r := gate.Reason(0); r.String() != ""; r++ {
			s.Decided = append(s.Decided, gate.Decided{Outcome: o, Reason: r, Enrolled: true, Count: 1}, gate.Decided{Outcome: o, Reason: r, Count: 1})
		}
	}
	return s
}

func (e everything) Levels() drain.Levels {
	l := drain.Levels{Organisations: map[string]drain.Level{}, Stale: 1, Dead: 1, Age: time.Second}
	for i := range e.organisations {
		one := drain.Level{Entries: int64(i + 1), Bytes: 10, Oldest: time.Duration(i) * time.Second}
		l.Organisations[fmt.Sprintf("org-%03d", i)] = one
		l.Total.Entries, l.Total.Bytes, l.Total.Oldest = l.Total.Entries+one.Entries, l.Total.Bytes+one.Bytes, max(l.Total.Oldest, one.Oldest)
	}
	return l
}

func (everything) Drain() (drain.Stats, float64, bool) {
	return drain.Stats{Materialised: 50, Aliased: 3, Overtaken: 1, Reaped: 2}, 1000, true
}
func (everything) Ring() ring.Stats { return ring.Stats{Entries: 1, Evicted: 2} }
func (everything) Durability() (run.Durability, uint64) {
	return run.DurableRedisFsync, 3
}

func (everything) Pools() [2]runstore.Pool {
	return [2]runstore.Pool{{Name: "hot", Busy: 2, Most: 5, Waits: 7, Waited: time.Second}, {Name: "cold", Idle: 1, Most: 3}}
}

func (everything) Overrides() *override.State {
	return &override.State{Version: 9, Overrides: []override.Override{{Kind: override.KindDrain}, {Kind: override.KindGate}, {Kind: override.KindGate}}}
}
func (everything) Unrecorded() uint64 { return 1 }

func (everything) Removed() map[string]int            { return map[string]int{"run": 3, "audit": 1} }
func (everything) Breakers() (redis, postgres string) { return "open", "closed" }
func (everything) Unfit() error                       { return errors.New("evicts") }
func (everything) Enrolled(organisation string) bool  { return organisation != "org-099" }

func told(t testing.TB, organisations int, reader metric.Reader) *telemetry.Telemetry {
	t.Helper()
	return toldWith(t, everything{organisations, &telemetry.Refusals{}}, reader)
}

func toldWith(t testing.TB, source everything, reader metric.Reader) *telemetry.Telemetry {
	t.Helper()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	t.Cleanup(func() { _ = meters.Shutdown(context.Background()) })
	all, err := telemetry.New(meters, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Read(source); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := all.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, w := range []string{"claims", "settles", "debounces", "checks", "looks", "accepts"} {
		all.Batch(w, 7, time.Millisecond)
	}
	all.Took(run.NewResult(run.Answer{ID: run.MintID(time.Now(), 1)}), nil, time.Millisecond)
	all.Waited(time.Millisecond)
	all.Transaction(time.Now(), time.Now(), 3, []drain.Landed{{Snapshot: &run.Snapshot{}, Dwell: time.Second}})
	http, err := telemetry.NewHTTP(meters, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, request := http.Begin(get(t, "/api/v3/runs/run_1"), "/api/v3/runs/{runId}")
	request.End(200)
	return all
}

// Every metric of the table is told, and nothing else, whoever has how much in the buffer.
func TestWhatIsToldIsInTheTable(t *testing.T) {
	t.Parallel()
	for _, organisations := range []int{0, 1, 100} {
		reader := metric.NewManualReader()
		told(t, organisations, reader)
		got := telemetrytest.Collect(t, reader)
		for _, m := range telemetry.Metrics() {
			if len(got[m.Name]) == 0 && (organisations > 0 || !slices.ContainsFunc(m.Labels, func(l telemetry.Label) bool { return l.Name == "organisation" })) {
				t.Errorf("%s is not told", m.Name)
			}
		}
	}
}

// Of a hundred organisations those with the most have a label, the rest share one,
// and none that is not enrolled is named, however much it has.
func TestOrganisationsAreBounded(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	told(t, 100, reader)
	got := telemetrytest.Collect(t, reader)
	entries := got[telemetry.BufferOrganisation]
	if len(entries) != 21 {
		t.Fatalf("%d organisations", len(entries))
	}
	if n := got.Sum(telemetry.BufferOrganisation); n != 5050 {
		t.Errorf("together they have %v", n)
	}
	if n := got.Sum(telemetry.BufferOrganisation, "organisation", "org-098"); n != 99 {
		t.Errorf("the second largest has %v", n)
	}
	// 100, which is not enrolled, and 1 to 79.
	if n := got.Sum(telemetry.BufferOrganisation, "organisation", telemetry.Others); n != 100+79*80/2 {
		t.Errorf("the others have %v", n)
	}
	if n := got.Sum("mollifier.buffer.organisation.oldest.age", "organisation", telemetry.Others); n != 99 {
		t.Errorf("the oldest of the others waits %v", n)
	}
}

func TestAnswersAreCounted(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	source := everything{refusals: &telemetry.Refusals{}}
	all := toldWith(t, source, reader)
	id := run.MintID(time.Now(), 1)
	all.Answered(run.NewResult(run.Answer{ID: id}), nil)
	all.Answered(run.NewResult(run.Answer{ID: id, Cached: true, State: run.Buffered, Identity: run.Provisional}), nil)
	for _, c := range []struct {
		reason string
		err    error
	}{
		{"invalid", &run.InvalidError{Field: "f"}},
		{"overloaded", &run.RefusedError{Reason: run.ErrOverloaded, Part: "shard"}},
		{"buffer_full", &run.RefusedError{Reason: run.ErrOverloaded, Part: "buffer"}},
		{"over_quota", &run.RefusedError{Reason: run.ErrQuota, Part: "buffer"}},
		{"unavailable", fmt.Errorf("wrapped: %w", run.ErrUnavailable)},
		{"claim_timeout", &run.RefusedError{Reason: run.ErrClaimTimeout}},
		{"in_flight", &run.InFlightError{}},
		{"closed", run.ErrClosed},
		{"abandoned", context.DeadlineExceeded},
		{"other", errors.New("something else")},
	} {
		source.refusals.Count(c.err)
		if n := telemetrytest.Collect(t, reader).Sum(telemetry.TriggersRefused, "reason", c.reason); n != 1 {
			t.Errorf("%s: %v", c.reason, n)
		}
	}
	got := telemetrytest.Collect(t, reader)
	if n := got.Sum(telemetry.TriggersAnswered, "outcome", "created", "state", "materialised", "identity", "confirmed"); n != 1 {
		t.Errorf("created: %v", n)
	}
	if n := got.Sum(telemetry.TriggersAnswered, "outcome", "cached", "state", "buffered", "identity", "provisional"); n != 1 {
		t.Errorf("cached: %v", n)
	}
	if n := got.Sum("mollifier.triggers.payload_mismatches"); n != 1 {
		t.Errorf("mismatches: %v", n)
	}
	if n := got.Sum("mollifier.aliases", "cause", "unseen"); n != 2 {
		t.Errorf("aliases of what was not seen: %v", n)
	}
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{2, "mollifier.overrides", []string{"kind", "gate"}},
		{1, "mollifier.overrides", []string{"kind", "drain"}},
		{1, "mollifier.buffer.durability", nil},
		{1, "mollifier.buffer.durability", []string{"durability", "redis-fsync"}},
		{2, "mollifier.postgres.connections", []string{"pool", "hot", "state", "busy"}},
		{2, "mollifier.ring.evicted", nil},
	} {
		if n := got.Sum(c.name, c.labels...); n != c.want {
			t.Errorf("%s %v: %v, want %v", c.name, c.labels, n, c.want)
		}
	}
	if n := got.Sum("mollifier.store.breaker", "store", "redis", "state", "open"); n != 1 {
		t.Errorf("the open breaker: %v", n)
	}
}

// How long triggers waited is told by what became of them.
func TestTriggersAreTimed(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	all := told(t, 0, reader)
	answer := func(a run.Answer) run.Result {
		a.ID = run.MintID(time.Now(), 1)
		return run.NewResult(a)
	}
	all.Took(answer(run.Answer{State: run.Buffered}), nil, time.Second)
	all.Took(answer(run.Answer{State: run.Buffered, Cached: true}), nil, time.Second)
	all.Took(run.Result{}, run.ErrQuota, time.Second)
	got := telemetrytest.Collect(t, reader)
	for _, outcome := range []string{"passed", "mollified", "cached", "refused"} {
		if n := got.Sum("mollifier.trigger.duration", "outcome", outcome); n != 1 {
			t.Errorf("%s: %v", outcome, n)
		}
	}
}

// What counts a trigger allocates nothing, and without providers there is nothing.
func TestCountingAllocatesNothing(t *testing.T) {
	all := told(t, 1, metric.NewManualReader())
	r := run.NewResult(run.Answer{ID: run.MintID(time.Now(), 1)})
	none, err := telemetry.New(nil, nil)
	if none != nil || err != nil {
		t.Fatal(none, err)
	}
	for name, which := range map[string]*telemetry.Telemetry{"measured": all, "not measured": none} {
		if n := testing.AllocsPerRun(100, func() {
			ctx, span := which.Trigger(t.Context(), "", "", 1)
			_ = ctx
			span.Carry("", "")
			which.Answered(r, nil)
			which.Took(r, nil, time.Millisecond)
			span.End(r, nil)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
