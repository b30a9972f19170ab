//go:build unix

// Command teststack runs a command while it holds the servers that tests share:
//
//	teststack go test ./...
//
// The servers are started once for all packages and stopped when the command and
// everybody else is done with them. Its exit status is the command's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: teststack command [argument ...]")
		os.Exit(2)
	}
	// Ctrl-C reaches the command by itself, as it is in the same process group;
	// here it must only not prevent the release.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "teststack:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, command []string) (code int, err error) {
	release, err := stacktest.Hold(ctx)
	if err != nil {
		return 1, err
	}
	defer func() {
		if releaseErr := release(); releaseErr != nil {
			code, err = max(code, 1), errors.Join(err, releaseErr)
		}
	}()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return max(failed.ExitCode(), 1), nil // the command has said what is wrong
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
