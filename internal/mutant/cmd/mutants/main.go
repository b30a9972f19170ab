//go:build unix

// Command mutants tries whether the tests notice when a protection is left out: for
// each mutant of its table it runs the tests that must kill it, and prints which one
// did. It fails if one lives, and if the tests fail without any. Run it in the root of
// the module, under teststack; `make mutants` does.
//
//	mutants [-only pattern] [-workers n]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	only := flag.String("only", "", "pattern of the names to try; all")
	workers := flag.Int("workers", 2, "how many to try at once")
	limit := flag.Duration("timeout", 2*time.Minute, "how long the tests of one may take; it is killed then, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := try(ctx, os.Stdout, *only, *workers, *limit)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// verdict is what came of the tests of a package without one protection, or with all.
type verdict struct {
	killer string // the first test that failed; empty: none
	took   time.Duration
	output []byte
}

func try(ctx context.Context, out io.Writer, only string, workers int, limit time.Duration) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	mutants := slices.DeleteFunc(slices.Clone(table), func(m mutant) bool { return !wanted.MatchString(m.name) })
	if len(mutants) == 0 {
		return fmt.Errorf("-only: no mutant matches %q", only)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	began := time.Now()
	binaries := map[string]string{}
	for _, m := range mutants {
		if binaries[m.dir] == "" {
			fmt.Fprintf(out, "building the tests of %s\n", m.dir)
			if binaries[m.dir], err = build(ctx, m.dir, dir); err != nil {
				return err
			}
		}
	}

	// First everything with all protections, then without each: the same tests.
	type job struct {
		mutant
		whole bool
	}
	var jobs []job
	seen := map[[2]string]bool{}
	for _, m := range mutants {
		if k := [2]string{m.dir, m.tests}; !seen[k] {
			seen[k] = true
			jobs = append(jobs, job{mutant{"", "", m.dir, m.tests}, true})
		}
	}
	for _, m := range mutants {
		jobs = append(jobs, job{m, false})
	}
	verdicts := make([]verdict, len(jobs))
	var (
		mu   sync.Mutex
		next int
		done int
		all  sync.WaitGroup
	)
	for range max(1, workers) {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(jobs) || ctx.Err() != nil {
					return
				}
				j := jobs[i]
				v := run(ctx, binaries[j.dir], j.mutant, limit)
				mu.Lock()
				verdicts[i] = v
				done++
				fmt.Fprintf(out, "[%d/%d, %s] %-30s %s\n", done, len(jobs), time.Since(began).Round(time.Second), j.title(), v.of(j.whole))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}

	fmt.Fprintf(out, "\n%-30s %-9s %s\n", "left out", "", "noticed by")
	var bad []string
	for i, j := range jobs {
		v := verdicts[i]
		switch {
		case j.whole && v.killer != "":
			bad = append(bad, fmt.Sprintf("nothing was left out, and %s of %s failed:\n%s", v.killer, j.dir, v.output))
		case j.whole:
		case v.killer == "":
			bad = append(bad, j.name+" lives: "+j.means)
			fmt.Fprintf(out, "%-30s %-9s\n", j.name, "SURVIVED")
		default:
			fmt.Fprintf(out, "%-30s %-9s %s: %s\n", j.name, "killed", j.dir, v.killer)
		}
	}
	fmt.Fprintf(out, "%d mutants in %s\n", len(mutants), time.Since(began).Round(time.Second))
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "\n"))
	}
	return nil
}

func (m *mutant) title() string {
	if m.name == "" {
		return "nothing, in " + m.dir
	}
	return m.name
}

func (v *verdict) of(whole bool) string {
	switch {
	case v.killer == "" && whole:
		return fmt.Sprintf("passes (%.1fs)", v.took.Seconds())
	case v.killer == "":
		return fmt.Sprintf("SURVIVES (%.1fs)", v.took.Seconds())
	case whole:
		return "FAILS: " + v.killer
	}
	return fmt.Sprintf("killed by %s (%.1fs)", v.killer, v.took.Seconds())
}

// build makes the test binary of a package in which protections can be switched off.
func build(ctx context.Context, pkg, into string) (string, error) {
	binary := filepath.Join(into, strings.ReplaceAll(pkg, "/", "-")+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "mutants", "-o", binary, "./"+pkg)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, text)
	}
	return binary, nil
}

// run runs the tests of a mutant until the first of them fails.
func run(ctx context.Context, binary string, m mutant, limit time.Duration) verdict {
	args := []string{"-test.run", m.tests, "-test.failfast", "-test.timeout", limit.String()}
	if usesRapid(m.dir) {
		// The first counterexample will do, and leaves no file.
		args = append(args, "-rapid.shrinktime", "0s", "-rapid.nofailfile")
		if m.name != "" {
			args = append(args, "-rapid.checks", "1000")
		}
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "MUTANT="+m.name)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	began := time.Now()
	output, err := cmd.CombinedOutput()
	v := verdict{took: time.Since(began), output: output}
	if err != nil || bytes.Contains(output, []byte("no tests to run")) {
		v.killer = killer(output)
	}
	return v
}

var (
	failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	hung   = regexp.MustCompile(`(?m)^\t+(Test\S*) \(`) // what was running when the time was up
)

// killer is the test that failed, as the output tells.
func killer(output []byte) string {
	if all := failed.FindAllSubmatch(output, -1); len(all) > 0 {
		return string(all[len(all)-1][1]) // subtests come last
	}
	if m := hung.FindSubmatch(output); m != nil {
		return string(m[1]) + " (does not end)"
	}
	return "no test by name:\n" + string(output)
}

// usesRapid reports whether tests of the package know rapid's flags.
func usesRapid(dir string) bool {
	names, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	return slices.ContainsFunc(names, func(name string) bool {
		text, err := os.ReadFile(name)
		return err == nil && bytes.Contains(text, []byte(`"pgregory.net/rapid"`))
	})
}
