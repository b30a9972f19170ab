package tenant

import (
	"fmt"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Organisation owns environments. Enrolled says whether its triggers take part
// in claims and mollifying; it is what the organisation was when it was read.
type Organisation struct {
	ID       string
	Name     string
	Enrolled bool
}

// Environment is what one key opens. Runs, batches and idempotency keys of one
// environment do not exist for another.
type Environment struct {
	ID           string
	Name         string
	Type         Type
	Organisation Organisation
	// RefuseMismatch: a trigger whose key holds a run of another payload is to be
	// refused; else its answer says so.
	RefuseMismatch bool
	// Keep is how long its runs are kept after they are over; negative: for ever; 0: as
	// the deployment says.
	Keep time.Duration
}

// keepOf reads the column: null is the deployment's, and 0 for ever.
func keepOf(us *int64) time.Duration {
	switch {
	case us == nil:
		return 0
	case *us == 0:
		return -1
	}
	return time.Duration(*us) * time.Microsecond
}

// Type is the kind of an environment, as it is written in its keys.
type Type string

// The types.
const (
	Dev     Type = "dev"
	Staging Type = "stg"
	Prod    Type = "prod"
	Preview Type = "preview"
)

// Valid reports whether t is one of the four types.
func (t Type) Valid() bool {
	switch t {
	case Dev, Staging, Prod, Preview:
		return true
	}
	return false
}

const (
	organisationPrefix = "org_"
	environmentPrefix  = "env_"
	maxNameLen         = 64
)

// checkName refuses names that would not survive a command line, or that could
// be taken for an id. The error names the field, never the value.
func checkName(field, name string) error {
	ok := name != "" && len(name) <= maxNameLen
	for i := range len(name) {
		c := name[i]
		letter := ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z')
		ok = ok && (letter || (i > 0 && (c == '-' || c == '_' || c == '.')))
	}
	if !ok {
		return &run.InvalidError{Field: field, Rule: fmt.Sprintf(
			"must be 1 to %d characters of [A-Za-z0-9._-], the first a letter or a digit", maxNameLen)}
	}
	if strings.HasPrefix(name, organisationPrefix) || strings.HasPrefix(name, environmentPrefix) {
		return &run.InvalidError{Field: field, Rule: "must not begin as an id does (" + organisationPrefix + ", " + environmentPrefix + ")"}
	}
	return nil
}

func checkType(t Type) error {
	if !t.Valid() {
		return &run.InvalidError{Field: "type", Rule: "must be one of dev, stg, prod, preview"}
	}
	return nil
}
