package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// configured runs a config command with variables and a file.
func configured(t *testing.T, file string, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "node.conf")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-config", path)
	}
	var out, errs bytes.Buffer
	code = execute(t.Context(), append([]string{"config"}, args...), environ, &out, &errs)
	return code, out.String(), errs.String()
}

// Each setting is printed with where it comes from, and nothing secret of it.
func TestConfigPrint(t *testing.T) {
	t.Parallel()
	secret := "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="
	code, text, stderr := configured(t, "gate-threshold 500\ngate-hold 2s\nredis redis://u:hunter2@r:1/0\n",
		[]string{"MOLLIFIER_GATE_HOLD=3s", "MOLLIFIER_POSTGRES=postgres://u:hunter2@p/db?password=hunter2", "MOLLIFIER_DATA=", "HOME=/"},
		"print", "-json", "-gate-window", "1s", "-gate-hold", "4s", "-secret-key", secret, "-packets", "s3://key:hunter2@s/bucket")
	if code != exitOK {
		t.Fatalf("%d %s", code, stderr)
	}
	if strings.Contains(text+stderr, "hunter2") || strings.Contains(text+stderr, secret) {
		t.Errorf("a secret is shown:\n%s", text)
	}
	var list []settingJSON
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]settingJSON{}
	for _, s := range list {
		got[s.Key] = s
	}
	for key, want := range map[string][2]string{
		"gate-threshold": {"500", "file"}, "gate-hold": {"4s", "flag"}, "gate-window": {"1s", "flag"}, "data": {"./data", "default"},
		"redis": {"redis://(not shown)@r:1/0", "file"}, "postgres": {"postgres://(not shown)@p/db?(not shown)", "environment"},
		"secret-key": {leftOut, "flag"}, "packets": {"s3://(not shown)@s/bucket", "flag"},
		"admin-tokens": {"data/admin.tokens", "default"},
	} {
		if s := got[key]; s.Value != want[0] || s.Source != want[1] {
			t.Errorf("%s: %+v, want %v", key, s, want)
		}
	}
	if code, text, _ := configured(t, "", nil, "print"); code != exitOK || !strings.HasPrefix(text, "KEY ") || !strings.Contains(text, "default") {
		t.Errorf("%d %s", code, text)
	}
}

// All problems are told at once, each by its key; and what is right is said to be.
func TestConfigCheck(t *testing.T) {
	t.Parallel()
	if code, text, stderr := configured(t, "gate-threshold 500\n", []string{"MOLLIFIER_GATE_HOLD=3s"}, "check"); code != exitOK || !strings.Contains(text, "good") {
		t.Errorf("%d %s%s", code, text, stderr)
	}
	code, text, stderr := configured(t, "gate-threshold 0\nno-such 1\nclaim-ttl soon\n",
		[]string{"MOLLIFIER_GATE_HOLD=3h", "MOLLIFIER_GAT=1", "MOLLIFIER_PARTITIONS=many", "MOLLIFIER_REDIS=redis://u:hunter2@r:1/0"},
		"check", "-log-format", "xml", "-listen", "127.0.0.1:8030", "-admin", "127.0.0.1:8030", "-max-callers", "0", "-buffer-age", "1s", "-rate-refill", "0")
	if code != exitUsage || text != "" {
		t.Errorf("%d %s", code, text)
	}
	for _, want := range []string{
		"-gate-threshold: must", `unknown setting "no-such"`, "-claim-ttl: its value in the -config file", "-gate-hold: must",
		"unknown environment variable MOLLIFIER_GAT\n", "-partitions: the value of MOLLIFIER_PARTITIONS", "-redis is given without -postgres",
		"-log-format:", "-admin: must not be", "-max-callers:", "-buffer-age:", "-rate-refill:",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not told:\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr, "hunter2") {
		t.Errorf("a secret is shown:\n%s", stderr)
	}
	for want, args := range map[string][]string{
		"unexpected argument": {"check", "more"}, `unknown command "config chek"`: {"chek"}, "flag provided but not defined": {"check", "-no-such"},
	} {
		if code, _, stderr := configured(t, "", nil, args...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
	}
}
