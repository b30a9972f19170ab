package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/simulate"
)

// simulateCommand asks a model, and no store, what a storm would do.
func (a *app) simulateCommand(set *settings) *ffcli.Command {
	fs := set.subset("simulate", "gate-window", "gate-threshold", "gate-hold", "gate-algorithm",
		"buffer-entries", "buffer-bytes", "buffer-total-entries", "buffer-total-bytes", "buffer-age")
	var s simulate.Storm
	var c simulate.Config
	fs.Float64Var(&s.Rate, "rate", 0, "triggers a second, of all environments together, for -duration; 0 to 10000000")
	fs.DurationVar(&s.Duration, "duration", time.Minute, "how long -rate lasts, at most 720h")
	fs.IntVar(&s.Burst, "burst", 0, "triggers on top of -rate, from the start on; 0 to 100000000")
	fs.DurationVar(&s.BurstOver, "burst-over", time.Second, "time in which -burst comes, at most 720h")
	fs.IntVar(&s.Environments, "environments", 1, "environments that trigger, 1 to 100000")
	fs.Float64Var(&s.Hot, "hot", 0, "share of the triggers that come from one environment, 0 to 1; 0 has all of them trigger alike")
	fs.IntVar(&s.Keys, "keys", 0, "idempotency keys of an environment, one of which each trigger has by chance; 0 gives each a key of its own")
	fs.DurationVar(&c.KeyTTL, "key-ttl", run.DefaultKeyTTL, "how long a key holds its run, 1s to 8760h")
	fs.IntVar(&s.Payload, "payload", 1024, "bytes of a trigger's payload, 0 to 3145728; of a trace, where a line has none")
	fs.Uint64Var(&s.Seed, "seed", 1, "what is left to chance is the same for the same seed")
	fs.Float64Var(&c.RowsPerSecond, "postgres-rows-per-second", 5000, "rows a second that Postgres takes, 1 to 10000000; docs/sizing.md says how to measure it")
	fs.Int64Var(&c.BytesPerRun, "redis-bytes-per-run", simulate.BytesPerRun, "bytes that Redis needs for a buffered run besides its payload, at most 1048576")
	trace := fs.String("trace", "", "`file` of triggers to simulate instead, in the order of time; - is standard input")
	asJSON := fs.Bool("json", false, "print JSON, times in milliseconds")
	return &ffcli.Command{
		Name:       "simulate",
		ShortUsage: "node simulate -rate N | -burst N | -trace FILE [flags]",
		ShortHelp:  "Say what a storm would do to the gate, the buffer and Postgres, without any of them.",
		LongHelp: `A trace is CSV whose first line names its columns, or JSON objects, one a line:
time (seconds, or like 2006-01-02T15:04:05Z; required), environment, key, bytes.
Give it the node's own -gate-... and -buffer-... settings.`,
		FlagSet: fs,
		Options: set.subsetOptions(fs),
		Exec: func(_ context.Context, rest []string) error {
			if err := noArguments(rest); err != nil {
				return err
			}
			if err := set.checkStorm(); err != nil {
				return err
			}
			g, b := set.engine.Gate, set.engine.Buffer
			c.Limits = gate.Limits{Window: g.Window, Threshold: g.Threshold, Hold: g.Hold}
			if g.Smooth {
				c.Algorithm = gate.GCRA
			}
			c.MaxEntries, c.MaxBytes, c.MaxAge = b.MaxEntries, b.MaxBytes, b.MaxAge
			c.TotalEntries, c.TotalBytes = b.TotalEntries, b.TotalBytes
			if err := c.Validate(); err != nil {
				return usageError{simulateFlag(err)}
			}
			if err := s.Validate(); err != nil {
				return usageError{simulateFlag(err)}
			}
			triggers := s.Triggers()
			switch {
			case *trace != "" && (s.Rate > 0 || s.Burst > 0):
				return usagef("-trace: give it or -rate and -burst")
			case *trace == "-":
				triggers = simulate.Trace(os.Stdin, s.Payload)
			case *trace != "":
				f, err := os.Open(*trace)
				if err != nil {
					return usagef("-trace: %w", err)
				}
				defer f.Close()
				triggers = simulate.Trace(f, s.Payload)
			case s.Rate == 0 && s.Burst == 0:
				return usagef("nothing to simulate: give -rate, -burst or -trace")
			}
			r, err := simulate.Run(c, triggers)
			if err != nil {
				return err
			}
			if *asJSON {
				return output{a.stdout, true}.print(documentOf(r), nil, nil)
			}
			return reportOf(a.stdout, r)
		},
	}
}

// simulateFlag puts the flag's name in front of an error about the field that it sets.
func simulateFlag(err error) error {
	for field, name := range map[string]string{
		"Storm.Rate": "rate", "Storm.Duration": "duration", "Storm.Burst": "burst", "Storm.BurstOver": "burst-over",
		"Storm.Environments": "environments", "Storm.Hot": "hot", "Storm.Keys": "keys", "Storm.Payload": "payload",
		"Config.KeyTTL": "key-ttl", "Config.RowsPerSecond": "postgres-rows-per-second", "Config.BytesPerRun": "redis-bytes-per-run",
		"Config.MaxEntries": "buffer-entries", "Config.MaxBytes": "buffer-bytes", "Config.MaxAge": "buffer-age",
		"Config.TotalEntries": "buffer-total-entries", "Config.TotalBytes": "buffer-total-bytes",
	} {
		if strings.Contains(err.Error(), field+" ") {
			return fmt.Errorf("-%s: %w", name, err)
		}
	}
	return err
}

