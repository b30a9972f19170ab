//go:build unix

package devstack

import (
	"fmt"
	"os"
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
	fmt.Fprintf(&b, "devstack: %s is not there: %s is needed", e.Program, e.Want)
	if len(e.Refused) > 0 {
		fmt.Fprintf(&b, "; found but not usable: %s", strings.Join(e.Refused, ", "))
	}
	fmt.Fprintf(&b, "; install with: %s", thisMachine().installCommand(e.Program))
	return b.String()
}

// machine is what the choice of an install command depends on.
type machine struct {
	root      bool
	osRelease string // the text of /etc/os-release
	has       func(tool string) bool
}

func thisMachine() machine {
	// Without the file, which only Linux has, the tools alone decide.
	text, _ := os.ReadFile("/etc/os-release")
	return machine{
		root:      os.Geteuid() == 0,
		osRelease: string(text),
		has: func(tool string) bool {
			_, err := exec.LookPath(tool)
			return err == nil
		},
	}
}

// installCommand is what a person types to install a program. It says the same
// as scripts/deps.sh.
func (m machine) installCommand(program string) string {
	sudo := "sudo "
	if m.root {
		sudo = ""
	}
	pick := func(redis, postgres string) string {
		if program == "postgres" {
			return postgres
		}
		return redis
	}
	switch {
	case m.has("apt-get"):
		return sudo + "apt-get update && " + sudo + "apt-get install -y " + pick("redis-server", "postgresql")
	case m.has("dnf") && m.enterpriseLinux9():
		// What is new enough is in modules only.
		return sudo + "dnf install -y " + pick("@redis:7", "@postgresql:16")
	case m.has("dnf"):
		return sudo + "dnf install -y " + pick("valkey", "postgresql-server")
	case m.has("apk"):
		return sudo + "apk add " + pick("redis", "postgresql")
	case m.has("brew"):
		return "brew install " + pick("redis", "postgresql@17")
	}
	return "your system's package of the " + pick("Redis (or Valkey)", "PostgreSQL") + " server"
}

func (m machine) enterpriseLinux9() bool {
	var id, version string
	for line := range strings.Lines(m.osRelease) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"`); name {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	switch id {
	case "rhel", "centos", "rocky", "almalinux", "ol":
		return strings.HasPrefix(version, "9")
	}
	return false
}
