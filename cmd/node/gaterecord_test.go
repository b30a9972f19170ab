package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/gate/recording"
)

// A storm on two nodes is recorded, by what they remember and by the files of one; the
// replay of both together has it as it was, and under a higher threshold nothing is
// mollified. A storm of who is not enrolled is in it too, in shadow mode.
func TestGateRecordAndReplay(t *testing.T) {
	t.Parallel()
	stores, _ := sharedStores(t)
	data, second := folder(t), folder(t)
	files := filepath.Join(data, "decisions")
	args := append(stores, "-gate", "shadow", "-gate-pressure=false", "-gate-threshold", "20", "-gate-window", "10m")
	one := startNode(t, data, append(args, "-name", "one", "-gate-record", files)...)
	startNode(t, second, append(args, "-name", "two", "-secret-key-file", filepath.Join(data, "secret.key"))...)
	env := info(t, data).Environments[1]
	named := env.Organisation + "/" + env.Name
	c := client(t)
	storm := func(node string, n int) {
		t.Helper()
		for range n {
			if status, body := call(t, c, http.MethodPost, node+"/api/v1/tasks/hello/trigger", env.Key, `{}`); status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	storm(info(t, data).HTTP, 30)
	storm(info(t, second).HTTP, 30)
	dir := t.TempDir()
	for name, from := range map[string]string{"one": data, "two": second} {
		code, text, stderr := runHere(t, "gate", "record", "-last", "10m", "-environment", named, "-data", from)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil || code != exitOK {
			t.Fatalf("%d %s %v", code, stderr, err)
		}
	}
	one.stop(t) // and so the files are complete
	replay := func(args ...string) replayJSON {
		t.Helper()
		code, text, stderr := runHere(t, append([]string{"gate", "replay", "-json"}, args...)...)
		var got replayJSON
		if err := json.Unmarshal([]byte(text), &got); err != nil || code != exitOK || len(got.Environments) != 1 {
			t.Fatalf("%d %s%s %v", code, text, stderr, err)
		}
		return got
	}
	picture := filepath.Join(dir, "replay.svg")
	// What the node remembers and what it wrote are the same lines.
	both := replay(filepath.Join(dir, "one"), filepath.Join(dir, "two"), files, "-svg", picture)
	e := both.Environments[0]
	if e.Name != named || e.Triggers != 60 || e.Peak != 60 || e.Replayed.Mollified != 40 || len(e.Replayed.Trips) == 0 || len(both.Nodes) != 2 {
		t.Errorf("%+v", both)
	}
	// A node may let through what it counts within a round trip.
	if e.Recorded.Mollified < 30 || e.Recorded.Mollified > 40 {
		t.Errorf("recorded %+v", e.Recorded)
	}
	if e := replay(files).Environments[0]; e.Triggers != 30 || e.Replayed.Mollified != 10 {
		t.Errorf("of the folder: %+v", e)
	}
	if e := replay(files, filepath.Join(dir, "two"), "-threshold", "60").Environments[0]; len(e.Replayed.Trips) > 0 || e.Replayed.Mollified != 0 || e.Threshold != 60 {
		t.Errorf("with the peak as threshold: %+v", e)
	}
	if text, err := os.ReadFile(picture); err != nil || !strings.Contains(string(text), named) {
		t.Errorf("%v %.200s", err, text)
	}
	code, text, _ := runHere(t, "gate", "replay", files, filepath.Join(dir, "two"), "-hold", "1s")
	if code != exitOK || !strings.Contains(text, named) || !strings.Contains(text, "60/10m0s") {
		t.Errorf("%d %s", code, text)
	}
	for want, args := range map[string][]string{
		"needs a file":          {},
		"-algorithm":            {files, "-algorithm", "x"},
		"-from":                 {files, "-from", "noon"},
		"-threshold":            {files, "-threshold", "-1"},
		"-window":               {files, "-window", "1us"},
		"no such file":          {files + ".no"},
		"nothing to replay":     {files, "-environment", "acme/typo"},
		"line 1":                {filepath.Join(data, "stack.json")},
		"flag provided but not": {files, "-thresold", "1"},
	} {
		code, _, stderr := runHere(t, append([]string{"gate", "replay"}, args...)...)
		if code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s, want %q", args, code, stderr, want)
		}
	}
	if code, _, stderr := runHere(t, "gate", "record", "-data", second, "-last", "x"); code == exitOK || !strings.Contains(stderr, "last: ") {
		t.Errorf("%d %s", code, stderr)
	}
}

// Files are begun anew when they are full, and the oldest go; a folder that can not be
// written is told once.
func TestGateRecordFilesAreBounded(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	line := recording.Line{
		At: time.Unix(1_800_000_000, 0), Environment: strings.Repeat("e", 700),
		Limits: gate.Limits{Window: time.Second, Threshold: 1, Hold: time.Second}, Slots: []recording.Counts{{Triggers: 1}},
	}
	r := gateRecorder{folder: t.TempDir(), most: 8 << 10, log: slog.New(slog.NewTextHandler(&log, nil))}
	r.take = func(from uint64) ([]recording.Line, uint64) {
		l := line
		l.Seq = from
		return []recording.Line{l}, from + 1
	}
	now := line.At
	if err := r.begin(now); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		now = now.Add(time.Second)
		r.write(now)
	}
	_ = r.file.Close()
	names, err := recordedFiles(r.folder)
	var size int64
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if err != nil || size > r.most+2<<10 || size < r.most/2 {
		t.Errorf("%d bytes in %d files, %v", size, len(names), err)
	}
	lines, err := readRecordings([]string{r.folder}, nil)
	if err != nil || lines[len(lines)-1].Seq != 99 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	r.folder = filepath.Join(r.folder, "gone")
	for range 3 {
		r.write(now)
	}
	if n := strings.Count(log.String(), "can not be written"); n != 1 || strings.Contains(log.String(), "/gone") {
		t.Errorf("told %d times: %s", n, &log)
	}
}
