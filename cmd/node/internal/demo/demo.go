package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Config says against what a demo runs, and how large it is.
type Config struct {
	URL      string // base URL of the node, without a final slash
	Key      string // API key of the environment
	Postgres string // URL of the Postgres that the node writes to

	Triggers    int // with keys, and as many again without: at least 1
	Keys        int // 1 to Triggers
	Connections int // how many triggers are under way at once: at least 1

	// StormKey is the API key of another environment, which storms while the
	// first one trickles. Empty leaves that part out.
	StormKey string
	Storm    int // triggers of the storm: at least 1

	// Work reads what the node has asked of its stores so far. Nil leaves that
	// out of the report.
	Work func(context.Context) (Work, error)

	Progress io.Writer // receives the progress; nil for none
	Terminal bool      // Progress is a terminal: one line, rewritten
}

// Validate names the first setting that no demo can run with.
func (c Config) Validate() error {
	switch {
	case c.Triggers < 1:
		return errors.New("triggers: must be at least 1")
	case c.Keys < 1 || c.Keys > c.Triggers:
		return errors.New("keys: must be 1 to the number of triggers")
	case c.Connections < 1:
		return errors.New("connections: must be at least 1")
	case c.StormKey != "" && c.Storm < 1:
		return errors.New("storm: must be at least 1")
	}
	return nil
}

// Run sends the storm and returns the comparison. The error is for a demo that
// could not be carried out; a broken promise is in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	name := "demo-" + strings.ToLower(rand.Text()[:8])
	waves := []struct {
		title string
		keys  []string
	}{
		{fmt.Sprintf("over %s keys", thousands(int64(c.Keys))), keyOrder(c.Triggers, c.Keys)},
		{"without keys", make([]string, c.Triggers)},
	}
	report := &Report{}
	for i, w := range waves {
		s := &storm{
			url: strings.TrimRight(c.URL, "/"), key: c.Key, task: fmt.Sprintf("%s-%d", name, i+1),
			keys: w.keys, connections: min(c.Connections, c.Triggers),
		}
		wave, err := c.wave(ctx, w.title, s)
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
		report.Waves = append(report.Waves, wave)
	}
	if c.StormKey == "" {
		return report, nil
	}
	var err error
	if report.Tenants, err = c.tenants(ctx, name); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return report, nil
}

// wave sends one storm, waits for it and compares.
func (c Config) wave(ctx context.Context, title string, s *storm) (Wave, error) {
	before, err := c.work(ctx)
	if err != nil {
		return Wave{}, err
	}
	stop := c.follow(title, s)
	s.run(ctx)
	stop()
	if err := ctx.Err(); err != nil {
		return Wave{}, err
	}
	after, err := c.work(ctx)
	if err != nil {
		return Wave{}, err
	}
	rows, err := drainedRows(ctx, c.Postgres, s)
	if err != nil {
		return Wave{}, err
	}
	w := Wave{
		Title: title, Triggers: len(s.keys), Took: s.took, Retries: s.retries.Load(),
		Work: after.since(before), WorkKnown: c.Work != nil,
		P50: micros(s.latency.ValueAtQuantile(50)), P99: micros(s.latency.ValueAtQuantile(99)),
	}
	for _, a := range s.acks {
		if a.err == nil {
			w.Acknowledged++
		}
	}
	w.Runs, w.Duplicates, w.Broken = compare(s.keys, s.acks, rows)
	return w, nil
}

func (c Config) work(ctx context.Context) (Work, error) {
	if c.Work == nil {
		return Work{}, nil
	}
	w, err := c.Work(ctx)
	if err != nil {
		return Work{}, fmt.Errorf("read the node's counters: %w", err)
	}
	return w, nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
