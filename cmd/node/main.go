package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"
)

func main() {
	// Caught before anything slow starts: a signal during the first start of a
	// private Postgres has to stop that as well.
	ctx, cancel := signalContext()
	code := execute(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// signalContext ends at the first signal. The second ends the process at once,
// with status 1; private stores that run then are taken over by the next start.
func signalContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup, which must keep working
		wanted = append(wanted, syscall.SIGHUP)
	}
	received := make(chan os.Signal, 2)
	signal.Notify(received, wanted...)
	go func() {
		<-received
		cancel()
		<-received
		os.Exit(exitFailure)
	}()
	return ctx, cancel
}

const (
	exitOK = iota
	exitFailure
	exitUsage
)

// usageError is a fault in how the program was called.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is one invocation of the program.
type app struct {
	stdout, stderr io.Writer
	usage          string // of the command that was asked for help, or called wrongly
}

// execute runs one invocation and returns its exit status.
func execute(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	err := a.run(ctx, args, environ)
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, a.usage)
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "node: %v\nnode: -h explains the flags and commands\n", err)
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "node: interrupted")
		return exitFailure
	default:
		fmt.Fprintf(stderr, "node: %v\n", err)
		return exitFailure
	}
}

func (a *app) run(ctx context.Context, args, environ []string) error {
	set := newSettings()
	root := &ffcli.Command{
		Name:       "node",
		ShortUsage: "node [flags]\n  node <command> [flags]",
		ShortHelp:  "Serve Mollifier's HTTP API: one trigger, one run.",
		LongHelp:   rootHelp,
		FlagSet:    set.flags(),
		Options:    set.options(),
	}
	root.Subcommands = []*ffcli.Command{
		a.envCommand(set), a.migrateCommand(set), a.demoCommand(), a.openAPICommand(), a.healthCommand(set), a.versionCommand(),
		a.simulateCommand(set),
	}
	config := a.configCommand(environ)
	root.Subcommands = append(append(root.Subcommands, a.operatorCommands(set)...), config)
	root.Exec = func(ctx context.Context, rest []string) error {
		if len(rest) > 0 {
			return usagef("unknown command %q", rest[0])
		}
		return a.serveCommand(ctx, set)
	}
	a.quiet(root)
	if len(args) > 0 && args[0] == config.Name { // what the others refuse one by one, it lists
		if err := config.Parse(args[1:]); err != nil {
			return usageError{err}
		}
		return config.Run(ctx)
	}
	if err := refuseUnknownVariables(environ); err != nil {
		return err
	}
	if err := root.Parse(args); err != nil {
		var none ffcli.NoExecError
		if errors.As(err, &none) {
			return usagef("%s needs one of its commands", none.Command.Name)
		}
		return usageError{err}
	}
	// Flags are looked up by the command that runs: one that stands before its
	// name would lose against the environment.
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && len(set.serve.Args()) > 0 {
		return usagef("flags go after the command: node %s [flags]", set.serve.Arg(0))
	}
	return root.Run(ctx)
}

// quiet has the flag packages keep their usage text for [execute] instead of
// printing it, in the whole command tree.
func (a *app) quiet(c *ffcli.Command) {
	if c.FlagSet == nil {
		c.FlagSet = flag.NewFlagSet(c.Name, flag.ContinueOnError)
	}
	c.FlagSet.SetOutput(io.Discard)
	c.UsageFunc = func(c *ffcli.Command) string {
		a.usage = usageText(c)
		return ""
	}
	for _, sub := range c.Subcommands {
		a.quiet(sub)
	}
}
