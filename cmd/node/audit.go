package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
)

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
