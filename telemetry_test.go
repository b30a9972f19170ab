package mollifier_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/telemetry/telemetrytest"
)

// A storm over many environments and organisations: what is told adds up, under
// labels that the table allows.
func TestMetricsOfAStorm(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	cfg := tripping(t)
	cfg.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
	cfg.Enrolled = func(organisation string) bool { return organisation != "free" }
	e := open(t, cfg)
	const each = 8
	var callers sync.WaitGroup
	environments := []string{"prod", "staging", "CANARYenvironment"}
	for i := range 3 * each {
		callers.Go(func() {
			for _, organisation := range []string{"acme", "free"} {
				tr := order(fmt.Sprint("CANARYkey", i%each))
				tr.Organisation, tr.Environment, tr.Task = organisation, organisation+environments[i/each], "CANARYtask"
				if _, err := e.Trigger(t.Context(), tr); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if _, err := e.Trigger(t.Context(), run.Trigger{}); err == nil {
		t.Error("an empty trigger was taken")
	}
	if _, err := e.TriggerBatch(t.Context(), "batch_1", []run.Trigger{order(""), order(""), {Organisation: "acme", Environment: "prod"}}); err != nil {
		t.Error(err)
	}
	drained(t, cfg)
	got := telemetrytest.Collect(t, reader)
	const triggers = 2*3*each + 2
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{triggers, "mollifier.triggers", nil},
		{triggers, telemetry.TriggersAnswered, nil},
		{triggers, telemetry.TriggersAnswered, []string{"outcome", "created", "identity", "confirmed"}},
		{2, telemetry.TriggersRefused, []string{"reason", "invalid"}},
		{2, telemetry.TriggersRefused, nil},
		{3 * each, "mollifier.gate.decisions", []string{"enrolled", "false", "reason", "not_enrolled", "outcome", "pass"}},
		{0, "mollifier.triggers.waiting", nil},
		{0, "mollifier.buffer.unreadable", nil},
		{1, "mollifier.store.breaker", []string{"store", "redis", "state", "closed"}},
		{1, "mollifier.store.breaker", []string{"store", "postgres", "state", "closed"}},
		{0, "mollifier.panics", nil},
		{0, "mollifier.aliases", nil},
	} {
		if n := got.Sum(c.name, c.labels...); n != c.want {
			t.Errorf("%s %v: %v, want %v", c.name, c.labels, n, c.want)
		}
	}
	buffered := got.Sum(telemetry.TriggersAnswered, "state", "buffered")
	if buffered == 0 || got.Sum("mollifier.gate.decisions", "outcome", "mollify") != buffered {
		t.Errorf("%v were buffered, %v mollified", buffered, got.Sum("mollifier.gate.decisions", "outcome", "mollify"))
	}
	if n := got.Sum("mollifier.flights"); n < triggers {
		t.Errorf("%v flights of %d keys", n, triggers)
	}
	for _, name := range []string{"mollifier.drain.leased", "mollifier.buffer.dwell", "mollifier.materialise.duration"} {
		if n := got.Sum(name); n < buffered {
			t.Errorf("%s: %v of %v", name, n, buffered)
		}
	}
	if a, b := got.Sum("mollifier.batch.duration", "writer", "settles"), got.Sum("mollifier.batch.items", "writer", "settles"); a == 0 || a != b {
		t.Errorf("batches of settles: %v and %v", a, b)
	}
	if text := fmt.Sprint(got); strings.Contains(text, "CANARY") {
		t.Error("a label has what the customer chose")
	}
}

// tracing is an engine's traces, all of them sampled.
func tracing(cfg *mollifier.Config) *tracetest.SpanRecorder {
	spans := tracetest.NewSpanRecorder()
	cfg.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(spans), trace.WithSampler(trace.ParentBased(trace.AlwaysSample())))
	return spans
}

func named(spans *tracetest.SpanRecorder, name string) (all []trace.ReadOnlySpan) {
	for _, s := range spans.Ended() {
		if s.Name() == name {
			all = append(all, s)
		}
	}
	return all
}

func attributeOf(s trace.ReadOnlySpan, key string) string {
	for _, kv := range s.Attributes() {
		if kv.Key == attribute.Key(key) {
			return kv.Value.String()
		}
	}
	return ""
}

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// A buffered run's trace is one: from what its caller sent, over the trigger, to the
// drain of another node, which links to it.
func TestTraceGoesThroughTheBuffer(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	taking, draining := cfg, cfg
	taking.NoDrain = true
	took, drainedBy := tracing(&taking), tracing(&draining)
	e := open(t, taking)
	trip(t, e)
	tr := order("42")
	tr.TraceParent, tr.TraceState = "00-"+callersTrace+"-"+callersSpan+"-01", "vendor=1"
	result := trigger(t, e, tr)
	var span trace.ReadOnlySpan
	for _, s := range named(took, "mollifier.trigger") {
		if attributeOf(s, "mollifier.run") == result.ID().String() {
			span = s
		}
	}
	switch {
	case span == nil:
		t.Fatal("the trigger has no span")
	case span.SpanContext().TraceID().String() != callersTrace || span.Parent().SpanID().String() != callersSpan:
		t.Errorf("the trigger's span is of %v, below %v", span.SpanContext(), span.Parent())
	case attributeOf(span, "mollifier.state") != "buffered":
		t.Errorf("attributes: %v", span.Attributes())
	}
	r, err := e.Run(t.Context(), "prod", result.ID())
	if err != nil {
		t.Fatal(err)
	}
	carried := "00-" + callersTrace + "-" + span.SpanContext().SpanID().String() + "-01"
	if r.Trigger.TraceParent != carried || r.Trigger.TraceState != "vendor=1" {
		t.Errorf("the run in the buffer carries %q, %q", r.Trigger.TraceParent, r.Trigger.TraceState)
	}

	open(t, draining)
	drained(t, cfg)
	if r, err = e.Run(t.Context(), "prod", result.ID()); err != nil || r.Trigger.TraceParent != carried {
		t.Errorf("the row carries %q: %v", r.Trigger.TraceParent, err)
	}
	var of trace.ReadOnlySpan
	waitFor(t, "the drain tells of the run", func() bool {
		for _, s := range named(drainedBy, "mollifier.materialise") {
			if attributeOf(s, "mollifier.run") == result.ID().String() {
				of = s
			}
		}
		return of != nil && len(named(drainedBy, "mollifier.drain")) > 0
	})
	if of.SpanContext().TraceID().String() != callersTrace || of.Parent().SpanID() != span.SpanContext().SpanID() {
		t.Errorf("its span is of %v, below %v", of.SpanContext(), of.Parent())
	}
	linked := false
	for _, s := range named(drainedBy, "mollifier.drain") {
		for _, l := range s.Links() {
			linked = linked || l.SpanContext.SpanID() == span.SpanContext().SpanID() &&
				len(of.Links()) == 1 && of.Links()[0].SpanContext.SpanID() == s.SpanContext().SpanID()
		}
		if s.SpanContext().TraceID().String() == callersTrace || s.Parent().IsValid() {
			t.Error("the transaction is in one of the traces that it serves")
		}
	}
	if !linked {
		t.Error("the transaction and the run are not linked")
	}
}

// What is not sampled leaves a run with what its caller sent, and the drain silent.
func TestWhatIsNotSampledIsNotNamed(t *testing.T) {
	t.Parallel()
	cfg := tripping(t)
	spans := tracetest.NewSpanRecorder()
	cfg.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(spans), trace.WithSampler(trace.NeverSample()))
	e := open(t, cfg)
	trip(t, e)
	for key, parent := range map[string]string{"none": "", "sent": "00-" + callersTrace + "-" + callersSpan + "-00"} {
		tr := order(key)
		tr.TraceParent = parent
		r, err := e.Run(t.Context(), "prod", trigger(t, e, tr).ID())
		if err != nil || r.Trigger.TraceParent != parent {
			t.Errorf("%s: the run carries %q: %v", key, r.Trigger.TraceParent, err)
		}
	}
	drained(t, cfg)
	if n := len(spans.Ended()); n != 0 {
		t.Errorf("%d spans", n)
	}
}
