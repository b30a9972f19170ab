package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/explain"
)

// operatorCommands are those that talk to a running node.
func (a *app) operatorCommands(set *settings) []*ffcli.Command {
	return []*ffcli.Command{
		group("gate", "Override the gate of an environment.", a.gateList(set), a.gateSet(set), a.gateClear(set)),
		group("drain", "Pause the drain, or wait until the buffer is empty.", a.drainPause(set), a.drainResume(set), a.drainWait(set)),
		group("buffer", "Look into the buffer, or cancel what waits there.", a.bufferList(set), a.bufferPurge(set)),
		a.auditCommand(set), a.explainCommand(set),
	}
}

type overrideJSON struct {
	Environment string    `json:"environment"`
	Kind        string    `json:"kind"`
	Window      string    `json:"window,omitzero"`
	Threshold   int       `json:"threshold,omitzero"`
	Hold        string    `json:"hold,omitzero"`
	Force       string    `json:"force,omitzero"`
	Paused      bool      `json:"paused,omitzero"`
	Ends        time.Time `json:"ends,omitzero"`
	SetAt       time.Time `json:"setAt"`
	By          string    `json:"by"`
	Reason      string    `json:"reason,omitzero"`
}

func (o *overrideJSON) words() string {
	if o.Paused {
		return "drain paused"
	}
	var all []string
	for _, m := range [][2]string{{"window", o.Window}, {"threshold", zeroless(o.Threshold)}, {"hold", o.Hold}, {"force", o.Force}} {
		if m[1] != "" {
			all = append(all, m[0]+" "+m[1])
		}
	}
	return strings.Join(all, ", ")
}

func zeroless(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

func (a *app) gateList(set *settings) *ffcli.Command {
	return a.operatorCommand(set, "gate list", "[flags]", "List what is overridden, also of the drain.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			if err := noArguments(args); err != nil {
				return err
			}
			var got struct {
				Node      string         `json:"node"`
				Version   int64          `json:"version"`
				Overrides []overrideJSON `json:"overrides"`
			}
			if err := r.ask(ctx, http.MethodGet, "/overrides", nil, nil, &got); err != nil {
				return err
			}
			table := make([][]string, 0, len(got.Overrides))
			for _, o := range got.Overrides {
				table = append(table, []string{cmp.Or(o.Environment, "(all)"), o.words(), moment(o.Ends), moment(o.SetAt), o.By, o.Reason})
			}
			return out.print(got, []string{"ENVIRONMENT", "OVERRIDE", "ENDS (UTC)", "SET (UTC)", "BY", "REASON"}, table)
		})
}

type changedJSON struct {
	Environment string `json:"environment"`
	Version     int64  `json:"version"`
}

func (out output) changed(c changedJSON, what string) error {
	return out.print(c, []string{"ENVIRONMENT", "CHANGE", "VERSION"},
		[][]string{{cmp.Or(c.Environment, "(all)"), what, strconv.FormatInt(c.Version, 10)}})
}

func (a *app) gateSet(set *settings) *ffcli.Command {
	body := struct {
		Window    string `json:"window,omitempty"`
		Threshold int    `json:"threshold,omitempty"`
		Hold      string `json:"hold,omitempty"`
		Force     string `json:"force,omitempty"`
		For       string `json:"for,omitempty"`
	}{}
	c := a.operatorCommand(set, "gate set", "[flags] ENVIRONMENT",
		"Override the gate of an environment (its id, or organisation/name), in place of its last override.", true,
		func(ctx context.Context, r *remote, args []string, out output) error {
			environment, err := oneArgument(args, anEnvironment)
			if err != nil {
				return err
			}
			var got changedJSON
			if err := r.ask(ctx, http.MethodPost, environmentPath(environment)+"/gate", nil, body, &got); err != nil {
				return err
			}
			return out.changed(got, "gate overridden")
		})
	c.FlagSet.StringVar(&body.Window, "window", "", "`time` over which triggers are counted, 1ms to 1h; empty: as configured")
	c.FlagSet.IntVar(&body.Threshold, "threshold", 0, "triggers in a window, over which they are mollified, 1 to 1000000; 0: as configured")
	c.FlagSet.StringVar(&body.Hold, "hold", "", "how `long` it stays mollified after the last trigger over the threshold, 1ms to 1h; empty: as configured")
	c.FlagSet.StringVar(&body.Force, "force", "", "`way` whatever the rate: pass or mollify; empty: by the rate")
	c.FlagSet.StringVar(&body.For, "for", "", "how `long` the override holds, 1s to 720h; empty: until it is cleared")
	return c
}

