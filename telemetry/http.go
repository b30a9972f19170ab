package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// HTTP is what an HTTP server tells of its requests, by the semantic conventions of
// OpenTelemetry. Nil tells nothing.
type HTTP struct {
	tracer   trace.Tracer            // nil for none
	duration metric.Float64Histogram // nil for none
	labels   sync.Map                // of exchange, the metric.MeasurementOption
}

// exchange is the labels of a request: each from a closed set, whatever was asked.
type exchange struct {
	method, route string
	status        int
}

// NewHTTP makes the instruments of a server; see [New].
func NewHTTP(meters metric.MeterProvider, tracers trace.TracerProvider) (*HTTP, error) {
	if meters == nil && tracers == nil {
		return nil, nil
	}
	h := &HTTP{}
	if tracers != nil {
		h.tracer = tracers.Tracer(scope)
	}
	if meters != nil {
		made, err := histograms(meters.Meter(scope), Requests)
		if err != nil {
			return nil, err
		}
		h.duration = made[Requests]
	}
	return h, nil
}

// Request is one request that is being served; the zero Request is none.
type Request struct {
	of            *HTTP
	began         time.Time
	method, route string
	span          trace.Span
}

// Begin is told of a request and of the route that it matched: the pattern and never
// the path, "" for none. The answered context has the request's span.
func (h *HTTP) Begin(r *http.Request, route string) (context.Context, Request) {
	ctx := r.Context()
	if h == nil {
		return ctx, Request{}
	}
	b := Request{of: h, began: time.Now(), method: method(r.Method), route: route}
	if h.tracer == nil {
		return ctx, b
	}
	name := b.method
	if route != "" {
		name += " " + route
	}
	ctx = w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, b.span = h.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	if b.span.IsRecording() {
		b.span.SetAttributes(attribute.String("http.request.method", b.method), attribute.String("http.route", route))
	}
	return ctx, b
}

// End is told of the answer.
func (b Request) End(status int) {
	h := b.of
	if h == nil {
		return
	}
	if b.span != nil {
		if b.span.IsRecording() {
			b.span.SetAttributes(attribute.Int("http.response.status_code", status))
			if status >= 500 {
				b.span.SetStatus(codes.Error, strconv.Itoa(status))
			}
		}
		b.span.End()
	}
	if h.duration == nil {
		return
	}
	e := exchange{b.method, b.route, status}
	labels, ok := h.labels.Load(e)
	if !ok {
		labels, _ = h.labels.LoadOrStore(e, metric.WithAttributeSet(attribute.NewSet(
			attribute.String("http.request.method", e.method), attribute.String("http.route", e.route),
			attribute.Int("http.response.status_code", e.status),
		)))
	}
	h.duration.Record(context.Background(), time.Since(b.began).Seconds(), labels.(metric.MeasurementOption))
}

// method is a method that is known, or _OTHER: a client may send any word.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return "_OTHER"
}
