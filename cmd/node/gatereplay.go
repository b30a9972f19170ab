package main

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/gate/recording"
)

// gateRecordCommand fetches what a node remembers of its gate's decisions.
func (a *app) gateRecordCommand(set *settings) *ffcli.Command {
	var last, environment string
	c := a.operatorCommand(set, "gate record", "[flags] > FILE", "Print what the gate of a node has counted and decided of late, for gate replay.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			if err := noArguments(args); err != nil {
				return err
			}
			query := url.Values{}
			for name, value := range map[string]string{"last": last, "environment": environment} {
				if value != "" {
					query.Set(name, value)
				}
			}
			body, err := r.open(ctx, http.MethodGet, "/gate/record", query, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(out.w, body)
			return err
		})
	c.LongHelp = `What it prints is of one node: with several, take one of each and replay them together.
A node remembers some 8 MiB of it; -gate-record FOLDER has it write files.

` + c.LongHelp
	c.FlagSet.StringVar(&last, "last", "", "how `long` back, like 10m; empty: all that the node remembers")
	c.FlagSet.StringVar(&environment, "environment", "", "`environment`, its id or organisation/name; empty: all")
	return c
}

// gateReplayCommand asks a recording, and no node, what other limits would have done.
func (a *app) gateReplayCommand() *ffcli.Command {
	fs := flag.NewFlagSet("gate replay", flag.ContinueOnError)
	var c recording.Config
	var algorithm, from, until, picture string
	fs.DurationVar(&c.Window, "window", 0, "time over which triggers are counted, 1ms to 1h; 0: as recorded")
	fs.IntVar(&c.Threshold, "threshold", 0, "triggers in a window, over which they are mollified, 1 to 1000000; 0: as recorded")
	fs.DurationVar(&c.Hold, "hold", 0, "how long an environment stays mollified after the last trigger over the threshold, 1ms to 1h; 0: as recorded")
	fs.StringVar(&algorithm, "algorithm", "", "`way` of counting: fixed or gcra; empty: as recorded")
	fs.StringVar(&c.Environment, "environment", "", "`environment` to replay alone, its id or organisation/name; empty: all")
	fs.StringVar(&from, "from", "", "`moment` to begin at, like 2006-01-02T15:04:05Z; empty: all")
	fs.StringVar(&until, "until", "", "`moment` to end before")
	fs.StringVar(&picture, "svg", "", "`file` to draw what would have been into")
	trips := fs.Int("trips", 20, "most `trips` that are listed; -json has all")
	asJSON := fs.Bool("json", false, "print JSON, times in milliseconds")
	return &ffcli.Command{
		Name: "replay", ShortUsage: "node gate replay [flags] FILE...",
		ShortHelp: "Say what the gate would have done with what was recorded, under other limits.",
		LongHelp: `FILE is what node gate record has printed, a folder of -gate-record, or - for standard
input; a name that ends in .gz is unpacked. Give those of all nodes: they are counted
together. No node is asked, and nothing is changed.`,
		FlagSet: fs,
		Exec: func(_ context.Context, rest []string) error {
			files, err := anywhere(fs, rest)
			if err != nil {
				return err
			}
			if len(files) == 0 {
				return usagef("the command needs a file of node gate record, or a folder of -gate-record")
			}
			if algorithm != "" {
				way, err := recording.Algorithm(algorithm)
				if err != nil {
					return usagef("-algorithm: %w", err)
				}
				c.Algorithm = &way
			}
			for _, m := range []struct {
				name, text string
				to         *time.Time
			}{{"from", from, &c.From}, {"until", until, &c.Until}} {
				if m.text == "" {
					continue
				}
				if *m.to, err = time.Parse(time.RFC3339, m.text); err != nil {
					return usagef("-%s: must be a moment like 2006-01-02T15:04:05Z", m.name)
				}
			}
			if err := replayable(c); err != nil {
				return err
			}
			lines, err := readRecordings(files, os.Stdin)
			if err != nil {
				return err
			}
			report, err := recording.Replay(c, lines)
			if err != nil {
				return err
			}
			if picture != "" {
				if err := writePicture(picture, report); err != nil {
					return fmt.Errorf("-svg: %w", named(err))
				}
			}
			if *asJSON {
				return output{a.stdout, true}.print(replayOf(report), nil, nil)
			}
			return printReplay(a.stdout, report, *trips)
		},
	}
}

// replayable refuses limits that no recording could be replayed with.
func replayable(c recording.Config) error {
	switch {
	case c.Window != 0 && (c.Window < time.Millisecond || c.Window > time.Hour):
		return usagef("-window: must be 1ms to 1h")
	case c.Hold != 0 && (c.Hold < time.Millisecond || c.Hold > time.Hour):
		return usagef("-hold: must be 1ms to 1h")
	case c.Threshold < 0 || c.Threshold > 1_000_000:
		return usagef("-threshold: must be 1 to 1000000")
	}
	return nil
}

// readRecordings reads files, and those of folders.
func readRecordings(names []string, stdin io.Reader) (lines []recording.Line, err error) {
	add := func(l recording.Line) { lines = append(lines, l) }
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if name == "-" {
			if err := recording.Read(stdin, add); err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, usagef("%s: %w", name, named(err))
		}
		if info.IsDir() {
			files, err := recordedFiles(name)
			if err != nil {
				return nil, usagef("%s: %w", name, named(err))
			}
			names = append(files, names...)
			continue
		}
		if err := readRecording(name, add); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return lines, nil
}

