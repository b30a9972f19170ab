package telemetrytest

import (
	"github.com/prometheus/otlptranslator"

	"github.com/e0ff5a15/mollifier/telemetry"
)

// Name is the name of a metric in Prometheus, as the node exports it. A histogram
// has three series, with _bucket, _sum and _count behind its name.
func Name(m telemetry.Metric) (string, error) {
	kinds := map[telemetry.Kind]otlptranslator.MetricType{
		telemetry.Counter: otlptranslator.MetricTypeMonotonicCounter, telemetry.Gauge: otlptranslator.MetricTypeGauge,
		telemetry.Histogram: otlptranslator.MetricTypeHistogram,
	}
	n := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	return n.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: kinds[m.Kind]})
}

// Labels are the names of a metric's labels in Prometheus.
func Labels(m telemetry.Metric) (names []string, err error) {
	l := otlptranslator.LabelNamer{}
	for _, label := range m.Labels {
		name, err := l.Build(label.Name)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}
