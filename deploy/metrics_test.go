package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"go.yaml.in/yaml/v3"

	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/telemetry/telemetrytest"
)

// foreign are the metrics that are not the table's: of Prometheus itself, of the Go
// runtime and of the process.
var foreign = map[string]bool{"up": true, "process_resident_memory_bytes": true, "go_goroutines": true}

// scraped are the labels that Prometheus adds to what it scrapes.
var scraped = []string{"instance", "job"}

// series is a series' name in Prometheus, of which metric, and with which labels.
type series struct {
	metric telemetry.Metric
	labels []string
	values map[string][]string // closed sets
}

func exported(t *testing.T) map[string]series {
	t.Helper()
	all := map[string]series{}
	for _, m := range telemetry.Metrics() {
		name, err := telemetrytest.Name(m)
		if err != nil {
			t.Fatal(err)
		}
		labels, err := telemetrytest.Labels(m)
		if err != nil {
			t.Fatal(err)
		}
		s := series{m, labels, map[string][]string{}}
		for i, l := range m.Labels {
			s.values[labels[i]] = l.Values
		}
		if m.Kind != telemetry.Histogram {
			all[name] = s
			continue
		}
		all[name+"_sum"], all[name+"_count"] = s, s
		s.labels = append(slices.Clone(labels), "le")
		all[name+"_bucket"] = s
	}
	return all
}

// checker holds one expression against what is exported.
type checker struct {
	t     *testing.T
	where string
	all   map[string]series
	used  map[string]bool
}

func (c *checker) expression(text string) {
	c.t.Helper()
	parsed, err := metricsql.Parse(strings.ReplaceAll(text, "$__rate_interval", "5m"))
	if err != nil {
		c.t.Errorf("%s: %s: %v", c.where, text, err)
		return
	}
	c.walk(parsed, nil, nil)
}

// walk goes down to the metrics, inside which functions, grouped by which labels.
func (c *checker) walk(e metricsql.Expr, inside, by []string) {
	switch e := e.(type) {
	case *metricsql.BinaryOpExpr:
		c.walk(e.Left, inside, by)
		c.walk(e.Right, inside, by)
	case *metricsql.AggrFuncExpr:
		for _, a := range e.Args {
			c.walk(a, append(slices.Clone(inside), e.Name), append(slices.Clone(by), e.Modifier.Args...))
		}
	case *metricsql.FuncExpr:
		for _, a := range e.Args {
			c.walk(a, append(slices.Clone(inside), e.Name), by)
		}
	case *metricsql.RollupExpr:
		c.walk(e.Expr, inside, by)
	case *metricsql.MetricExpr:
		for _, filters := range e.LabelFilterss {
			c.metric(filters, inside, by)
		}
	}
}

func (c *checker) metric(filters []metricsql.LabelFilter, inside, by []string) {
	name := ""
	for _, f := range filters {
		if f.Label == "__name__" && !f.IsRegexp && !f.IsNegative {
			name = f.Value
		}
	}
	if foreign[name] {
		return
	}
	s, ok := c.all[name]
	if !ok {
		c.t.Errorf("%s: there is no metric %q", c.where, name)
		return
	}
	c.used[s.metric.Name] = true
	has := func(label string) bool { return slices.Contains(s.labels, label) || slices.Contains(scraped, label) }
	for _, label := range by {
		if !has(label) {
			c.t.Errorf("%s: %s has no label %s to group by", c.where, name, label)
		}
	}
	for _, f := range filters {
		if f.Label == "__name__" {
			continue
		}
		if !has(f.Label) {
			c.t.Errorf("%s: %s has no label %s", c.where, name, f.Label)
			continue
		}
		for value := range strings.SplitSeq(f.Value, "|") {
			if closed := s.values[f.Label]; closed != nil && !slices.Contains(closed, value) {
				c.t.Errorf("%s: %s of %s is never %q", c.where, f.Label, name, value)
			}
		}
	}
	rated := slices.Contains(inside, "rate") || slices.Contains(inside, "increase")
	if grows := s.metric.Kind != telemetry.Gauge; grows != rated {
		c.t.Errorf("%s: %s is a %s, and is rated: %v", c.where, name, s.metric.Kind, rated)
	}
	if quantile := slices.Contains(inside, "histogram_quantile"); quantile != strings.HasSuffix(name, "_bucket") || quantile && !slices.Contains(by, "le") {
		c.t.Errorf("%s: quantiles are of buckets, by le: %s", c.where, name)
	}
	// Every node tells the same of the deployment: their sum is so many times too much.
	if s.metric.Scope == telemetry.Deployment && !slices.Equal(inside, []string{"max"}) {
		c.t.Errorf("%s: %s is of the deployment, and inside %v", c.where, name, inside)
	}
}

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	text, err := os.ReadFile("prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// Alerts are about metrics that exist, and each has its entry in the runbooks.
func TestAlerts(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		entries = append(entries, m[1])
	}
	var alerts []string
	c := checker{t: t, all: exported(t), used: map[string]bool{}}
	for _, r := range rules(t) {
		c.where = r.Alert
		c.expression(r.Expr)
		alerts = append(alerts, r.Alert)
		want := "https://github.com/e0ff5a15/mollifier/blob/main/docs/runbooks.md#" + strings.ToLower(r.Alert)
		if r.Annotations["runbook_url"] != want || r.Annotations["summary"] == "" || r.For == "" {
			t.Errorf("%s: %+v, for %q", r.Alert, r.Annotations, r.For)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
	}
	if !slices.Equal(alerts, entries) || len(alerts) < 10 {
		t.Errorf("the alerts are\n%v\nthe runbooks are of\n%v", alerts, entries)
	}
	for _, m := range regexp.MustCompile("`(mollifier_[a-z_]+|http_server_[a-z_]+)").FindAllStringSubmatch(string(page), -1) {
		name := m[1]
		if _, ok := c.all[name]; !ok {
			if _, ok = c.all[name+"_bucket"]; !ok {
				t.Errorf("the runbooks name %s, which does not exist", name)
			}
		}
	}
}

// What Prometheus itself thinks of the rules, where its tool is installed.
func TestAlertsByPromtool(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "prometheus/alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct{ RefID, Expr, LegendFormat string }
}

// The dashboard is about metrics that exist; its panels do not overlap, and it shows
// most of what is told.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana/mollifier.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	c := checker{t: t, all: exported(t), used: map[string]bool{}}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		c.where = p.Title
		if ids[p.ID] || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if over := taken[[2]int{x, y}]; over != "" || x >= 24 {
					t.Errorf("%q lies over %q", p.Title, over)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			c.expression(target.Expr)
		}
	}
	if n := len(telemetry.Metrics()); len(c.used) < n/2 {
		t.Errorf("only %d of %d metrics are shown", len(c.used), n)
	}
}
