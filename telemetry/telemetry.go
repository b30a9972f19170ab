package telemetry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/e0ff5a15/mollifier/actors"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/run"
)

// scope is the name under which instruments and spans are made.
const scope = "github.com/e0ff5a15/mollifier"

// Telemetry is what one engine tells. Nil tells nothing: its methods may be called.
// They are safe for concurrent use.
type Telemetry struct {
	answers    answers
	tracer     trace.Tracer // nil for none
	meter      metric.Meter // nil for none
	histograms map[string]metric.Float64Histogram
	writers    map[string]metric.MeasurementOption // label sets, made once
	outcomes   [len(outcomes)][]metric.RecordOption
	readings   metric.Registration
}

var (
	_ actors.Observer = (*Telemetry)(nil)
	_ drain.Observer  = (*Telemetry)(nil)
)

// New makes the instruments of an engine. A nil provider is none of that kind; with
// both nil, so is the answer.
func New(meters metric.MeterProvider, tracers trace.TracerProvider) (*Telemetry, error) {
	if meters == nil && tracers == nil {
		return nil, nil
	}
	t := &Telemetry{writers: map[string]metric.MeasurementOption{}}
	if tracers != nil {
		t.tracer = tracers.Tracer(scope)
	}
	if meters == nil {
		return t, nil
	}
	t.meter = meters.Meter(scope)
	for _, w := range byWriter.Values {
		t.writers[w] = metric.WithAttributeSet(attribute.NewSet(attribute.String(byWriter.Name, w)))
	}
	for i, o := range outcomes {
		t.outcomes[i] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", o)))}
	}
	var err error
	t.histograms, err = histograms(t.meter, triggerDuration, batchItems, batchDuration, claimWait, bufferDwell, drainItems, drainDuration, timeToMaterialise)
	return t, err
}

func histograms(meter metric.Meter, names ...string) (map[string]metric.Float64Histogram, error) {
	made := map[string]metric.Float64Histogram{}
	for _, name := range names {
		m := find(name)
		h, err := meter.Float64Histogram(name, metric.WithUnit(m.Unit), metric.WithDescription(m.Text), metric.WithExplicitBucketBoundaries(m.buckets...))
		if err != nil {
			return nil, fmt.Errorf("telemetry: %s: %w", name, err)
		}
		made[name] = h
	}
	return made, nil
}

// Close stops being read. What was begun to be told may still be.
func (t *Telemetry) Close() error {
	if t == nil || t.readings == nil {
		return nil
	}
	return t.readings.Unregister()
}

// Answered counts what a trigger was answered.
func (t *Telemetry) Answered(r run.Result, err error) {
	if t != nil && err == nil {
		t.answers.count(r)
	}
}

// Took tells how long a trigger that came alone waited for what it was answered.
func (t *Telemetry) Took(r run.Result, err error, d time.Duration) {
	if t == nil || t.meter == nil {
		return
	}
	outcome := 0
	switch {
	case err != nil:
		outcome = outcomeRefused
	case r.Cached():
		outcome = outcomeCached
	case r.State() == run.Buffered:
		outcome = outcomeMollified
	}
	t.record(triggerDuration, d.Seconds(), t.outcomes[outcome]...)
}

func (t *Telemetry) record(name string, v float64, o ...metric.RecordOption) {
	if h := t.histograms[name]; h != nil {
		h.Record(context.Background(), v, o...)
	}
}

// Batch implements [actors.Observer].
func (t *Telemetry) Batch(writer string, items int, took time.Duration) {
	if t.meter == nil {
		return
	}
	labels, ok := t.writers[writer]
	if !ok {
		return
	}
	t.record(batchItems, float64(items), labels)
	t.record(batchDuration, took.Seconds(), labels)
}

// Waited implements [actors.Observer].
func (t *Telemetry) Waited(d time.Duration) { t.record(claimWait, d.Seconds()) }

// Transaction implements [drain.Observer].
func (t *Telemetry) Transaction(began, ended time.Time, entries int, landed []drain.Landed) {
	took := ended.Sub(began)
	t.record(drainItems, float64(entries))
	t.record(drainDuration, took.Seconds())
	for i := range landed {
		l := &landed[i]
		t.record(bufferDwell, l.Dwell.Seconds())
		t.record(timeToMaterialise, (l.Dwell + l.Worked).Seconds())
	}
	t.traceDrained(began, ended, landed)
}

var errTwice = errors.New("telemetry: one Telemetry is of one engine")
