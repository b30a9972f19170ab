package telemetry

import "slices"

// Kind is how the values of a metric are to be read.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"   // only grows, from the start of the process
	Gauge     Kind = "gauge"     // is, at the moment of asking
	Histogram Kind = "histogram" // is distributed, since the start of the process
)

// Scope is whose a metric is.
type Scope string

// The scopes.
const (
	// Node: add up over nodes.
	Node Scope = "node"
	// Deployment: every node tells the same, so take the largest and never the sum.
	Deployment Scope = "deployment"
)

// Label is one label of a metric: of a closed set of values, or of at most so many.
type Label struct {
	Name   string
	Values []string // closed; nil if they are only bounded
	Most   int      // of what is only bounded, at one time
}

// Metric is one metric as it is documented and registered.
type Metric struct {
	Name   string // in OpenTelemetry
	Kind   Kind
	Unit   string // in UCUM; what is counted in braces
	Text   string // what it tells
	Scope  Scope
	Labels []Label

	buckets []float64
}

// Metrics is every metric of this package, in the order of the documentation.
func Metrics() []Metric { return slices.Clone(table) }

func find(name string) *Metric {
	for i := range table {
		if table[i].Name == name {
			return &table[i]
		}
	}
	return nil
}
