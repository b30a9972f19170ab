package telemetry_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/exporters/prometheus"

	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/telemetry/telemetrytest"
)

var rewrite = flag.Bool("rewrite", false, "write docs/metrics.md anew")

// parts are the headings of the page: a metric stands under the longest that its
// name begins with.
var parts = []struct{ prefix, title string }{
	{"mollifier.trigger", "Triggers"},
	{"mollifier.flights", "Flights and claims"},
	{"mollifier.claim", "Flights and claims"},
	{"mollifier.batch", "Flights and claims"},
	{"mollifier.gate", "Gate"},
	{"mollifier.buffer", "Buffer"},
	{"mollifier.drain", "Drain"},
	{"mollifier.materialise", "Drain"},
	{"mollifier.leases", "Drain"},
	{"mollifier.aliases", "Drain"},
	{"mollifier.ring", "Ring"},
	{"mollifier.overrides", "Overrides"},
	{"mollifier.postgres", "Stores and process"},
	{"mollifier.retention", "Stores and process"},
	{"mollifier.store", "Stores and process"},
	{"mollifier.panics", "Stores and process"},
	{"http.", "HTTP"},
}

func titleOf(t *testing.T, name string) string {
	t.Helper()
	for _, p := range parts {
		if strings.HasPrefix(name, p.prefix) {
			return p.title
		}
	}
	t.Errorf("%s belongs to no part of the page", name)
	return ""
}

func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	last := ""
	for _, m := range telemetry.Metrics() {
		if title := titleOf(t, m.Name); title != last {
			fmt.Fprintf(&b, "\n### %s\n\n| metric | kind, unit | labels | what it tells |\n| --- | --- | --- | --- |\n", title)
			last = title
		}
		name, err := telemetrytest.Name(m)
		if err != nil {
			t.Fatal(err)
		}
		inProm, err := telemetrytest.Labels(m)
		if err != nil {
			t.Fatal(err)
		}
		var labels []string
		for i, l := range m.Labels {
			switch {
			case len(l.Values) > 0:
				labels = append(labels, fmt.Sprintf("`%s`: %s", inProm[i], strings.Join(l.Values, ", ")))
			default:
				labels = append(labels, fmt.Sprintf("`%s`: at most %d", inProm[i], l.Most))
			}
		}
		text := m.Text
		if m.Scope == telemetry.Deployment {
			text += " *Of the deployment.*"
		}
		fmt.Fprintf(&b, "| `%s`<br>`%s` | %s, %s | %s | %s |\n", m.Name, name, m.Kind, m.Unit, strings.Join(labels, "<br>"), text)
	}
	return b.String()
}

// docs/metrics.md has the metrics that there are.
func TestPageHasTheTable(t *testing.T) {
	t.Parallel()
	const page, begin, end = "../docs/metrics.md", "<!-- table: go test ./telemetry -run TestPageHasTheTable -rewrite -->\n", "<!-- end of the table -->\n"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(raw), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("the page has no place for the table")
	}
	want := before + begin + table(t) + "\n" + end + after
	switch {
	case want == string(raw):
	case *rewrite:
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not up to date: go test ./telemetry -run TestPageHasTheTable -rewrite", page)
	}
}

// The page's names are those that Prometheus gets.
func TestPrometheusGetsTheNamesOfThePage(t *testing.T) {
	t.Parallel()
	registry := prom.NewRegistry()
	reader, err := prometheus.New(prometheus.WithRegisterer(registry), prometheus.WithoutScopeInfo(),
		prometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		t.Fatal(err)
	}
	told(t, 3, reader)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, f := range families {
		if f.GetName() != "target_info" {
			got = append(got, f.GetName())
		}
	}
	for _, m := range telemetry.Metrics() {
		name, err := telemetrytest.Name(m)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("exported\n%s\ndocumented\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
