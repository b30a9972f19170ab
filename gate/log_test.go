package gate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return strings.Split(strings.TrimSuffix(l.text.String(), "\n"), "\n")
}

// Each trip is told when it begins and when it ends, once, and of many at a time
// only some are named.
func TestTripsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out lines
		cfg := Defaults()
		cfg.Enrolled = func(string) bool { return true }
		cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
		g, err := New(cfg, none{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { g.Log(ctx) })
		defer done.Wait()
		defer stop()
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}

		for range 20 { // a storm of two seconds
			g.Count("env", 101, time.Now())
			pass(100 * time.Millisecond)
		}
		pass(3 * time.Second)
		got := out.take()
		if len(got) != 2 || !strings.Contains(got[0], "msg=\"an environment is mollified\" environment=env reason=rate triggers=101 window=200ms threshold=100") ||
			!strings.Contains(got[1], "not mollified any more\" environment=env lasted=") {
			t.Errorf("logged\n%s", strings.Join(got, "\n"))
		}
		for i := range 1000 {
			g.Count(fmt.Sprint("env", i), 101, time.Now())
		}
		pass(5 * time.Second)
		if got := out.take(); len(got) != 2*logLines+1 || !strings.Contains(got[len(got)-1], "environments=990") {
			t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
		}
	})
}
