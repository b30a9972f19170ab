package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/history"
	"github.com/e0ff5a15/mollifier/test/chaos/nemesis"
)

func (res *result) state() string {
	switch {
	case res.err != nil:
		return "ERROR"
	case len(res.verdict.Violations) > 0:
		return "BROKEN"
	case res.void:
		return "void"
	}
	return "held"
}

// line is the progress of one run.
func (res *result) line(i, of int) string {
	number := fmt.Sprint(i + 1)
	if of > 0 {
		number += "/" + fmt.Sprint(of)
	}
	v := &res.verdict
	text := fmt.Sprintf("%-7s %-6s %-40s seed %d: %d operations, %.0f/s before, %.0f/s after; back in %s; drained in %s; %d runs acknowledged, %d lost, %d aliases; %d reads, %d stale; %d executions; 5xx: %s",
		number, res.state(), names(res.nemeses), res.seed, v.Ops, res.before, res.after,
		res.back.Round(time.Millisecond), res.drained.Round(time.Millisecond), v.Acked, v.Lost, v.Aliases, v.Reads, v.Stale, v.Executed, errorsOf(v))
	if res.stalls > 0 {
		text += fmt.Sprintf("; %d stalls of the machine", res.stalls)
	}
	if res.err != nil {
		text += "; " + res.err.Error()
	}
	if res.dir != "" {
		text += "; evidence in " + res.dir
	}
	return text
}

// shown are the first few violations.
func (res *result) shown(most int) []history.Violation {
	v := res.verdict.Violations
	return v[:min(len(v), most)]
}

// errorsOf lists 5xx by kind, and how fast they came in the middle of the fault.
func errorsOf(v *history.Verdict) string {
	if len(v.Errors5xx) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v.Errors5xx)) {
		parts = append(parts, fmt.Sprintf("%d %s", v.Errors5xx[name], name))
	}
	text := strings.Join(parts, ", ")
	if v.Refusal > 0 {
		text += fmt.Sprintf(" (99%% within %s)", v.Refusal.Round(time.Millisecond))
	}
	if v.Outside > 0 {
		text += fmt.Sprintf(", %d outside", v.Outside)
	}
	return text
}

// report sums runs up, by nemesis.
type report struct {
	settings settings
	all      []nemesis.Nemesis
	results  []result
}

func newReport(all []nemesis.Nemesis, s settings) *report { return &report{settings: s, all: all} }

func (p *report) add(res result) { p.results = append(p.results, res) }

func (p *report) bad() (n int) {
	for i := range p.results {
		if s := p.results[i].state(); s == "ERROR" || s == "BROKEN" {
			n++
		}
	}
	return n
}

// sum is what the runs with one nemesis came to.
type sum struct {
	single, paired, held, broken, void int
	lost, aliases, acked, reads, stale int
	worst, refusal                     time.Duration
	seeds                              []string
}

func (p *report) sums() map[string]*sum {
	sums := map[string]*sum{}
	for i := range p.results {
		res := &p.results[i]
		for _, n := range res.nemeses {
			s := sums[n.Name]
			if s == nil {
				s = &sum{}
				sums[n.Name] = s
			}
			if len(res.nemeses) == 1 {
				s.single++
				s.worst = max(s.worst, res.back)
				s.refusal = max(s.refusal, res.verdict.Refusal)
			} else {
				s.paired++
			}
			switch res.state() {
			case "held":
				s.held++
			case "void":
				s.void++
			default:
				s.broken++
				s.seeds = append(s.seeds, fmt.Sprint(res.seed))
			}
			s.lost += res.verdict.Lost
			s.aliases += res.verdict.Aliases
			s.acked += res.verdict.Acked
			s.reads += res.verdict.Reads
			s.stale += res.verdict.Stale
		}
	}
	return sums
}

// print writes the table.
func (p *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%d runs of %s from seed %d, Redis with appendfsync %s\n\n", len(p.results), p.settings.duration, p.settings.seed, p.settings.aof)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\talone\tin pairs\theld\tbroken\tvoid\tacknowledged\tlost\taliases\treads\tstale\tslowest back\tslowest 503\tseeds of broken runs")
	sums := p.sums()
	for _, n := range p.all {
		s := sums[n.Name]
		if s == nil {
			fmt.Fprintf(w, "%s %s\tnot run in this series\n", n.Class, n.Name)
			continue
		}
		lost := fmt.Sprint(s.lost)
		if n.Empties {
			lost += " (with a node's end)"
		}
		fmt.Fprintf(w, "%s %s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", n.Class, n.Name, s.single, s.paired, s.held, s.broken, s.void,
			s.acked, lost, s.aliases, s.reads, s.stale, s.worst.Round(time.Millisecond), s.refusal.Round(time.Millisecond), strings.Join(s.seeds, " "))
	}
	missing := make([]string, 0, len(nemesis.NotRun))
	for name := range nemesis.NotRun {
		missing = append(missing, name)
	}
	slices.Sort(missing)
	for _, name := range missing {
		fmt.Fprintf(w, "%s\tnot run: %s\n", name, nemesis.NotRun[name])
	}
	_ = w.Flush() // out is the user's terminal
}

func (p *report) write(file string) error {
	var b bytes.Buffer
	b.WriteString("```\n")
	for i := range p.results {
		fmt.Fprintln(&b, p.results[i].line(i, len(p.results)))
		for _, v := range p.results[i].verdict.Violations {
			fmt.Fprintln(&b, "    ", v)
		}
	}
	p.print(&b)
	b.WriteString("```\n")
	return os.WriteFile(file, b.Bytes(), 0o600)
}
