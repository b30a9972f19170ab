package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
	"github.com/e0ff5a15/mollifier/test/chaos/load"
	"github.com/e0ff5a15/mollifier/test/chaos/nemesis"
)

const (
	// startWithin bounds the start of a cluster.
	startWithin = 2 * time.Minute
	// grace is how long after a fault errors are still put down to it.
	grace = 2 * time.Second
	// claimTTL is what the nodes are started with. A key whose owner died is
	// blocked for so long, and who waits for it is refused after its wait budget.
	claimTTL   = 5 * time.Second
	waitBudget = 3 * time.Second
	// judgeWithin bounds the search for an order of one key's history.
	judgeWithin = 60 * time.Second
)

// nodeFlags make a small deployment in which the gate trips several times a run.
var nodeFlags = []string{
	"-gate-threshold", "25", "-gate-window", "200ms", "-gate-hold", "500ms", "-postgres-conns", "8",
	"-claim-ttl", claimTTL.String(), "-wait-budget", waitBudget.String(), "-log-format", "json", "-stop-timeout", "20s",
}

// runner makes runs, one after the other, on one cluster for as long as nothing is
// found on it.
type runner struct {
	settings
	out     io.Writer
	cluster *cluster.Cluster
	dir     string
	done    func([]history.Op) // is told what was asked; nil for nobody
	// noted is told of errors that no fault excuses, which then break no promise: a
	// machine that others use for long has its own. Nil: they are violations.
	noted func(history.Violation)
}

// result is what came of a run.
type result struct {
	seed    uint64
	nemeses []nemesis.Nemesis
	verdict history.Verdict
	err     error // the run could not be made or judged
	void    bool
	before  float64 // successful operations a second
	after   float64
	back    time.Duration // from the end of the fault to the first success; negative: none
	drained time.Duration // from the end of the traffic
	stalls  int           // of the machine
	dir     string        // evidence
}

