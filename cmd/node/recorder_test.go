package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A second in which triggers break their objective leaves a trace, at most one in
// five minutes, and of all these the last eight. One test for all: a process has
// one flight recorder.
func TestBreachesLeaveTraces(t *testing.T) {
	data := t.TempDir()
	var log bytes.Buffer
	r, err := newRecorder(100*time.Millisecond, data, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	files := func() []string {
		all, err := filepath.Glob(filepath.Join(data, recorderFolder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	second := func(now time.Time, all, slow, failed int) int {
		for i := range all {
			status, took := http.StatusOK, time.Millisecond
			if i < slow {
				took = time.Second
			}
			if i >= all-failed {
				status = http.StatusServiceUnavailable
			}
			r.triggered(status, took)
		}
		r.look(now)
		return len(files())
	}
	if err := os.WriteFile(filepath.Join(data, recorderFolder, "tmp-crashed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		what              string
		all, slow, failed int
		after             time.Duration
		files             int
	}{
		{"nothing", 0, 0, 0, time.Second, 1},
		{"too few to say", 19, 19, 0, time.Second, 1},
		{"one in a hundred", 200, 2, 0, time.Second, 1},
		{"more, and what a crash left goes", 200, 3, 0, time.Second, 1},
		{"again at once", 200, 200, 0, time.Second, 1},
		{"failures count", 200, 0, 3, recordPause, 2},
	} {
		now = now.Add(c.after)
		if n := second(now, c.all, c.slow, c.failed); n != c.files {
			t.Errorf("%s: %d files", c.what, n)
		}
	}
	first := files()[0]
	text, err := os.ReadFile(first)
	if err != nil || !bytes.HasPrefix(text, []byte("go 1.")) {
		t.Errorf("%s is no trace: %.20q %v", first, text, err)
	}
	for range 2 * recordsAtMost {
		now = now.Add(recordPause)
		second(now, 100, 100, 0)
	}
	if all := files(); len(all) != recordsAtMost || all[0] == first {
		t.Errorf("%d files are kept: %q", len(all), all)
	}
	if bytes.Contains(log.Bytes(), []byte(data)) || bytes.Count(log.Bytes(), []byte("level=WARN")) != 2+2*recordsAtMost {
		t.Errorf("the log is\n%s", &log)
	}
}

func TestNoObjectiveNoRecorder(t *testing.T) {
	t.Parallel()
	r, err := newRecorder(0, t.TempDir(), nil)
	if r != nil || err != nil {
		t.Errorf("%v, %v", r, err)
	}
	r.close()
}
