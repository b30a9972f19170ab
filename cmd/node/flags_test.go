package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peterbourgon/ff/v3"

	"github.com/e0ff5a15/mollifier"
)

// What can be seen to be wrong is refused by its name, before anything starts.
func TestRefusedByName(t *testing.T) {
	t.Parallel()
	config := func(text string) string {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// What is not refused is not started either.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		says string
		args []string
	}{
		{"-lisen", []string{"-lisen", "x"}},
		{`"serv"`, []string{"serv"}},
		{`"env ad"`, []string{"env", "ad"}},
		{"after the command", []string{"-data", "x", "env", "list"}},
		{"-claim-ttl", []string{"-claim-ttl", "1s"}},
		{"-claim-ttl", []string{"-claim-ttl", "0s"}},
		{"-wait-budget", []string{"-wait-budget", "0s"}},
		{"-partitions", []string{"-partitions", "2000"}},
		{"-shards", []string{"-shards", "65"}},
		{"-prefix", []string{"-prefix", "a{b"}},
		{"-postgres-conns", []string{"-postgres-conns", "1"}},
		{"-max-callers", []string{"-max-callers", "0"}},
		{"-max-bytes", []string{"-max-bytes", "1"}},
		{"-gate:", []string{"-gate", "maybe"}},
		{"-gate-algorithm", []string{"-gate-algorithm", "dice"}},
		{"-gate-window", []string{"-gate-window", "0s"}},
		{"-gate-window", []string{"-gate-window", "2h"}},
		{"-gate-threshold", []string{"-gate-threshold", "0"}},
		{"-gate-threshold", []string{"-gate-threshold", "5000", "-gate-window", "1ms"}},
		{"-gate-hold", []string{"-gate-hold", "0s"}},
		{"-buffer-entries", []string{"-buffer-entries", "0"}},
		{"-buffer-bytes", []string{"-buffer-bytes", "0"}},
		{"-buffer-total-entries", []string{"-buffer-total-entries", "0"}},
		{"-buffer-total-bytes", []string{"-buffer-total-bytes", "0"}},
		{"-buffer-age", []string{"-buffer-age", "0s"}},
		{"-stop-timeout", []string{"-stop-timeout", "0s"}},
		{"-log-format", []string{"-log-format", "xml"}},
		{"-name", []string{"-name", strings.Repeat("n", 65)}},
		{"-packets:", []string{"-packets", "s3://canary@host"}},
		{"-packets-bytes", []string{"-packets-bytes", "1"}},
		{"-packets-keep", []string{"-packets-keep", "-1s"}},
		{"-public-url", []string{"-public-url", "api.example"}},
		{"-public-url", []string{"-public-url", "https://user@api.example"}},
		{"-rate-limit", []string{"-rate-limit", "-1"}},
		{"-rate-refill", []string{"-rate-refill", "0"}},
		{"-otlp:", []string{"-otlp", "collector:4318"}},
		{"-otlp:", []string{"-otlp", "http://user@collector:4318"}},
		{"-slo", []string{"-slo", "2m"}},
		{"-otlp-sample", []string{"-otlp-sample", "2"}},
		{"-otlp-sample", []string{"-otlp-sample", "NaN"}},
		{"-cors-origins", []string{"-cors-origins", "https://a.example,b.example"}},
		{"-cors-origins", []string{"-cors-origins", "https://a.example/path"}},
		{"log-level", []string{"-log-level", "loud"}},
		{"-data", []string{"-data", ""}},
		{"without -postgres", []string{"-redis", "redis://127.0.0.1:1"}},
		{"without -redis", []string{"-postgres", "postgres://127.0.0.1:1/x"}},
		{"give one of them", []string{"-secret-key", "x", "-secret-key-file", "y"}},
		{`"colour"`, []string{"-config", config("data x\ncolour blue\n")}},
		{`"colour"`, []string{"-config", config(` {"colour": "blue"}`)}},
		{`"colour"`, []string{"env", "list", "-config", config("listen x\ncolour blue\n")}},
		{"claim-ttl", []string{"-config", config("claim-ttl soon\n")}},
		{"no such file", []string{"-config", filepath.Join(t.TempDir(), "none")}},
		{"unexpected argument", []string{"env", "list", "x"}},
		{"unexpected argument", []string{"env", "enrol", "x", "-off"}},
		{"needs an environment", []string{"env", "rotate"}},
		{"-secret-key:", []string{"-secret-key", "short"}},
		{"-keys", []string{"demo", "-keys", "0"}},
		{"needed together", []string{"demo", "-url", "http://127.0.0.1:1"}},
		{"by itself", []string{"demo", "-url", "http://127.0.0.1:1", "-data", "x"}},
	} {
		if code, stdout, stderr := runWith(ended, c.args...); code != exitUsage || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("%v: status %d, %q, %q: want %q", c.args, code, stdout, stderr, c.says)
		}
	}
}

func TestUnknownVariable(t *testing.T) {
	t.Parallel()
	p := command(t, []string{"MOLLIFIER_LISEN=127.0.0.1:0"}, "-data", folder(t))
	if code := p.wait(t); code != exitUsage || !strings.Contains(p.stderr.String(), "MOLLIFIER_LISEN") {
		t.Errorf("status %d: %s", code, p.stderr)
	}
}

