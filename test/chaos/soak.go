package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
	"github.com/e0ff5a15/mollifier/test/chaos/nemesis"
	"github.com/e0ff5a15/mollifier/test/chaos/soak"
)

const (
	mib = 1 << 20
	// soakFaults: every so many rounds have one. No fault of a soak ends a process of a
	// node, or what it holds would be another's.
	soakFaults = 4
)

// soakNemeses break stores and the way to them, and leave the nodes alone.
var soakNemeses = []string{"redis-kill", "postgres-replies-cut", "redis-freeze", "postgres-kill", "redis-replies-cut", "postgres-terminate"}

// soakFlags: runs that are over go, but not before their round was judged.
var soakFlags = []string{"-keep", "3m"}

// soakReport is what a soak leaves, as JSON.
type soakReport struct {
	Took     string            `json:"took"`
	Rounds   int               `json:"rounds"`
	Runs     int               `json:"runsAcknowledged"`
	Bad      []string          `json:"bad"`
	Noted    []string          `json:"noted"` // errors outside of faults, as a busy machine makes them
	Minutes  []minute          `json:"minutes"`
	Series   []*soak.Series    `json:"series"`
	Verdicts map[string]string `json:"verdicts"`
}

// minute is how fast triggers were in one minute of the soak.
type minute struct {
	Minute   int     `json:"minute"`
	Triggers int     `json:"triggers"`
	P50      float64 `json:"p50Ms"`
	P99      float64 `json:"p99Ms"`
}

// sampler measures everything every so often.
type sampler struct {
	cluster *cluster.Cluster
	began   time.Time

	mu     sync.Mutex
	series map[string]*soak.Series
	order  []string
}

func (s *sampler) add(name string, kind soak.Kind, value float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.series[name]
	if of == nil {
		of = &soak.Series{Name: name, Kind: kind}
		s.series[name] = of
		s.order = append(s.order, name)
	}
	of.Samples = append(of.Samples, soak.Sample{At: time.Since(s.began), Value: value})
}

// run samples until ctx ends. What a fault does not let be asked is left out.
func (s *sampler) run(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		s.once(ctx)
		_ = cluster.Wait(ctx, every) // the loop looks at ctx
	}
}

func (s *sampler) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, n := range s.cluster.Nodes {
		if g, err := n.Measure(ctx); err == nil {
			s.add(n.Name+" resident", soak.Kind{Unit: "MiB", Allowed: 8}, float64(g.RSS)/mib)
			s.add(n.Name+" heap", soak.Kind{Unit: "MiB", Allowed: 4}, float64(g.Heap)/mib)
			s.add(n.Name+" goroutines", soak.Kind{Allowed: 20}, float64(g.Goroutines))
			s.add(n.Name+" files", soak.Kind{Allowed: 20}, float64(g.Files))
		}
	}
	if keys, bytes, err := s.cluster.RedisLevels(ctx); err == nil {
		s.add("redis keys", soak.Kind{Shown: true}, float64(keys)) // those of the last minute's traffic; see left
		s.add("redis memory", soak.Kind{Unit: "MiB", Allowed: 4}, float64(bytes)/mib)
	}
	if t, err := s.cluster.Tables(ctx); err == nil {
		s.add("runs rows", soak.Kind{Shown: true}, float64(t.Rows))
		s.add("runs table", soak.Kind{Unit: "MiB", Shown: true}, float64(t.Bytes)/mib)
		s.add("runs indexes", soak.Kind{Unit: "MiB", Shown: true}, float64(t.IndexBytes)/mib)
		s.add("runs dead rows", soak.Kind{Allowed: 20_000}, float64(t.Dead))
		if t.Rows > 1000 {
			s.add("bytes a row", soak.Kind{Unit: "B", Allowed: 200}, float64(t.Bytes+t.IndexBytes)/float64(t.Rows))
		}
	}
}

// level is what a series was last, for the progress line.
func (s *sampler) level(name string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.series[name]; of != nil {
		return of.Samples[len(of.Samples)-1].Value
	}
	return 0
}

