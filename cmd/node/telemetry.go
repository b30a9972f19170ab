package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/e0ff5a15/mollifier/telemetry"
)

// metricsPath answers all metrics as Prometheus reads them, on the admin listener.
const metricsPath = "/metrics"

// maxSeries bounds the label sets of one metric, whatever is wrong with its labels.
const maxSeries = 2000

// telemetrySettings are the flags of traces and of the flight recorder.
type telemetrySettings struct {
	otlp   string
	sample float64
	slo    time.Duration
}

func (t *telemetrySettings) check() error {
	if t.otlp != "" {
		// The URL may hold a credential: it is not repeated.
		u, err := url.Parse(t.otlp)
		switch {
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
			return usagef("-otlp: must be a URL, http:// or https://, without a query")
		case u.User != nil:
			return usagef("-otlp: must not hold a credential; give it in the variable OTEL_EXPORTER_OTLP_HEADERS")
		}
	}
	if !(t.sample >= 0 && t.sample <= 1) {
		return usagef("-otlp-sample: must be 0 to 1")
	}
	if t.slo < 0 || t.slo > time.Minute {
		return usagef("-slo: must be 0 to 1m")
	}
	return nil
}

// observed is the telemetry of one node.
type observed struct {
	meters  *metric.MeterProvider
	tracers *trace.TracerProvider // nil for none
	http    *telemetry.HTTP
	page    http.Handler // what Prometheus reads
}

// observe makes the providers. It waits for nothing: an OTLP collector that is not
// there costs spans, and a line in the log.
func observe(ctx context.Context, set *settings, version string, log *slog.Logger) (*observed, error) {
	about := resource.NewSchemaless(attribute.String("service.name", "mollifier"), attribute.String("service.version", version))
	registry := prom.NewRegistry()
	reader, err := prometheus.New(prometheus.WithRegisterer(registry), prometheus.WithoutScopeInfo(),
		prometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
		collectors.MetricsGC, collectors.MetricsMemory, collectors.MetricsScheduler)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o := &observed{
		meters: metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(about), metric.WithCardinalityLimit(maxSeries),
			metric.WithExemplarFilter(exemplar.AlwaysOffFilter)),
		page: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorLog: metricsLog{log}, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
		}),
	}
	if set.telemetry.otlp != "" {
		to, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimRight(set.telemetry.otlp, "/")+"/v1/traces"))
		if err != nil {
			return nil, errors.New("-otlp: the exporter of traces could not be made") // the cause may hold the URL
		}
		o.tracers = trace.NewTracerProvider(trace.WithBatcher(quiet{to, log}), trace.WithResource(about),
			trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(set.telemetry.sample))))
		o.http, err = telemetry.NewHTTP(o.meters, o.tracers)
		return o, err
	}
	o.http, err = telemetry.NewHTTP(o.meters, nil)
	return o, err
}

// close sends what spans are left, within ctx.
func (o *observed) close(ctx context.Context) {
	if o.tracers != nil {
		_ = o.tracers.Shutdown(ctx) // was logged
	}
	_ = o.meters.Shutdown(ctx)
}

// metricsLog is the log of promhttp.
type metricsLog struct{ log *slog.Logger }

func (l metricsLog) Println(v ...any) {
	l.log.Warn("a metric could not be read", slog.String("cause", fmt.Sprint(v...)))
}

// quiet exports spans, and logs a failure without its text, which names hosts.
type quiet struct {
	trace.SpanExporter
	log *slog.Logger
}

// ExportSpans implements trace.SpanExporter. OpenTelemetry would write its error to
// a global handler.
func (q quiet) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	if err := q.SpanExporter.ExportSpans(ctx, spans); err != nil {
		q.log.Warn("spans could not be sent to the collector of -otlp", slog.Int("spans", len(spans)))
	}
	return nil
}
