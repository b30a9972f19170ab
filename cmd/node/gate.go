package main

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/httpapi"
)

// words says what an override changes.
func words(o *httpapi.OverrideView) string {
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

func (a *app) gateList(set *settings) *ffcli.Command {
	return a.operatorCommand(set, "gate list", "[flags]", "List what is overridden, also of the drain.", false,
		func(ctx context.Context, r *remote, args []string, out output) error {
			if err := noArguments(args); err != nil {
				return err
			}
			var got httpapi.OverridesAnswer
			if err := r.ask(ctx, http.MethodGet, "/overrides", nil, nil, &got); err != nil {
				return err
			}
			table := make([][]string, 0, len(got.Overrides))
			for _, o := range got.Overrides {
				table = append(table, []string{cmp.Or(o.Environment, "(all)"), words(&o), moment(o.Ends), moment(o.SetAt), o.By, o.Reason})
			}
			return out.print(got, []string{"ENVIRONMENT", "OVERRIDE", "ENDS (UTC)", "SET (UTC)", "BY", "REASON"}, table)
		})
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
