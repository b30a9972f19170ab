package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/run"
)

// w3c reads and writes traceparent and tracestate.
var w3c propagation.TraceContext

// remote is the span that a trigger names as its parent; not valid if it names none.
func remote(parent, state string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	carried := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), carried))
}

// Span is the span of one trigger, or of the triggers of a batch; the zero Span is
// none, and may be used.
type Span struct{ span trace.Span }

// Trigger begins a span. It is a child of the span in ctx, or else of the one that
// the trigger names.
func (t *Telemetry) Trigger(ctx context.Context, parent, state string, triggers int) (context.Context, Span) {
	if t == nil || t.tracer == nil {
		return ctx, Span{}
	}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		if named := remote(parent, state); named.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, named)
		}
	}
	name := "mollifier.trigger"
	if triggers > 1 {
		name = "mollifier.trigger_batch"
	}
	ctx, span := t.tracer.Start(ctx, name)
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("mollifier.triggers", triggers))
	}
	return ctx, Span{span}
}

// Carry returns the trace context that the run is to be stored with: that of the
// span if it is sampled, and otherwise what the trigger came with, so that no run
// names a span that nobody has recorded.
func (s Span) Carry(parent, state string) (string, string) {
	if s.span == nil || !s.span.SpanContext().IsSampled() {
		return parent, state
	}
	carried := propagation.MapCarrier{}
	w3c.Inject(trace.ContextWithSpan(context.Background(), s.span), carried)
	return carried["traceparent"], carried["tracestate"]
}

// End ends the span with what the trigger was answered.
func (s Span) End(r run.Result, err error) {
	if s.span == nil {
		return
	}
	defer s.span.End()
	if !s.span.IsRecording() {
		return
	}
	if err != nil {
		s.fail(err)
		return
	}
	s.span.SetAttributes(
		attribute.String("mollifier.run", r.ID().String()), attribute.String("mollifier.run.canonical", r.Canonical().String()),
		attribute.Bool("mollifier.cached", r.Cached()), attribute.String("mollifier.state", string(r.State())),
		attribute.String("mollifier.identity", string(r.Identity())), attribute.String("mollifier.durability", string(r.Durability())),
	)
}

// EndAll ends the span of several triggers, of which some have failed.
func (s Span) EndAll(failed int) {
	if s.span == nil {
		return
	}
	if s.span.IsRecording() {
		s.span.SetAttributes(attribute.Int("mollifier.refused", failed))
	}
	s.span.End()
}

// fail says why in the words of a metric: an error's text may hold what is no
// business of whoever reads traces.
func (s Span) fail(err error) {
	reason := reasons[reasonOf(err)]
	s.span.SetAttributes(attribute.String("error.type", reason))
	s.span.SetStatus(codes.Error, reason)
}

// traceDrained tells of one transaction of the drain, and of each run in it whose
// trace is sampled. A transaction with none of these is not told of.
func (t *Telemetry) traceDrained(began, ended time.Time, landed []drain.Landed) {
	if t.tracer == nil {
		return
	}
	var parents []trace.SpanContext
	var of []*drain.Landed
	var links []trace.Link
	for i := range landed {
		trigger := &landed[i].Snapshot.Trigger
		if parent := remote(trigger.TraceParent, trigger.TraceState); parent.IsSampled() {
			parents, of, links = append(parents, parent), append(of, &landed[i]), append(links, trace.Link{SpanContext: parent})
		}
	}
	if len(of) == 0 {
		return
	}
	root := context.Background()
	_, batch := t.tracer.Start(root, "mollifier.drain", trace.WithNewRoot(), trace.WithTimestamp(began), trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int("mollifier.runs", len(landed))))
	back := trace.WithLinks(trace.Link{SpanContext: batch.SpanContext()})
	for i, l := range of {
		// Begun when it was worked on, and not at its acceptance: that was told by the
		// trigger's span, by another clock.
		_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(root, parents[i]), "mollifier.materialise",
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began), back)
		if span.IsRecording() {
			span.SetAttributes(
				attribute.String("mollifier.run", l.Snapshot.ID.String()), attribute.String("mollifier.run.canonical", l.Canonical.String()),
				attribute.Bool("mollifier.aliased", l.Aliased), attribute.Float64("mollifier.dwell", l.Dwell.Seconds()),
			)
		}
		span.End(trace.WithTimestamp(ended))
	}
	batch.End(trace.WithTimestamp(ended))
}