func readRecording(name string, add func(recording.Line)) error {
	file, err := os.Open(name)
	if err != nil {
		return named(err)
	}
	defer file.Close()
	var text io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if text, err = gzip.NewReader(file); err != nil {
			return err
		}
	}
	return recording.Read(text, add)
}

func writePicture(name string, r *recording.Report) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(r.Picture(file), file.Close())
}

type replayJSON struct {
	From         time.Time               `json:"from"`
	Until        time.Time               `json:"until"`
	Nodes        []string                `json:"nodes"`
	Environments []replayEnvironmentJSON `json:"environments"`
}

type replayEnvironmentJSON struct {
	Organisation string   `json:"organisation"`
	Environment  string   `json:"environment"`
	Name         string   `json:"name,omitempty"`
	Enrolled     bool     `json:"enrolled"`
	Window       string   `json:"window"`
	Threshold    int      `json:"threshold"`
	Hold         string   `json:"hold"`
	Triggers     int      `json:"triggers"`
	Peak         int      `json:"peak"`
	Given        int      `json:"given"`
	Recorded     fateJSON `json:"recorded"`
	Replayed     fateJSON `json:"replayed"`
}

type fateJSON struct {
	Mollified int        `json:"mollified"`
	TrippedMs int64      `json:"trippedMs"`
	Trips     []tripJSON `json:"trips"`
}

type tripJSON struct {
	Began     time.Time `json:"began"`
	LastedMs  int64     `json:"lastedMs"`
	Mollified int       `json:"mollified"`
}

func replayOf(r *recording.Report) replayJSON {
	fate := func(f recording.Fate) fateJSON {
		out := fateJSON{Mollified: f.Mollified, TrippedMs: f.Tripped.Milliseconds(), Trips: []tripJSON{}}
		for _, t := range f.Trips {
			out.Trips = append(out.Trips, tripJSON{t.Began, t.Ended.Sub(t.Began).Milliseconds(), t.Mollified})
		}
		return out
	}
	out := replayJSON{From: r.From, Until: r.Until, Nodes: r.Nodes}
	for _, e := range r.Environments {
		out.Environments = append(out.Environments, replayEnvironmentJSON{
			Organisation: e.Organisation, Environment: e.Environment, Name: e.Name, Enrolled: e.Enrolled,
			Window: e.Limits.Window.String(), Threshold: e.Limits.Threshold, Hold: e.Limits.Hold.String(),
			Triggers: e.Triggers, Peak: e.Peak, Given: e.Given, Recorded: fate(e.Recorded), Replayed: fate(e.Replayed),
		})
	}
	return out
}

// printReplay writes a report for people.
func printReplay(w io.Writer, r *recording.Report, most int) error {
	fmt.Fprintf(w, "%s to %s UTC, of %s\n\n", r.From.UTC().Format(time.DateTime), r.Until.UTC().Format(time.TimeOnly), strings.Join(r.Nodes, ", "))
	var table, list [][]string
	given, notEnrolled, total := 0, false, 0
	for i := range r.Environments {
		e := &r.Environments[i]
		name := cmp.Or(e.Name, e.Environment)
		if !e.Enrolled {
			name += " *"
			notEnrolled = true
		}
		table = append(table, []string{
			name, strconv.Itoa(e.Triggers), fmt.Sprintf("%d/%s", e.Peak, e.Limits.Window), strconv.Itoa(e.Limits.Threshold),
			strconv.Itoa(len(e.Replayed.Trips)), brief(e.Replayed.Tripped), strconv.Itoa(e.Replayed.Mollified),
			strconv.Itoa(len(e.Recorded.Trips)), brief(e.Recorded.Tripped), strconv.Itoa(e.Recorded.Mollified),
		})
		given += e.Given
		total += len(e.Replayed.Trips)
		for _, t := range e.Replayed.Trips {
			if len(list) < most {
				list = append(list, []string{name, t.Began.UTC().Format("2006-01-02 15:04:05.00"), brief(t.Ended.Sub(t.Began)), strconv.Itoa(t.Mollified)})
			}
		}
	}
	out := output{w, false}
	if err := out.print(nil, []string{
		"ENVIRONMENT", "TRIGGERS", "PEAK", "THRESHOLD", "TRIPS", "FOR", "MOLLIFIED", "RECORDED TRIPS", "FOR", "MOLLIFIED",
	}, table); err != nil {
		return err
	}
	if notEnrolled {
		fmt.Fprint(w, "\n* is not enrolled: nothing of it was mollified, and nothing would be until it is.\n")
	}
	if given > 0 {
		fmt.Fprintf(w, "\nOf %d triggers an override or the trouble of Postgres decided: no limits change that.\n", given)
	}
	if len(list) > 0 {
		fmt.Fprintln(w)
		if err := out.print(nil, []string{"TRIPPED", "BEGAN (UTC)", "FOR", "MOLLIFIED"}, list); err != nil {
			return err
		}
	}
	if more := total - len(list); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	return nil
}

// anywhere are the arguments among which flags may stand, which it reads.
func anywhere(fs *flag.FlagSet, rest []string) (arguments []string, err error) {
	for len(rest) > 0 {
		if rest[0] == "--" {
			return append(arguments, rest[1:]...), nil
		}
		if len(rest[0]) < 2 || rest[0][0] != '-' {
			arguments, rest = append(arguments, rest[0]), rest[1:]
			continue
		}
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err}
		}
		rest = fs.Args()
	}
	return arguments, nil
}
