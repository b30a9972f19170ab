package mollifier_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/e0ff5a15/mollifier"

// floors is the house: a package imports only packages of lower floors. A
// folder takes the floor of the longest entry that it lies under.
var floors = map[string]int{
	"cmd/node":          8,
	"examples":          8, // a module of its own
	"mollifiertest":     7,
	"httpapi":           7,
	"bench":             7,
	".":                 6,
	"telemetry":         5,
	"actors":            4,
	"claim":             3,
	"buffer":            3,
	"gate":              3,
	"drain":             4,
	"fleet":             3,
	"live":              7,
	"ring":              4,
	"fallback":          4,
	"explain":           4,
	"simulate":          4,
	"watch":             4,
	"client":            1,
	"runstore":          3,
	"runstore/schema":   2,
	"tenant":            3,
	"override":          3,
	"follow":            2,
	"token":             1,
	"packet":            2,
	"shard":             2,
	"redisdb":           2,
	"run":               1,
	"internal/devstack": 1,
	"internal/mutant":   0,

	"mollifiertest/link": 1,
	"test/chaos":         2, // it knows the program from outside only
}

func floorOf(dir string) (floor int, place string, ok bool) {
	for place = dir; ; place = filepath.ToSlash(filepath.Dir(place)) {
		if floor, ok = floors[place]; ok && (place != "." || dir == ".") {
			return floor, place, true
		}
		if place == "." {
			return 0, "", false
		}
	}
}

// The house stands: no import points up or sideways, and every package has a floor.
func TestImportsOnlyPointDown(t *testing.T) {
	t.Parallel()
	walkGo(t, func(path string, test bool) {
		if test {
			return // a test may use whatever it needs to look at its package from above
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		floor, place, ok := floorOf(dir)
		if !ok {
			t.Errorf("%s: package %s has no floor: name it in floors", path, dir)
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if imported != module && !strings.HasPrefix(imported, module+"/") {
				continue
			}
			below := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
			if below == "" {
				below = "."
			}
			f, p, ok := floorOf(below)
			if !ok || (f >= floor && p != place) {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports only point down", path, floor, imported, f)
			}
		}
	})
}

// One package knows the actor library, one each store's client.
func TestOneOwnerForEachLibrary(t *testing.T) {
	t.Parallel()
	owners := map[string][]string{
		"github.com/asynkron/protoactor-go": {"actors"},
		"github.com/redis/go-redis":         {"redisdb", "internal/devstack", "bench", "test/chaos"},
		"github.com/jackc/pgx":              {"runstore", "runstore/schema", "tenant", "override", "follow", "internal/devstack", "cmd/node", "bench", "test/chaos", "mollifiertest", "examples"},
		"github.com/danielgtaylor/huma":     {"httpapi"},
		"github.com/minio/minio-go":         {"packet"},
		"github.com/rs/cors":                {"httpapi"},
	}
	walkGo(t, func(path string, test bool) {
		if test {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		_, place, _ := floorOf(filepath.ToSlash(filepath.Dir(path)))
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for library, allowed := range owners {
				if strings.HasPrefix(imported, library) && !contains(allowed, place) {
					t.Errorf("%s imports %s: only %v may", path, imported, allowed)
				}
			}
		}
	})
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// Every word of the project has one place that explains it.
func TestEveryWordIsExplained(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/concepts.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "### "); ok {
			for word := range strings.SplitSeq(strings.ToLower(strings.TrimSpace(title)), ", ") {
				headings[word] = true
			}
		}
	}
	for _, word := range []string{
		"trigger", "run", "key", "burst", "storm", "gate", "trip", "hold", "mollify", "snapshot", "claim",
		"buffer", "drain", "materialise", "read fallback", "dwell",
	} {
		if !headings[word] {
			t.Errorf("docs/concepts.md has no heading for %q", word)
		}
	}
}

// No test waits for time to pass: it waits for what it is about.
func TestNoTestSleeps(t *testing.T) {
	t.Parallel()
	needle := "time." + "Sleep("
	walkGo(t, func(path string, test bool) {
		if !test {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), needle) {
			t.Errorf("%s calls %s)", path, needle)
		}
	})
}

func walkGo(t *testing.T, visit func(path string, test bool)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "data" || d.Name() == "testdata" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			visit(filepath.ToSlash(path), strings.HasSuffix(path, "_test.go"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every direct dependency has its reason in docs/dependencies.md.
func TestEveryDependencyHasItsReason(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || !strings.HasPrefix(line, "\t") || !strings.HasPrefix(fields[1], "v") {
			continue // indirect requirements carry a comment
		}
		name := strings.TrimPrefix(strings.TrimPrefix(fields[0], "github.com/"), "golang.org/")
		if !strings.Contains(string(reasons), name+"`") {
			t.Errorf("%s has no line in docs/dependencies.md", fields[0])
		}
	}
}
