package mollifier_test

import (
	"os"
	"strings"
	"testing"
)

// The first example that a reader meets is the one that the compiler has seen.
func TestReadmeShowsTheExample(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, rest, _ := strings.Cut(read("example_test.go"), "\nfunc Example() {\n")
	body, _, found := strings.Cut(rest, "\n}\n")
	if !found {
		t.Fatal("example_test.go has no func Example")
	}
	var want strings.Builder
	for line := range strings.Lines(body + "\n") {
		want.WriteString(strings.TrimPrefix(line, "\t"))
	}
	_, rest, _ = strings.Cut(read("README.md"), "```go\n")
	got, _, _ := strings.Cut(rest, "```\n")
	if got != want.String() {
		t.Errorf("README.md shows\n%s\nexample_test.go has\n%s", got, want.String())
	}
}