func (a *app) gateClear(set *settings) *ffcli.Command {
	return a.operatorCommand(set, "gate clear", "[flags] ENVIRONMENT", "Remove an environment's override of the gate.", true,
		func(ctx context.Context, r *remote, args []string, out output) error {
			environment, err := oneArgument(args, anEnvironment)
			if err != nil {
				return err
			}
			var got changedJSON
			if err := r.ask(ctx, http.MethodDelete, environmentPath(environment)+"/gate", nil, nil, &got); err != nil {
				return err
			}
			return out.changed(got, "gate as configured")
		})
}

// drainPath is about one environment, or about all without one.
func drainPath(args []string, what string) (string, error) {
	if len(args) == 0 {
		return "/drain/" + what, nil
	}
	environment, err := oneArgument(args, anEnvironment)
	return environmentPath(environment) + "/drain/" + what, err
}

func (a *app) drainPause(set *settings) *ffcli.Command {
	var body struct {
		For string `json:"for,omitempty"`
	}
	c := a.operatorCommand(set, "drain pause", "[flags] [ENVIRONMENT]",
		"Keep an environment's runs in the buffer, or all runs. Batches under way are finished.", true,
		func(ctx context.Context, r *remote, args []string, out output) error {
			path, err := drainPath(args, "pause")
			if err != nil {
				return err
			}
			var got changedJSON
			if err := r.ask(ctx, http.MethodPost, path, nil, body, &got); err != nil {
				return err
			}
			return out.changed(got, "drain paused")
		})
	c.FlagSet.StringVar(&body.For, "for", "", "how `long`, 1s to 720h; empty: until it is resumed")
	return c
}

func (a *app) drainResume(set *settings) *ffcli.Command {
	return a.operatorCommand(set, "drain resume", "[flags] [ENVIRONMENT]", "End the pause of an environment, or the one of all.", true,
		func(ctx context.Context, r *remote, args []string, out output) error {
			path, err := drainPath(args, "resume")
			if err != nil {
				return err
			}
			var got changedJSON
			if err := r.ask(ctx, http.MethodPost, path, nil, nil, &got); err != nil {
				return err
			}
			return out.changed(got, "drain goes on")
		})
}

type bufferedJSON struct {
	Organisation string `json:"organisation"`
	Environment  string `json:"environment"`
	Entries      int64  `json:"entries"`
	Bytes        int64  `json:"bytes"`
	OldestMS     int64  `json:"oldestMs"`
	Paused       bool   `json:"paused"`
}

type bufferJSON struct {
	Environments []bufferedJSON `json:"environments"`
}

// of is what an environment has, by its id, or all with "".
func (b *bufferJSON) of(environment string) (total bufferedJSON) {
	for _, e := range b.Environments {
		if environment == "" || e.Environment == environment {
			total.Entries += e.Entries
			total.Bytes += e.Bytes
			total.OldestMS = max(total.OldestMS, e.OldestMS)
			total.Paused = total.Paused || e.Paused
		}
	}
	return total
}

