package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/nemesis"
)

// settings are what the command is told.
type settings struct {
	program  string
	base     string
	dir      string
	seed     uint64
	runs     int
	short    bool
	only     string
	pairs    int
	nodes    int
	clients  int
	duration time.Duration
	harm     time.Duration
	minimum  float64
	aof      string
	list     bool
	backlog  int
	soak     time.Duration
	overload time.Duration
}

// short is what runs in a minute or two: the faults that operators meet, and pairs.
var short = []string{
	"node-kill", "drainer-kill", "redis-kill", "redis-freeze", "redis-replies-cut",
	"postgres-kill", "postgres-replies-cut", "rolling-restart",
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.StringVar(&s.program, "node", "bin/node", "`program` under test")
	fs.StringVar(&s.base, "base", "", "`program` that the nodes are first: instead of faults, each is upgraded to -node in turn, rolled back, and upgraded again")
	fs.StringVar(&s.dir, "dir", "", "`folder` for evidence and the report (default: a new one in the system's temporary folder)")
	fs.Uint64Var(&s.seed, "seed", 0, "`seed` of the first run; the others follow it; 0 takes one from the clock")
	fs.IntVar(&s.runs, "runs", 0, "`number` of runs; 0 goes on until interrupted")
	fs.BoolVar(&s.short, "short", false, "one run of each of the main faults, and two pairs")
	fs.StringVar(&s.only, "only", "", "`names` of nemeses, with commas between them; all of them unless given; a+b is a pair")
	fs.IntVar(&s.pairs, "pairs", 3, "every so many runs are with two nemeses at once; 0: none")
	fs.IntVar(&s.nodes, "nodes", 3, "`number` of nodes; the first does not drain")
	fs.IntVar(&s.clients, "clients", 12, "`number` of clients")
	fs.DurationVar(&s.duration, "duration", 20*time.Second, "how long a run's traffic lasts")
	fs.DurationVar(&s.harm, "harm", 4*time.Second, "how long one harm lasts at most")
	fs.Float64Var(&s.minimum, "min-rate", 100, "operations a second that have to succeed before the fault, or the run is void")
	fs.StringVar(&s.aof, "aof", "always", "Redis's `appendfsync`: always, everysec or no")
	fs.IntVar(&s.backlog, "backlog", 0, "instead of runs: fill the buffer with so many runs, with and without an outage of Postgres, and compare how fast it drains")
	fs.DurationVar(&s.soak, "soak", 0, "instead of runs: play rounds on one cluster for so long, and say whether memory, goroutines, files, keys in Redis and dead rows have grown")
	fs.DurationVar(&s.overload, "overload", 0, "instead of runs: offer one node ten times what it can take, with a quiet neighbour, then slow clients, each phase for so long, and say what held; at least 6s")
	fs.BoolVar(&s.list, "list", false, "list the nemeses and end")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if s.nodes < 1 || s.clients < 1 || s.duration < time.Second || s.harm < 100*time.Millisecond {
		return s, errors.New("-nodes and -clients must be at least 1, -duration at least 1s, -harm at least 100ms")
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixMilli())
	}
	if s.short {
		s.duration, s.harm, s.runs = 5*time.Second, 2*time.Second, len(short)+2
	}
	var err error
	if s.program, err = filepath.Abs(s.program); err != nil {
		return s, err
	}
	if s.base != "" {
		if s.base, err = filepath.Abs(s.base); err != nil {
			return s, err
		}
	}
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "mollifier-chaos-")
	} else if s.dir, err = filepath.Abs(s.dir); err == nil {
		err = os.MkdirAll(s.dir, 0o711)
	}
	if err == nil {
		err = os.Chmod(s.dir, 0o711) // Postgres runs as another user
	}
	return s, err
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	all := nemesis.All()
	if s.base != "" {
		all = []nemesis.Nemesis{nemesis.Upgrade(s.base, s.program)}
	}
	if s.list {
		for _, n := range all {
			fmt.Fprintf(out, "%-4s %-22s %s\n", n.Class, n.Name, n.What)
		}
		return nil
	}
	if s.backlog > 0 {
		return backlog(ctx, s, out)
	}
	if s.overload > 0 {
		return overloading(ctx, s, out)
	}
	if s.soak > 0 {
		return soaking(ctx, s, out)
	}
	plan, err := newPlan(s, all)
	if err != nil {
		return err
	}
	report := newReport(all, s)
	defer func() {
		if err := report.write(filepath.Join(s.dir, "report.md")); err != nil {
			fmt.Fprintln(out, err)
		}
	}()
	r := &runner{settings: s, out: out}
	for i := 0; ctx.Err() == nil && (s.runs == 0 || i < s.runs); i++ {
		result := r.one(ctx, i, s.seed+uint64(i), plan(i))
		if ctx.Err() != nil && result.err != nil {
			break // interrupted: no result
		}
		report.add(result)
		fmt.Fprintln(out, result.line(i, s.runs))
		for _, v := range result.shown(8) {
			fmt.Fprintln(out, "    ", v)
		}
	}
	if err := r.close(); err != nil {
		fmt.Fprintln(out, "stop:", err)
	}
	report.print(out)
	if bad := report.bad(); bad > 0 {
		return fmt.Errorf("%d runs broke a promise or could not be judged; see %s", bad, s.dir)
	}
	return nil
}

// newPlan says which nemeses are in each run: each in turn, in an order that the
// seed gives, and every so often a random pair.
func newPlan(s settings, all []nemesis.Nemesis) (func(i int) []nemesis.Nemesis, error) {
	named := func(name string) (nemesis.Nemesis, error) {
		i := slices.IndexFunc(all, func(n nemesis.Nemesis) bool { return n.Name == name })
		if i < 0 {
			return nemesis.Nemesis{}, fmt.Errorf("-only: there is no nemesis %q; -list names them", name)
		}
		return all[i], nil
	}
	var turns [][]nemesis.Nemesis
	names := strings.Split(s.only, ",")
	switch {
	case s.base != "":
		return func(int) []nemesis.Nemesis { return all }, nil
	case s.only == "none":
		return func(int) []nemesis.Nemesis { return nil }, nil
	case s.only == "" && s.short:
		names = short
	case s.only == "":
		names = nil
		for _, n := range all {
			names = append(names, n.Name)
		}
	}
	for _, name := range names {
		var turn []nemesis.Nemesis
		for part := range strings.SplitSeq(name, "+") {
			n, err := named(part)
			if err != nil {
				return nil, err
			}
			turn = append(turn, n)
		}
		turns = append(turns, turn)
	}
	r := rand.New(rand.NewPCG(s.seed, 1))
	pair := func(r *rand.Rand) []nemesis.Nemesis {
		for {
			a, b := all[r.IntN(len(all))], all[r.IntN(len(all))]
			if a.Name != b.Name {
				return []nemesis.Nemesis{a, b}
			}
		}
	}
	if s.only != "" {
		return func(i int) []nemesis.Nemesis { return turns[i%len(turns)] }, nil
	}
	if s.short {
		return func(i int) []nemesis.Nemesis {
			if i < len(turns) {
				return turns[i]
			}
			return pair(rand.New(rand.NewPCG(s.seed, uint64(i))))
		}, nil
	}
	r.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	single := 0
	return func(i int) []nemesis.Nemesis {
		if s.pairs > 0 && i%s.pairs == s.pairs-1 {
			return pair(rand.New(rand.NewPCG(s.seed, uint64(i))))
		}
		single++
		return turns[(single-1)%len(turns)]
	}, nil
}
