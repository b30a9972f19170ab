package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
)

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
