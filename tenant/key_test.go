package tenant

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

func TestMintedForms(t *testing.T) {
	t.Parallel()
	additional := regexp.MustCompile(`^tr_(dev|stg|prod|preview)_sk_[0-9a-zA-Z]{24}$`)
	used := map[rune]bool{}
	for _, typ := range []Type{Dev, Staging, Prod, Preview} {
		form := regexp.MustCompile(`^tr_` + string(typ) + `_[0-9a-zA-Z]{24}$`)
		seen := map[string]bool{}
		for range 500 {
			key := mintRootKey(typ).Reveal()
			if !form.MatchString(key) || additional.MatchString(key) || seen[key] {
				t.Fatalf("a root key of %s is malformed or a repeat", typ)
			}
			seen[key] = true
			for _, r := range key[len(key)-keyRandomLen:] {
				used[r] = true
			}
			if h := hint(NewSecret(key)); len(h) != 4 || !strings.HasSuffix(key, h) {
				t.Fatalf("hint %q", h)
			}
		}
	}
	if len(used) != 62 {
		t.Errorf("%d of 62 characters are ever used", len(used))
	}
	if id := mintID(environmentPrefix); !regexp.MustCompile(`^env_[a-z2-7]{20}$`).MatchString(id) {
		t.Errorf("id %q", id)
	}
}

func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	good := NewEnvironment{"Acme-2.eu", "prod_1", Prod}
	if err := good.check(); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
	for _, c := range []struct {
		field string
		n     NewEnvironment
	}{
		{"organisation", NewEnvironment{"", "dev", Dev}},
		{"organisation", NewEnvironment{"-a", "dev", Dev}},
		{"organisation", NewEnvironment{"env_a", "dev", Dev}},
		{"organisation", NewEnvironment{strings.Repeat("a", 65), "dev", Dev}},
		{"name", NewEnvironment{"a", "", Dev}},
		{"name", NewEnvironment{"a", "d v", Dev}},
		{"name", NewEnvironment{"a", "d\x00v", Dev}},
		{"name", NewEnvironment{"a", "dév", Dev}},
		{"name", NewEnvironment{"a", "env_x", Dev}},
		{"name", NewEnvironment{"a", "org_x", Dev}},
		{"type", NewEnvironment{"a", "b", "staging"}},
		{"type", NewEnvironment{"a", "b", ""}},
	} {
		var invalid *run.InvalidError
		if err := c.n.check(); !errors.As(err, &invalid) || invalid.Field != c.field {
			t.Errorf("%+v: %v, want a fault of %s", c.n, err, c.field)
		}
	}
}