// simulationJSON is a report as scripts read it.
type simulationJSON struct {
	Triggers        int            `json:"triggers"`
	Passed          int            `json:"passed"`
	Mollified       int            `json:"mollified"`
	Shared          int            `json:"shared"`
	Refused         int            `json:"refused"`
	RefusedBy       map[string]int `json:"refusedBy"` // by the flag of the bound
	DurationMs      float64        `json:"durationMs"`
	LongestWaitMs   float64        `json:"longestWaitMs"`
	PeakEntries     int            `json:"peakEntries"`
	PeakBytes       int64          `json:"peakBytes"`
	PeakRedisBytes  int64          `json:"peakRedisBytes"`
	OldestMs        float64        `json:"oldestMs"`
	EmptyAfterMs    float64        `json:"emptyAfterMs"`
	DwellP50Ms      float64        `json:"dwellP50Ms"`
	DwellP99Ms      float64        `json:"dwellP99Ms"`
	DepthEntries    []int          `json:"depthEntries"`
	DepthIntervalMs float64        `json:"depthIntervalMs"`
}

func documentOf(r *simulate.Report) simulationJSON {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return simulationJSON{
		Triggers: r.Triggers, Passed: r.Passed, Mollified: r.Mollified, Shared: r.Shared, Refused: r.Refused.Total,
		RefusedBy: map[string]int{
			"buffer-entries": r.Refused.Entries, "buffer-bytes": r.Refused.Bytes, "buffer-total-entries": r.Refused.TotalEntries,
			"buffer-total-bytes": r.Refused.TotalBytes, "buffer-age": r.Refused.Age,
		},
		DurationMs: ms(r.Duration), LongestWaitMs: ms(r.Wait),
		PeakEntries: r.PeakEntries, PeakBytes: r.PeakBytes, PeakRedisBytes: r.PeakRedis,
		OldestMs: ms(r.OldestAge), EmptyAfterMs: ms(r.Empty), DwellP50Ms: ms(r.DwellP50), DwellP99Ms: ms(r.DwellP99),
		DepthEntries: r.Depth, DepthIntervalMs: ms(r.DepthEvery),
	}
}

// reportOf writes a report for people.
func reportOf(w io.Writer, r *simulate.Report) error {
	share := func(n int) string {
		return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(max(r.Triggers, 1)))
	}
	table := [][]string{
		{"triggers", strconv.Itoa(r.Triggers), "within " + brief(r.Duration)},
		{"passed", strconv.Itoa(r.Passed), share(r.Passed)},
		{"mollified", strconv.Itoa(r.Mollified), share(r.Mollified)},
		{"shared a run", strconv.Itoa(r.Shared), share(r.Shared)},
		{"refused", strconv.Itoa(r.Refused.Total), share(r.Refused.Total)},
	}
	for _, why := range []struct {
		flag   string
		n      int
		status string
	}{
		{"buffer-entries", r.Refused.Entries, "429"},
		{"buffer-bytes", r.Refused.Bytes, "429"},
		{"buffer-total-entries", r.Refused.TotalEntries, "503"},
		{"buffer-total-bytes", r.Refused.TotalBytes, "503"},
		{"buffer-age", r.Refused.Age, "503"},
	} {
		if why.n > 0 {
			table = append(table, []string{"  by -" + why.flag, strconv.Itoa(why.n), why.status})
		}
	}
	table = append(
		table,
		[]string{"peak depth", strconv.Itoa(r.PeakEntries), "runs in the buffer"},
		[]string{"peak bytes", mib(r.PeakBytes), "as -buffer-bytes counts"},
		[]string{"peak in Redis", mib(r.PeakRedis), "give it this much besides"},
		[]string{"oldest run", brief(r.OldestAge), "waited at most"},
		[]string{"dwell p50, p99", brief(r.DwellP50) + ", " + brief(r.DwellP99), "in the buffer"},
		[]string{"empty after", brief(r.Empty), brief(max(r.Empty-r.Duration, 0)) + " after the last trigger"},
		[]string{"longest wait", brief(r.Wait), "of a trigger that passed, for Postgres"},
	)
	if err := (output{w, false}).print(nil, []string{"WHAT", "HOW MUCH", ""}, table); err != nil {
		return err
	}
	if r.Wait > time.Second {
		fmt.Fprint(w, "\nWhat passes alone is more than Postgres takes for a while: a real gate would be tripped\nby its pressure and mollify more. See -gate-threshold.\n")
	}
	_, err := io.WriteString(w, simulate.Plot(r, 64, 8))
	return err
}

// brief is a time with three digits.
func brief(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
