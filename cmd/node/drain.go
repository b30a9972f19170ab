package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
)

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
