package token_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/token"
)

func TestAllow(t *testing.T) {
	t.Parallel()
	one, all := token.Resource{Type: "runs", ID: "run_1"}, token.Resource{Type: "runs"}
	for _, c := range []struct {
		scope    string
		one, all bool
	}{
		{"read:runs:run_1", true, false},
		{"read:runs:run_2", false, false},
		{"read:runs", true, true},
		{"read:all", true, true},
		{"read:all:run_1", true, false},
		{"*:runs:run_1", true, false},
		{"*:all", true, true},
		{"admin", true, true},
		{"admin:runs", false, false},
		{"admin:runs:run_1", false, false},
		{"write:runs", false, false},
		{"read:tags:run_1", false, false},
		{"read:runs:", false, false},
		{"read:all:", false, false},
		{"read:", false, false},
		{"read", false, false},
		{"*", false, false},
		{"", false, false},
		{":", false, false},
		{"::", false, false},
		{"READ:runs", false, false},
		{" read:runs", false, false},
		{"read:runs:run_1 ", false, false},
		{"read:runs:run_1:more", false, false},
	} {
		s := token.Scopes{"read:batch:x", c.scope}
		if s.Allow(token.Read, one) != c.one || s.Allow(token.Read, all) != c.all {
			t.Errorf("%q allows %v %v", c.scope, s.Allow(token.Read, one), s.Allow(token.Read, all))
		}
	}
	if !(token.Scopes{"read:tags:user:42:x"}).Allow(token.Read, token.Resource{Type: token.Tags, ID: "user:42:x"}) {
		t.Error("an id with colons")
	}
	if token.Scopes(nil).Allow(token.Read, one) {
		t.Error("no scopes grant")
	}
	two := token.Scopes{"read:tags:a", "read:tags:b"}
	if !two.AllowEach(token.Read, token.Tags, []string{"a", "b"}) || two.AllowEach(token.Read, token.Tags, []string{"a", "c"}) ||
		two.AllowEach(token.Read, token.Tags, nil) || two.AllowEach(token.Read, token.Tags, []string{"a", ""}) {
		t.Error("AllowEach")
	}
	if !two.AllowAny(token.Read, one, token.Resource{Type: token.Tags, ID: "b"}) || two.AllowAny(token.Read, one) || two.AllowAny(token.Read) {
		t.Error("AllowAny")
	}
}

// A scope grants one thing only if it names it: written as its three parts, or
// with a wildcard in their place.
func FuzzAllow(f *testing.F) {
	for _, s := range []string{"read:runs:run_1", "admin", "*:all", "read:tags:a:b", "read:runs:", "::", "*"} {
		f.Add(s, "read", "runs", "run_1")
		f.Add(s, "read", "tags", "a:b")
	}
	f.Fuzz(func(t *testing.T, scope, action, kind, id string) {
		if strings.ContainsAny(action+kind, ":") || slices.Contains([]string{"", "*", "admin"}, action) || kind == "" || kind == "all" || id == "" {
			t.Skip()
		}
		var naming []string
		for _, a := range []string{action, "*"} {
			for _, k := range []string{kind, "all"} {
				naming = append(naming, a+":"+k, a+":"+k+":"+id)
			}
		}
		want := scope == "admin" || slices.Contains(naming, scope)
		if got := (token.Scopes{scope}).Allow(action, token.Resource{Type: kind, ID: id}); got != want {
			t.Errorf("%q on %s %s %q: %v", scope, action, kind, id, got)
		}
	})
}