func (a *app) bufferList(set *settings) *ffcli.Command {
	return a.operatorCommand(set, "buffer list", "[flags]", "List what is in the buffer, by environment.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			if err := noArguments(args); err != nil {
				return err
			}
			var got bufferJSON
			if err := r.ask(ctx, http.MethodGet, "/buffer", nil, nil, &got); err != nil {
				return err
			}
			table := make([][]string, 0, len(got.Environments))
			for _, e := range got.Environments {
				oldest := (time.Duration(e.OldestMS) * time.Millisecond).Round(100 * time.Millisecond)
				table = append(table, []string{
					e.Organisation, e.Environment, strconv.FormatInt(e.Entries, 10), strconv.FormatInt(e.Bytes, 10), oldest.String(), yesNo(e.Paused),
				})
			}
			return out.print(got, []string{"ORGANISATION", "ENVIRONMENT", "RUNS", "BYTES", "OLDEST", "PAUSED"}, table)
		})
}

// waitEvery is how often a command that waits looks again.
const waitEvery = 500 * time.Millisecond

func (a *app) drainWait(set *settings) *ffcli.Command {
	return a.operatorCommand(set, "drain wait", "[flags] [ENVIRONMENT ID]",
		"Wait until the buffer is empty, or holds nothing of an environment (its id); shows how far that is.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			environment := ""
			if len(args) > 0 {
				var err error
				if environment, err = oneArgument(args, "an environment: its id"); err != nil {
					return err
				}
			}
			tick := time.NewTicker(waitEvery)
			defer tick.Stop()
			began, first := time.Now(), int64(-1)
			for {
				var got bufferJSON
				if err := r.ask(ctx, http.MethodGet, "/buffer", nil, nil, &got); err != nil {
					return err
				}
				left := got.of(environment)
				if first < 0 {
					first = left.Entries
				}
				if left.Entries == 0 {
					took := time.Since(began).Round(100 * time.Millisecond)
					return out.print(map[string]any{"drained": first, "seconds": took.Seconds()},
						[]string{"DRAINED", "TOOK"}, [][]string{{strconv.FormatInt(first, 10), took.String()}})
				}
				paused := ""
				if left.Paused {
					paused = ", paused"
				}
				fmt.Fprintf(a.stderr, "%d runs left, the oldest waits for %s%s\n", left.Entries,
					(time.Duration(left.OldestMS) * time.Millisecond).Round(time.Second), paused)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
}

func (a *app) bufferPurge(set *settings) *ffcli.Command {
	var yes *bool
	c := a.operatorCommand(set, "buffer purge", "[flags] ENVIRONMENT",
		"Cancel an environment's runs that wait in the buffer. They stay visible, as CANCELED, and keep their keys.", true,
		func(ctx context.Context, r *remote, args []string, out output) error {
			environment, err := oneArgument(args, anEnvironment)
			if err != nil {
				return err
			}
			if !*yes && !a.confirmed("cancel all runs of "+environment+" that wait in the buffer", environment) {
				return usagef("nothing was cancelled: give -yes, or type the environment when you are asked")
			}
			total := struct {
				Environment string `json:"environment"`
				Cancelled   int    `json:"cancelled"`
				Left        int    `json:"left"`
			}{}
			for next := ""; ; {
				var step struct {
					Environment string `json:"environment"`
					Cancelled   int    `json:"cancelled"`
					Left        int    `json:"left"`
					Next        string `json:"next"`
				}
				query := url.Values{}
				if next != "" {
					query.Set("next", next)
				}
				if err := r.ask(ctx, http.MethodPost, environmentPath(environment)+"/buffer/purge", query, nil, &step); err != nil {
					return fmt.Errorf("after %d were cancelled: %w", total.Cancelled, err)
				}
				total.Environment = step.Environment
				total.Cancelled += step.Cancelled
				total.Left += step.Left
				if next = step.Next; next == "" {
					break
				}
				fmt.Fprintf(a.stderr, "%d cancelled\n", total.Cancelled)
			}
			return out.print(total, []string{"ENVIRONMENT", "CANCELLED", "LEFT AS THEY WERE"},
				[][]string{{total.Environment, strconv.Itoa(total.Cancelled), strconv.Itoa(total.Left)}})
		})
	yes = c.FlagSet.Bool("yes", false, "do not ask")
	return c
}

// confirmed asks whoever sits at the terminal to type a word. Without one it is no.
func (a *app) confirmed(what, word string) bool {
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	fmt.Fprintf(a.stderr, "This will %s. Type %s to go on: ", what, word)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.TrimSpace(line) == word
}

func (a *app) auditCommand(set *settings) *ffcli.Command {
	var environment string
	var limit int
	c := a.operatorCommand(set, "audit", "[flags]", "List what was changed at run time, the newest first.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			if err := noArguments(args); err != nil {
				return err
			}
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			if environment != "" {
				query.Set("environment", environment)
			}
			var got struct {
				Entries []struct {
					ID          int64           `json:"id"`
					At          time.Time       `json:"at"`
					By          string          `json:"by"`
					Node        string          `json:"node"`
					Action      string          `json:"action"`
					Environment string          `json:"environment"`
					Reason      string          `json:"reason,omitzero"`
					Detail      json.RawMessage `json:"detail"`
				} `json:"entries"`
			}
			if err := r.ask(ctx, http.MethodGet, "/audit", query, nil, &got); err != nil {
				return err
			}
			table := make([][]string, 0, len(got.Entries))
			for _, e := range got.Entries {
				table = append(table, []string{moment(e.At), e.By, e.Node, e.Action, cmp.Or(e.Environment, "(all)"), e.Reason, string(e.Detail)})
			}
			return out.print(got, []string{"AT (UTC)", "BY", "NODE", "ACTION", "ENVIRONMENT", "REASON", "DETAIL"}, table)
		})
	c.FlagSet.StringVar(&environment, "environment", "", "only of this `environment`: its id, or organisation/name")
	c.FlagSet.IntVar(&limit, "limit", 100, "most `lines`, 1 to 1000")
	return c
}

