//go:build unix

// Command compare runs engines, what one would use instead of them, and the stores
// alone, in turn on the same servers, and prints what each did and how they compare.
//
//	compare [-rounds 3] [-window 2s] [-only pattern] [-out file]
//
// Every comparison has its own servers. Its contestants take turns, round by
// round, so that what slows the machine down slows all of them; a ratio is the
// median of the ratios of the rounds. It exits with 0 whatever the figures are.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 3, "how often each contestant has its turn")
	window := flag.Duration("window", 2*time.Second, "how long a turn lasts")
	only := flag.String("only", "", "comparisons whose name matches this `pattern`; empty: all")
	out := flag.String("out", "", "`file` for the figures, as JSON")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "mollifier-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	r := report{Taken: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: *rounds, Window: window.String()}
	var chosen []comparison
	for _, c := range comparisons() {
		if pattern.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	for i, c := range chosen {
		fmt.Fprintf(os.Stderr, "%s  %d of %d: %s\n", time.Now().Format(time.TimeOnly), i+1, len(chosen), c.name)
		result, err := c.run(ctx, dir, *rounds, *window)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		result.print(os.Stdout)
		r.Comparisons = append(r.Comparisons, result)
	}
	r.print(os.Stdout)
	return r.write(*out)
}

// report is all of one run.
type report struct {
	Taken       time.Time `json:"taken"`
	Go          string    `json:"go"`
	CPUs        int       `json:"cpus"`
	Rounds      int       `json:"rounds"`
	Window      string    `json:"window"`
	Comparisons []result  `json:"comparisons"`
}

func (r *report) write(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// comparison is contestants that do the same work on the same servers. The first
// is ours.
type comparison struct {
	name    string
	fsync   string
	payload int
	once    bool // an operation is a whole turn
	open    func(ctx context.Context, s *load.Stores, payload []byte) ([]entrant, error)
	aims    []aim
}

// entrant is a contestant with the callers that suit it.
type entrant struct {
	*load.Contestant
	kind    string // contestants of one kind are variants, of which the best counts
	callers int
}

// aim is what ours is to reach against a kind.
type aim struct {
	kind string
	rate float64 // at least so many times its triggers a second; 0: no aim
	p99  float64 // at most so many times its p99; 0: no aim
	p50  float64 // at most so many times its p50; 0: no aim
}

func (c *comparison) run(ctx context.Context, dir string, rounds int, window time.Duration) (res result, err error) {
	stores, err := load.Start(ctx, dir, c.fsync)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, stores.Stop()) }()
	entrants, err := c.open(ctx, stores, load.Body(max(c.payload, 512)))
	defer func() {
		for _, e := range entrants {
			if e.Close != nil {
				e.Close()
			}
		}
	}()
	if err != nil {
		return res, err
	}
	for _, e := range entrants {
		if e.Ready == nil {
			continue
		}
		if err := e.Ready(ctx); err != nil {
			return res, err
		}
	}
	limit := load.Limit{For: window}
	if c.once {
		limit = load.Limit{Operations: 1}
	}
	samples := make([][]load.Sample, len(entrants))
	for round := range rounds + 1 {
		for i, e := range entrants {
			turn := limit
			if round == 0 { // connections are opened and plans made; not counted
				if c.once {
					continue
				}
				turn.For = window / 4
			}
			fmt.Fprintf(os.Stderr, "\r\033[K  round %d of %d: %s", round, rounds, e.Name)
			s, err := load.Run(ctx, e.Contestant, e.callers, turn, stores)
			if err != nil {
				return res, err
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	fmt.Fprint(os.Stderr, "\r\033[K")
	return c.result(entrants, samples), nil
}