// soaking plays round after round on one cluster for as long as it is told, each judged as
// any run is, samples all the while, and says what has grown.
func soaking(ctx context.Context, s settings, out io.Writer) (err error) {
	dir := filepath.Join(s.dir, "cluster")
	if err := os.RemoveAll(dir); err != nil { // of one that was interrupted
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Program: s.program, Nodes: s.nodes, Flags: append(slices.Clone(nodeFlags), soakFlags...), AOF: s.aof})
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, c.Close())
		}
	}()
	idle, _, err := c.RedisLevels(ctx)
	if err != nil {
		return err
	}
	plan, err := newPlan(settings{only: strings.Join(soakNemeses, ",")}, nemesis.All())
	if err != nil {
		return err
	}
	var (
		began   = time.Now()
		sample  = &sampler{cluster: c, began: began, series: map[string]*soak.Series{}}
		report  = soakReport{Bad: []string{}, Noted: []string{}, Verdicts: map[string]string{}}
		latency = map[int][]int64{}
		every   = min(10*time.Second, s.soak/60)
	)
	sampling, stop := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() { sample.run(sampling, every) })
	defer loop.Wait()
	defer stop()
	for i := 0; ctx.Err() == nil && time.Since(began) < s.soak; i++ {
		var faults []nemesis.Nemesis
		if i%soakFaults == soakFaults-1 {
			faults = plan(i / soakFaults)
		}
		r := &runner{settings: s, out: out, cluster: c, dir: dir}
		started := time.Since(began)
		r.done = func(ops []history.Op) {
			for i := range ops {
				if op := &ops[i]; op.Kind == history.Trigger && op.Outcome == history.OK {
					at := int((started + time.Duration(op.Return)) / time.Minute)
					latency[at] = append(latency[at], op.Return-op.Call)
				}
			}
		}
		r.noted = func(v history.Violation) {
			report.Noted = append(report.Noted, fmt.Sprintf("round %d: %s", i+1, v))
		}
		res := r.one(ctx, i, s.seed+uint64(i), faults)
		if ctx.Err() != nil {
			break
		}
		report.Rounds, report.Runs = report.Rounds+1, report.Runs+res.verdict.Acked
		if res.err != nil || len(res.verdict.Violations) > 0 {
			closed = r.cluster == nil // its evidence is kept
			report.Bad = append(report.Bad, res.line(i, 0))
			for _, v := range res.shown(8) {
				report.Bad = append(report.Bad, v.String())
			}
			break
		}
		fmt.Fprintf(out, "%5s of %s  round %d %s (%s): %d runs, %.0f operations/s; resident %.0f MiB, %.0f goroutines, %.0f files, %.0f keys in Redis, %.0f rows, %.0f dead\n",
			time.Since(began).Round(time.Second), s.soak, i+1, res.state(), names(faults), res.verdict.Acked, res.before,
			sample.level("node1 resident"), sample.level("node1 goroutines"), sample.level("node1 files"),
			sample.level("redis keys"), sample.level("runs rows"), sample.level("runs dead rows"))
	}
	stop()
	loop.Wait()
	if err := left(ctx, c, idle); err != nil && len(report.Bad) == 0 {
		report.Bad = append(report.Bad, err.Error())
	}
	report.Took = time.Since(began).Round(time.Second).String()
	report.Minutes = minutes(latency)
	grown := report.judge(sample)
	report.print(out)
	if err := writeJSON(filepath.Join(s.dir, "soak.json"), &report); err != nil {
		return err
	}
	if !closed {
		closed = true
		if err := c.Close(); err != nil {
			return err
		}
		if len(report.Bad) == 0 {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	switch {
	case len(report.Bad) > 0:
		return fmt.Errorf("a round broke a promise or could not be judged; see %s", s.dir)
	case len(grown) > 0:
		return fmt.Errorf("not flat: %s", strings.Join(grown, ", "))
	}
	return nil
}

const (
	// keysGoWithin is how long Redis remembers what is of no use any more, and some.
	keysGoWithin = 2 * time.Minute
	// keysStay are what nodes keep there besides what an idle deployment has.
	keysStay = 100
)

// left waits until Redis holds no more keys of ours than before the first trigger.
func left(ctx context.Context, c *cluster.Cluster, idle int64) error {
	waiting, cancel := context.WithTimeout(ctx, keysGoWithin)
	defer cancel()
	for {
		keys, _, err := c.RedisLevels(waiting)
		if err == nil && keys <= idle+keysStay {
			return nil
		}
		if cluster.Wait(waiting, time.Second) != nil {
			return fmt.Errorf("%d keys are left in Redis %s after the traffic; before it there were %d (%w)", keys, keysGoWithin, idle, errors.Join(waiting.Err(), err))
		}
	}
}

func minutes(latency map[int][]int64) (list []minute) {
	for at, all := range latency {
		slices.Sort(all)
		q := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))]) / 1e6 }
		list = append(list, minute{at + 1, len(all), q(.5), q(.99)})
	}
	slices.SortFunc(list, func(a, b minute) int { return a.Minute - b.Minute })
	return list
}

// judge judges all series, and names those that have grown.
func (r *soakReport) judge(s *sampler) (grown []string) {
	for _, name := range s.order {
		of := s.series[name]
		r.Series = append(r.Series, of)
		v := of.Judge()
		r.Verdicts[name] = string(v.Judgement)
		if v.Judgement == soak.Growing {
			grown = append(grown, name)
		}
	}
	return grown
}

func (r *soakReport) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s, %d rounds, %d runs acknowledged\n\n", r.Took, r.Rounds, r.Runs)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tfirst\tmedian\tlast\tgrowth\tan hour\t\t\t")
	for _, of := range r.Series {
		v := of.Judge()
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%+.1f\t%+.0f\t%s\t%s\t\n", of.Name, v.First, v.Median, v.Last, v.Growth, v.PerHour, of.Kind.Unit, v.Judgement)
	}
	_ = t.Flush() // to a report
	fmt.Fprintln(out, "\nminute  triggers   p50 ms   p99 ms")
	for _, m := range r.Minutes {
		fmt.Fprintf(out, "%6d  %8d  %7.1f  %7.1f\n", m.Minute, m.Triggers, m.P50, m.P99)
	}
	for _, line := range append(r.Noted, r.Bad...) {
		fmt.Fprintln(out, line)
	}
}