func (a *app) explainCommand(set *settings) *ffcli.Command {
	var environment, task, key string
	c := a.operatorCommand(set, "explain", "[flags] [RUN]", "Say why a run, or a key, is what it is, as the node remembers it.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			query := url.Values{}
			for name, value := range map[string]string{"environment": environment, "task": task, "key": key} {
				if value != "" {
					query.Set(name, value)
				}
			}
			path := "/explain"
			if key == "" {
				id, err := oneArgument(args, "a run's id, or -environment, -task and -key")
				if err != nil {
					return err
				}
				path += "/" + url.PathEscape(id)
			} else if err := noArguments(args); err != nil {
				return err
			}
			var x explain.Explanation
			if err := r.ask(ctx, http.MethodGet, path, query, nil, &x); err != nil {
				return err
			}
			if out.asJSON {
				return out.print(x, nil, nil)
			}
			return printExplanation(out, &x)
		})
	c.FlagSet.StringVar(&environment, "environment", "", "`environment` of the run or the key: its id, or organisation/name")
	c.FlagSet.StringVar(&task, "task", "", "`task` of the key")
	c.FlagSet.StringVar(&key, "key", "", "idempotency `key` to explain instead of a run")
	return c
}

func printExplanation(out output, x *explain.Explanation) error {
	fmt.Fprintf(out.w, "%s\n\n", x.Summary)
	var lines [][]string
	add := func(at time.Time, what, text string) {
		lines = append(lines, []string{at.UTC().Format("2006-01-02 15:04:05.000"), what, text})
	}
	for _, s := range x.States {
		add(s.At, s.State, s.Text)
	}
	for _, d := range x.Decisions {
		add(d.At, string(d.What), d.Text)
	}
	for _, t := range x.Trips {
		until := "and still is"
		if !t.Ended.IsZero() {
			until = "until " + t.Ended.UTC().Format("15:04:05.000")
		}
		add(t.Began, "environment mollified", until+": "+t.Text)
	}
	if err := out.print(nil, []string{"AT (UTC)", "WHAT", "WHY"}, lines); err != nil {
		return err
	}
	fmt.Fprintf(out.w, "\nAs node %s knows. Not known:\n", x.Node)
	for _, u := range x.Unknown {
		fmt.Fprintf(out.w, "  - %s\n", u)
	}
	return nil
}
