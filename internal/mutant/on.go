//go:build mutants

package mutant

import (
	"os"
	"regexp"
)

var active = os.Getenv("MUTANT")

// On reports whether the protection of that name is left out.
func On(name string) bool { return name == active }

var mark = regexp.MustCompile(`(?m)^.*-- mutant ([a-z-]+): (.*)$`)

// Text is a script or statement, without the protection that is left out.
func Text(text string) string {
	return mark.ReplaceAllStringFunc(text, func(line string) string {
		if m := mark.FindStringSubmatch(line); On(m[1]) {
			return m[2]
		}
		return line
	})
}