func (r *runner) close() error {
	if r.cluster == nil {
		return nil
	}
	err := r.cluster.Close()
	dir := r.dir
	r.cluster, r.dir = nil, ""
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func (r *runner) one(ctx context.Context, i int, seed uint64, nemeses []nemesis.Nemesis) result {
	res := result{seed: seed, nemeses: nemeses}
	if r.cluster == nil {
		r.dir = filepath.Join(r.settings.dir, fmt.Sprintf("cluster-%d", i))
		starting, cancel := context.WithTimeout(ctx, startWithin)
		defer cancel()
		c, err := cluster.Start(starting, cluster.Options{
			Dir: r.dir, Program: cmp.Or(r.base, r.program), Nodes: r.nodes, Flags: nodeFlags, AOF: r.aof,
		})
		if err != nil {
			res.err, res.dir = err, r.dir
			return res
		}
		r.cluster = c
	}
	folder := filepath.Join(r.dir, fmt.Sprintf("run-%d", i))
	if res.err = os.MkdirAll(folder, 0o700); res.err != nil {
		return res
	}
	r.play(ctx, &res, folder, i, seed)
	if res.err == nil && len(res.verdict.Violations) == 0 {
		if err := os.RemoveAll(folder); err != nil {
			res.err = err
		}
		if r.base != "" { // the next one begins with the base again
			res.err = errors.Join(res.err, r.close())
		}
		return res
	}
	// What was found must be looked at where it happened: nothing else runs there.
	res.dir = r.dir
	res.err = errors.Join(res.err, writeEvidence(folder, &res), r.cluster.Close())
	r.cluster, r.dir = nil, ""
	return res
}

func writeJSON(file string, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

func writeEvidence(folder string, res *result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nnemeses %s\nerror %v\n", res.seed, names(res.nemeses), res.err)
	for _, v := range res.verdict.Violations {
		fmt.Fprintln(&b, v)
	}
	return os.WriteFile(filepath.Join(folder, "verdict.txt"), []byte(b.String()), 0o600)
}

func names(nemeses []nemesis.Nemesis) string {
	var list []string
	for _, n := range nemeses {
		list = append(list, n.Name)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " + ")
}

// play is one run: traffic, a fault in the middle of it, calm, judgement.
func (r *runner) play(ctx context.Context, res *result, folder string, i int, seed uint64) {
	record, err := history.NewRecorder(filepath.Join(folder, "history.jsonl"))
	if err != nil {
		res.err = err
		return
	}
	l := &load.Load{
		Cluster: r.cluster, Record: record, Task: fmt.Sprintf("chaos-%d-%d", seed, i), Keys: 10, Epoch: 6 * time.Second,
	}
	for _, e := range r.cluster.Nodes[0].Info().Environments {
		l.Envs = append(l.Envs, load.Env{ID: e.ID, Key: e.Key})
	}
	l.Open()
	defer l.Close()
	var (
		wait       sync.WaitGroup
		asking, ok = context.WithCancel(ctx)
		field      = nemesis.NewField(r.cluster, seed, r.harm)
		warm       = r.duration * 3 / 10
	)
	defer ok()
	wait.Go(func() {
		l.Run(asking, load.Traffic{Clients: r.clients, Workers: 3, Burst: 120, Every: time.Second}, seed)
	})
	stalled := stalls(asking, r.cluster, record.Now)
	windows, err := r.harmful(ctx, res, field, l, warm)
	if left := r.duration - time.Duration(record.Now()); err == nil && left > 0 {
		err = cluster.Wait(ctx, left)
	}
	// The calm after the fault is as much of the run as the time before it.
	if err == nil && len(windows) > 0 {
		if calm := windows[len(windows)-1].To + int64(warm) - record.Now(); calm > 0 {
			err = cluster.Wait(ctx, time.Duration(calm))
		}
	}
	ok()
	wait.Wait()
	excuses := append(stalled(), windows...)
	res.stalls = len(excuses) - len(windows)
	ended := record.Now()
	err = errors.Join(err, r.cluster.Gone())
	var end *history.End
	if err == nil {
		end, err = r.settle(ctx, l, seed)
		res.drained = time.Duration(record.Now() - ended)
	}
	if err = errors.Join(err, record.Close()); err != nil {
		res.err = err
		return
	}
	forgets, blinds := false, false
	for _, n := range res.nemeses {
		end.Empties, end.Hides, forgets = end.Empties || n.Empties, end.Hides || n.Hides, forgets || n.Forgets
		blinds = blinds || n.Blinds
	}
	end.Loses, end.Apart = end.Empties && forgets, end.Hides && blinds
	if len(windows) > 0 {
		end.Mended = windows[len(windows)-1].To
	}
	ops := record.Ops()
	if r.done != nil {
		r.done(ops)
	}
	defer func() {
		if len(res.verdict.Violations) > 0 {
			res.err = errors.Join(res.err, writeJSON(filepath.Join(folder, "end.json"), end))
		}
	}()
	res.before, res.after = rates(ops, windows, int64(warm), ended)
	res.void = res.before < r.minimum
	res.verdict = history.Judge(ops, end, windows, excuses, grace, grace+claimTTL+waitBudget, judgeWithin,
		func(key string, m porcupine.Model, info porcupine.LinearizationInfo) {
			_ = porcupine.VisualizePath(m, info, filepath.Join(folder, key+".html")) // the history is there all the same
		})
	if r.noted != nil {
		res.verdict.Violations = slices.DeleteFunc(res.verdict.Violations, func(v history.Violation) bool {
			if v.Kind == "5xx" {
				r.noted(v)
			}
			return v.Kind == "5xx"
		})
	}
	res.err = r.tidy(ctx)
}

// harmful waits until the traffic is warm, has the nemeses do their harm, and
// mends everything. It returns when harm was done.
func (r *runner) harmful(ctx context.Context, res *result, field *nemesis.Field, l *load.Load, warm time.Duration) ([]history.Window, error) {
	if err := cluster.Wait(ctx, warm); err != nil || len(res.nemeses) == 0 {
		return nil, err
	}
	w := history.Window{From: l.Record.Now()}
	var (
		wait sync.WaitGroup
		errs = make([]error, len(res.nemeses))
	)
	for i, n := range res.nemeses {
		f := field
		if i > 0 {
			f = field.Twin()
		}
		wait.Go(func() {
			if err := n.Run(ctx, f); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.Name, err)
			}
		})
	}
	wait.Wait()
	// One nemesis may fail because of the other: then it has done its harm.
	err := errors.Join(errs...)
	if len(res.nemeses) > 1 && !errors.Is(err, cluster.ErrExit) {
		err = nil
	}
	err = errors.Join(err, field.Mend(ctx))
	w.To = l.Record.Now()
	res.back = -1
	if err == nil {
		probing, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if at := l.Probe(probing, rand.New(rand.NewPCG(res.seed, 9))); at >= 0 {
			res.back = time.Duration(at - w.To)
		} else if ctx.Err() == nil {
			err = errors.New("nothing succeeds a minute after the fault")
		}
	}
	return []history.Window{w}, err
}

// rates are the successful operations a second, before the fault and after it.
func rates(ops []history.Op, windows []history.Window, warm, ended int64) (before, after float64) {
	from, to := warm, ended
	if len(windows) > 0 {
		from, to = windows[0].From, windows[len(windows)-1].To
	} else {
		to = warm
	}
	var early, late int
	for _, op := range ops {
		switch {
		case op.Outcome == history.Unknown || op.HTTP == 0:
		case op.Return < from:
			early++
		case op.Call > to && op.Return <= ended:
			late++
		}
	}
	return float64(early) / (float64(from) / 1e9), float64(late) / max(float64(ended-to)/1e9, 0.001)
}
