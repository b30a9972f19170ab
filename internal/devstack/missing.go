//go:build unix

package devstack

import (
	"fmt"
	"os/exec"
	"strings"
)

// MissingError says that a server program was not found, or only in a version
// that cannot be used. Its text ends with the command that installs it here.
type MissingError struct {
	Program string   // "postgres" or "redis-server"
	Want    string   // what would have been accepted
	Refused []string // programs that were found and why each was not taken
}

// Error implements error.
func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "devstack: %s is not installed: %s is needed", e.Program, e.Want)
	if len(e.Refused) > 0 {
		fmt.Fprintf(&b, "; found but not usable: %s", strings.Join(e.Refused, ", "))
	}
	fmt.Fprintf(&b, "; install it with: %s", installCommand(e.Program, func(tool string) bool {
		_, err := exec.LookPath(tool)
		return err == nil
	}))
	return b.String()
}

// installCommand is the one command for the package manager that is present.
// Where none is known it says what to look for instead.
func installCommand(program string, has func(tool string) bool) string {
	postgres := program == "postgres"
	pick := func(pg, redis string) string {
		if postgres {
			return pg
		}
		return redis
	}
	switch {
	case has("apt-get"):
		return "sudo apt-get install -y " + pick("postgresql", "redis-server")
	case has("dnf"):
		return "sudo dnf install -y " + pick("postgresql-server", "redis")
	case has("apk"):
		return "sudo apk add " + pick("postgresql", "redis")
	case has("brew"):
		return "brew install " + pick("postgresql@17", "redis")
	}
	return "your system's package of the " + pick("PostgreSQL server", "Redis or Valkey server")
}