// Every flag is explained, with its default.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-h"}, {"-help"}} {
		code, stdout, stderr := runHere(t, args...)
		if code != 0 || stderr != "" {
			t.Fatalf("%v: status %d, %s", args, code, stderr)
		}
		newSettings().serve.VisitAll(func(f *flag.Flag) {
			if !strings.Contains(stdout, "\n  -"+f.Name+" ") && !strings.Contains(stdout, "\n  -"+f.Name+"\n") {
				t.Errorf("%v does not explain -%s", args, f.Name)
			}
			if f.Usage == "" {
				t.Errorf("-%s has no text", f.Name)
			}
		})
	}
	for _, command := range [][]string{{"env", "-h"}, {"env"}, {"env", "add", "-h"}, {"migrate", "-h"}, {"demo", "-h"}, {"version", "-h"}} {
		code, stdout, stderr := runHere(t, command...)
		if code != 0 || !strings.Contains(stdout, "Usage:\n  node "+command[0]) {
			t.Errorf("%v: status %d, %s%s", command, code, stdout, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if code, stdout, _ := runHere(t, "version"); code != 0 || !strings.HasPrefix(stdout, "mollifier ") {
		t.Errorf("status %d: %s", code, stdout)
	}
}

// A flag wins over a variable, a variable over the file. The test sets variables
// and can not run beside others.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	t.Setenv("MOLLIFIER_CLAIM_TTL", "12s")
	t.Setenv("MOLLIFIER_LISTEN", "variable:1")
	t.Setenv("MOLLIFIER_MAX_CALLERS", "")
	for _, text := range []string{
		"# a comment\nclaim-ttl 11s\nwait-budget 2s\nlisten file:1\nseed false\n",
		`{"claim-ttl": "11s", "wait-budget": "2s", "listen": "file:1", "seed": false}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSettings()
		if err := ff.Parse(s.serve, []string{"-config", file, "-listen", "flag:1"}, s.options()...); err != nil {
			t.Fatal(err)
		}
		if s.listen != "flag:1" || s.engine.ClaimTTL != 12*time.Second || s.engine.WaitBudget != 2*time.Second ||
			s.seed || s.engine.MaxCallers != 65_536 {
			t.Errorf("listen %s, claim-ttl %s, wait-budget %s, seed %v, max-callers %d",
				s.listen, s.engine.ClaimTTL, s.engine.WaitBudget, s.seed, s.engine.MaxCallers)
		}
	}
}

// The flags of the storm reach the engine's configuration.
func TestStormFlags(t *testing.T) {
	t.Parallel()
	s := newSettings()
	if err := s.check(); err != nil || s.engine.Gate.Off || s.engine.Gate.Shadow || s.engine.Gate.Smooth || s.engine.NoDrain || s.engine.NoDivert {
		t.Errorf("by default: %+v, %v", s.engine, err)
	}
	s = newSettings()
	if err := s.serve.Parse([]string{
		"-gate", "shadow", "-gate-pressure=false", "-gate-algorithm", "gcra", "-gate-window", "1s", "-gate-threshold", "7",
		"-gate-hold", "2s", "-buffer-entries", "9", "-drain=false", "-divert=false",
	}); err != nil {
		t.Fatal(err)
	}
	want := mollifier.GateConfig{Window: time.Second, Threshold: 7, Hold: 2 * time.Second, Smooth: true, RateOnly: true, Shadow: true}
	if err := s.check(); err != nil || s.engine.Gate != want || s.engine.Buffer.MaxEntries != 9 || !s.engine.NoDrain || !s.engine.NoDivert {
		t.Errorf("%+v, %v", s.engine, err)
	}
	s = newSettings()
	if err := s.serve.Parse([]string{"-gate", "off"}); err != nil {
		t.Fatal(err)
	}
	if err := s.check(); err != nil || !s.engine.Gate.Off {
		t.Errorf("%+v, %v", s.engine.Gate, err)
	}
}

// Seeding is on with private stores, and only when asked for with others.
func TestSeedDefault(t *testing.T) {
	t.Parallel()
	others := []string{"-redis", "redis://127.0.0.1:1", "-postgres", "postgres://127.0.0.1:1/x"}
	for _, c := range []struct {
		args []string
		want bool
	}{
		{nil, true},
		{[]string{"-seed=false"}, false},
		{others, false},
		{append(others, "-seed"), true},
	} {
		s := newSettings()
		if err := s.serve.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if err := s.check(); err != nil || s.seed != c.want {
			t.Errorf("%v: seed %v, %v", c.args, s.seed, err)
		}
	}
}

// A taken port ends the start before any store is made.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := folder(t)
	for _, flagName := range []string{"-listen", "-admin"} {
		args := []string{"-data", data, "-listen", "127.0.0.1:0", flagName, l.Addr().String()}
		code, stdout, stderr := runHere(t, args...)
		if code != exitFailure || stdout != "" || !strings.Contains(stderr, flagName) || !strings.Contains(stderr, "taken") {
			t.Errorf("%s: status %d, %s", flagName, code, stderr)
		}
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("the data folder was touched: %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{"", " \n", "data x", "{\"data\": \"x\"}", "{", "# c\nlisten\ta", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := newSettings()
		// Whatever the file holds, it is read or refused.
		_ = parseConfig(strings.NewReader(text), func(name, value string) error { return s.serve.Set(name, value) })
	})
}

// The engine's errors name fields; a user knows flags.
func TestFlagNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mollifier: Config.Partitions: disagrees":        "-partitions: ",
		"mollifier: Config.Postgres must be a URL":       "-postgres: ",
		"mollifier: Config.PostgresConns must be 4 to 8": "-postgres-conns: ",
		"mollifier: open Redis: no":                      "mollifier: open Redis",
		"mollifier: Config.Redis":                        "mollifier: Config.Redis",
	} {
		if got := flagNamed(errors.New(text)).Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%q becomes %q, want %q in front", text, got, want)
		}
	}
}

func TestQuoteShell(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"./data": "./data", "": "''", "my data": "'my data'", "it's": `'it'\''s'`} {
		if got := quoteShell(text); got != want {
			t.Errorf("quoteShell(%q) = %s, want %s", text, got, want)
		}
	}
}
