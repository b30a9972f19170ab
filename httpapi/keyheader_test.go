package httpapi

import (
	"strings"
	"testing"
)

func TestKeyOfHeader(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "order-42": "order-42", `"order-42"`: "order-42", `"a\"b\\c"`: `a"b\c`, `"k";v=1;x`: "k", `a"b`: `a"b`, "é": "é", `"k" `: "k",
	} {
		if got, err := keyOfHeader(text); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{`"`, `""`, `"a`, `"a\n"`, `"a" b`, `"é"`, `"a", "b"`} {
		if got, err := keyOfHeader(text); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// A key in quotes is the key; nothing is taken for one that is not.
func FuzzKeyOfHeader(f *testing.F) {
	for _, s := range []string{`"a"`, `a`, `"\"`, `"a";b="c"`, `"\\"`, "\"\xff\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := keyOfHeader(text)
		if err == nil && strings.HasPrefix(text, `"`) && (key == "" || len(key) >= len(text)) {
			t.Fatalf("%q gave %q", text, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		printableText := text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
		if again, err := keyOfHeader(quoted); printableText && (err != nil || again != text) {
			t.Fatalf("%s gave %q, %v", quoted, again, err)
		}
	})
}
