package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../../.."

var (
	inGo   = regexp.MustCompile(`mutant\.On\("([^"]*)"\)`)
	inText = regexp.MustCompile(`-- mutant ([a-z-]+): \S`)
	test   = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// Each mutant of the table has exactly one switch in the code, and each switch is in
// the table; a switch is where the package says that it is.
func TestTableIsTheCode(t *testing.T) {
	t.Parallel()
	switches := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "mutant" || d.Name() == "bin" || d.Name() == "data" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		pattern := inText
		switch {
		case d.IsDir() || strings.HasSuffix(path, "_test.go"):
			return nil
		case strings.HasSuffix(path, ".go"):
			pattern = inGo
		case !strings.HasSuffix(path, ".lua") && !strings.HasSuffix(path, ".sql"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			switches[string(m[1])] = append(switches[string(m[1])], path)
		}
		if pattern == inText && len(pattern.FindAll(text, -1)) != strings.Count(string(text), "mutant") {
			t.Errorf("%s: a mark of a mutant that is none: want %q", path, "-- mutant name: code")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range table {
		if names[m.name] {
			t.Errorf("%s is in the table twice", m.name)
		}
		names[m.name] = true
		if len(switches[m.name]) != 1 {
			t.Errorf("%s has %d switches: %v", m.name, len(switches[m.name]), switches[m.name])
		}
	}
	for name, at := range switches {
		if !names[name] {
			t.Errorf("%v: %s is not in the table", at, name)
		}
	}
}

// The tests that the table names exist.
func TestTableNamesTests(t *testing.T) {
	t.Parallel()
	for _, m := range table {
		pattern, err := regexp.Compile(m.tests)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(root, m.dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range test.FindAllSubmatch(text, -1) {
				if name := string(f[1]); pattern.MatchString(name) {
					found = append(found, name)
				}
			}
		}
		for name := range strings.SplitSeq(strings.Trim(m.tests, "^$()"), "|") {
			if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, name) }) {
				t.Errorf("%s: no test %s in %s", m.name, name, m.dir)
			}
		}
		if m.means == "" {
			t.Errorf("%s: what does it mean?", m.name)
		}
	}
}

func TestKiller(t *testing.T) {
	t.Parallel()
	for want, output := range map[string]string{
		"TestA/b":              "    x_test.go:1: no\n--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL\n",
		"TestA (does not end)": "panic: test timed out after 1s\n\trunning tests:\n\t\tTestA (1s)\n",
	} {
		if got := killer([]byte(output)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
