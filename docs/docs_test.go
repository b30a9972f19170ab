// Package docs_test holds the pages to the tree that they describe.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("*.md")
	if err != nil || len(list) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	more, err := filepath.Glob("adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(append(list, more...), "../README.md", "../CHANGELOG.md")
}

// A test that a page names is in the tree, where the page says it is.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile("`([a-z/_]*[a-z_]+_test\\.go):((?:Test|Fuzz|Benchmark|Example)\\w*)`")
	transcript := regexp.MustCompile("`(shard/testdata/[\\w-]+\\.txt)`")
	sources := map[string]string{}
	named := 0
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			file, function := m[1], m[2]
			if _, known := sources[file]; !known {
				source, err := os.ReadFile(filepath.Join("..", file))
				if err != nil {
					t.Errorf("%s names %s: %v", page, file, err)
				}
				sources[file] = string(source)
			}
			if !strings.Contains(sources[file], "\nfunc "+function+"(") {
				t.Errorf("%s names %s in %s, which is not there", page, function, file)
			}
			named++
		}
		for _, m := range transcript.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
			named++
		}
	}
	if named < 100 {
		t.Errorf("only %d tests are named: the pattern misses them", named)
	}
}

// Every case from 1 to 138 stands in the plan, once.
func TestPlanHasEveryCase(t *testing.T) {
	t.Parallel()
	row := regexp.MustCompile(`(?m)^\| (\d+)(?:–(\d+))? \|`)
	seen := map[int]int{}
	for _, m := range row.FindAllStringSubmatch(read(t, "test-plan.md"), -1) {
		first, _ := strconv.Atoi(m[1])
		last := first
		if m[2] != "" {
			last, _ = strconv.Atoi(m[2])
		}
		for n := first; n <= last; n++ {
			seen[n]++
		}
	}
	for n := 1; n <= 138; n++ {
		if seen[n] != 1 {
			t.Errorf("case %d is in %d rows", n, seen[n])
		}
	}
}

// Every script stands in the plan's table of what may be repeated, once, and no other.
func TestPlanHasEveryScript(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+/lua/[a-z_]+\\.lua)` \\|").FindAllStringSubmatch(read(t, "test-plan.md"), -1) {
		seen[m[1]]++
	}
	files, err := filepath.Glob("../*/lua/*.lua")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimPrefix(filepath.ToSlash(file), "../")
		if name == "buffer/lua/common.lua" {
			continue // the beginning of the others
		}
		if seen[name] != 1 {
			t.Errorf("%s is in %d rows", name, seen[name])
		}
		delete(seen, name)
	}
	for name := range seen {
		t.Errorf("%s is in the plan, and is no script", name)
	}
}

// Links between the pages lead somewhere, anchors included.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s links to %s: no such heading", page, m[1])
			}
		}
	}
}

// anchors are the headings of a page as links name them.
func anchors(text string) (all []string) {
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(text) {
		if marks, title, ok := strings.Cut(line, " "); ok && marks != "" && strings.Trim(marks, "#") == "" {
			title = drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			all = append(all, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return all
}

// The Go code of the pages is code that the compiler has seen: it stands in
// snippets_test.go, but for its indentation.
func TestGoBlocksCompile(t *testing.T) {
	t.Parallel()
	plain := func(text string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			b.WriteString(strings.TrimLeft(line, "\t"))
		}
		return b.String()
	}
	compiled := plain(read(t, "snippets_test.go"))
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		for i, part := range strings.Split(read(t, page), "```go\n") {
			block, _, _ := strings.Cut(part, "```")
			if i > 0 && !strings.Contains(compiled, plain(block)) {
				t.Errorf("%s: this is not in snippets_test.go:\n%s", page, block)
			}
		}
	}
}

// The table of flags has the flags that the node has.
func TestFlagsAreInTheTable(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../cmd/node/flags.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var defined []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 4 {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasSuffix(method.Sel.Name, "Var") {
			return true
		}
		if name, ok := call.Args[1].(*ast.BasicLit); ok && name.Kind == token.STRING {
			text, _ := strconv.Unquote(name.Value)
			defined = append(defined, text)
		}
		return true
	})
	_, table, _ := strings.Cut(read(t, "operate.md"), "\n## Flags\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var shown []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`-([a-z-]+)`").FindAllStringSubmatch(cells[1], -1) {
				shown = append(shown, m[1])
			}
		}
	}
	slices.Sort(defined)
	slices.Sort(shown)
	if len(defined) == 0 || !slices.Equal(defined, shown) {
		t.Errorf("operate.md has the flags\n%v\nthe node has\n%v", shown, defined)
	}
}

// statusOf is the number of a constant of net/http.
func statusOf(t *testing.T, name string) string {
	t.Helper()
	for status := 100; status < 600; status++ {
		if strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status)) == name {
			return strconv.Itoa(status)
		}
	}
	t.Fatalf("no status is called %s", name)
	return ""
}

// Every problem that the API answers has its section, with its status, and no other
// has one.
func TestProblemsAreExplained(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../httpapi/*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`newProblem\(http\.\w+, "([a-z-]+)"|\bname(?:, text)? :?= (?:http\.\w+, )?"([a-z-]+)"|status, name = http\.\w+, "([a-z-]+)"|status, name := http\.\w+, "([a-z-]+)"`)
	direct := regexp.MustCompile(`newProblem\(http\.Status(\w+), "([a-z-]+)"`)
	want, statuses := map[string]bool{}, map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(read(t, file), -1) {
			want[strings.Join(m[1:], "")] = true
		}
		for _, m := range direct.FindAllStringSubmatch(read(t, file), -1) {
			statuses[m[2]] = statusOf(t, m[1])
		}
	}
	delete(want, "") // that of a refused permission, whose name is the clients'
	want["authorization"] = true
	page := read(t, "problems.md")
	sections := regexp.MustCompile("(?m)^### (.+)\n\\*\\*(\\d{3})\\b").FindAllStringSubmatch(page, -1)
	if titles := strings.Count(page, "\n### "); titles != len(sections) {
		t.Errorf("problems.md: %d sections, of which %d begin with their status", titles, len(sections))
	}
	shown := map[string]string{}
	for _, m := range sections {
		name, status := m[1], m[2]
		if shown[name] != "" || !want[name] {
			t.Errorf("problems.md has the problem %q twice, or the API has not", name)
		}
		shown[name] = status
	}
	for name := range want {
		if shown[name] == "" {
			t.Errorf("problems.md lacks the problem %q", name)
		}
	}
	for name, status := range statuses {
		if shown[name] != "" && shown[name] != status && !strings.Contains(page, "### "+name+"\n**"+shown[name]+"**, and **"+status+"**") {
			t.Errorf("problems.md gives %s to %q, the API %s", shown[name], name, status)
		}
	}
	if len(want) < 10 {
		t.Errorf("only %d problems found: the pattern misses them", len(want))
	}
}
