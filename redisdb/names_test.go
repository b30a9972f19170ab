package redisdb

import (
	"regexp"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// Whatever an environment is called, its tag is a plain word and its own.
func TestEnvTag(t *testing.T) {
	t.Parallel()
	plain := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	seen := map[string]string{}
	for _, env := range []string{
		"", "env", "env_1", "x", "x-", "x-a", "X-a", "-", "a:b", "a}b{0}", "a b", "ä", "a\x00", "a\nb", "a|b",
		strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 66), EnvTag("a:b"), EnvTag("x-"),
	} {
		tag := EnvTag(env)
		if !plain.MatchString(tag) || tag != EnvTag(env) {
			t.Errorf("%q: tag %q", env, tag)
		}
		if other, twice := seen[tag]; twice {
			t.Errorf("%q and %q share the tag %q", env, other, tag)
		}
		seen[tag] = env
	}
	if EnvTag("env_1") != "env_1" {
		t.Error("a plain id is its own tag")
	}
}

// Names of different kinds never meet, and those of a partition share its slot.
func TestNames(t *testing.T) {
	t.Parallel()
	n := newNames("m:x", 2)
	id := run.MintID(run.Instant(1).Time(), 1)
	seen := map[string]bool{n.Wake(): true, n.Deployment(): true, n.Board(): true}
	want := 3
	for p := range 2 {
		for _, tag := range []string{"e", "k", "q", "l", "envs"} {
			for _, name := range []string{
				n.Record(p, run.Hash{byte(len(tag)), tag[0]}), n.Entry(p, tag, id), n.Queue(p, tag), n.Index(p, tag),
			} {
				want++
				seen[name] = true
				if !strings.HasPrefix(name, "m:x:{"+string(rune('0'+p))+"}:") {
					t.Errorf("%q", name)
				}
			}
		}
		for _, name := range []string{n.Leases(p), n.Envs(p), n.Usage(p), n.Dead(p), n.Beat(p, "l")} {
			want++
			seen[name] = true
		}
	}
	for _, name := range []string{n.Rate("a"), n.Size("a")} {
		want++
		seen[name] = true
	}
	if len(seen) != want {
		t.Fatalf("%d names, want %d", len(seen), want)
	}
}
