// Package telemetrytest holds what is exported against what is documented.
package telemetrytest

import (
	"context"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/e0ff5a15/mollifier/telemetry"
)

// Series is one label set of a metric and its value: of a histogram, how many it
// was told.
type Series struct {
	Labels map[string]string
	Value  float64
}

// Collected is what a reader has collected, by the metric's name.
type Collected map[string][]Series

// Sum adds up the series that have all the given labels: names and values in turn.
func (c Collected) Sum(name string, labels ...string) (sum float64) {
	for _, s := range c[name] {
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && s.Labels[labels[i]] == labels[i+1]
		}
		if fits {
			sum += s.Value
		}
	}
	return sum
}

// Collect reads all metrics, and reports each that the table does not have, or has
// otherwise: another unit, a label too many or too few, a value outside its set, or
// more values than it may have.
func Collect(t testing.TB, reader metric.Reader) Collected {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	table := map[string]telemetry.Metric{}
	for _, m := range telemetry.Metrics() {
		table[m.Name] = m
	}
	out := Collected{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			known, ok := table[m.Name]
			if !ok {
				t.Errorf("%s is not in the table of metrics", m.Name)
				continue
			}
			if m.Unit != known.Unit || m.Description != known.Text {
				t.Errorf("%s has the unit %q and tells %q", m.Name, m.Unit, m.Description)
			}
			out[m.Name] = points(t, m)
			check(t, known, out[m.Name])
		}
	}
	return out
}

func points(t testing.TB, m metricdata.Metrics) (all []Series) {
	t.Helper()
	switch d := m.Data.(type) {
	case metricdata.Sum[float64]:
		for _, p := range d.DataPoints {
			all = append(all, Series{labels(p.Attributes), p.Value})
		}
	case metricdata.Gauge[float64]:
		for _, p := range d.DataPoints {
			all = append(all, Series{labels(p.Attributes), p.Value})
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			all = append(all, Series{labels(p.Attributes), float64(p.Count)})
		}
	default:
		t.Errorf("%s is a %T", m.Name, d)
	}
	return all
}

func labels(set attribute.Set) map[string]string {
	all := map[string]string{}
	for _, kv := range set.ToSlice() {
		all[string(kv.Key)] = kv.Value.String()
	}
	return all
}

func check(t testing.TB, m telemetry.Metric, all []Series) {
	t.Helper()
	values := map[string]map[string]bool{}
	for _, s := range all {
		if len(s.Labels) != len(m.Labels) {
			t.Errorf("%s has the labels %v", m.Name, s.Labels)
		}
		for _, l := range m.Labels {
			v, ok := s.Labels[l.Name]
			if !ok || l.Values != nil && !slices.Contains(l.Values, v) {
				t.Errorf("%s: %s is %q, there %v", m.Name, l.Name, v, ok)
			}
			if values[l.Name] == nil {
				values[l.Name] = map[string]bool{}
			}
			values[l.Name][v] = true
		}
	}
	for _, l := range m.Labels {
		if l.Values == nil && len(values[l.Name]) > l.Most {
			t.Errorf("%s: %d values of %s, at most %d", m.Name, len(values[l.Name]), l.Name, l.Most)
		}
	}
}
