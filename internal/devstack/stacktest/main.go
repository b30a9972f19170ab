//go:build unix

package stacktest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Option changes what [Main] does.
type Option func(*mainConfig)

type mainConfig struct {
	leaks  bool
	ignore []goleak.Option
}

// NoLeaks has [Main] fail the package if goroutines are left when all its tests
// have passed.
func NoLeaks(ignore ...goleak.Option) Option {
	return func(c *mainConfig) { c.leaks, c.ignore = true, ignore }
}

// Main runs a package's tests, lets go of the shared servers and exits. Call it
// from TestMain.
func Main(m *testing.M, opts ...Option) {
	var c mainConfig
	for _, opt := range opts {
		opt(&c)
	}
	code := m.Run()
	if err := errors.Join(endCluster(), letGo()); err != nil {
		fmt.Fprintf(os.Stderr, "stacktest: stop the servers: %v\n", err)
		code = max(code, 1)
	}
	if c.leaks && code == 0 {
		if err := goleak.Find(append(c.ignore, IgnoreForks())...); err != nil {
			fmt.Fprintf(os.Stderr, "stacktest: goroutines are left: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// IgnoreForks is for tests that look for leaks themselves: it excepts the one
// goroutine that starts private servers and lives as long as the process.
func IgnoreForks() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/e0ff5a15/mollifier/internal/devstack.forkBound")
}
