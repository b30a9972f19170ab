package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/explain"
)

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
	slices.SortStableFunc(lines, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	if err := out.print(nil, []string{"AT (UTC)", "WHAT", "WHY"}, lines); err != nil {
		return err
	}
	fmt.Fprintf(out.w, "\nAs node %s knows. Not known:\n", x.Node)
	for _, u := range x.Unknown {
		fmt.Fprintf(out.w, "  - %s\n", u)
	}
	return nil
}
