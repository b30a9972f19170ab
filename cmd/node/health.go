package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// healthCommand asks a node of this machine how it is, for containers and scripts
// that have no HTTP client at hand.
func (a *app) healthCommand(set *settings) *ffcli.Command {
	fs := set.subset("health", "listen")
	live := fs.Bool("live", false, "ask only whether the process answers, not whether its stores do")
	within := fs.Duration("within", 3*time.Second, "how long the answer may take, 1ms to 1m")
	return &ffcli.Command{
		Name:       "health",
		ShortUsage: "node health [flags]",
		ShortHelp:  "Ask the node at -listen whether it is ready; the exit status is 0 if it is.",
		LongHelp: `Give it the node's own settings: it asks the address of -listen, the loopback address
if that is of every interface. A container or a script restarts a node by -live, which
an outage of a store does not change, and routes triggers by the answer without it.`,
		FlagSet: fs,
		Options: set.subsetOptions(fs),
		Exec: func(ctx context.Context, rest []string) error {
			if err := noArguments(rest); err != nil {
				return err
			}
			if *within < time.Millisecond || *within > time.Minute {
				return usagef("-within must be 1ms to 1m")
			}
			address, err := reachable(set.listen)
			if err != nil {
				return err
			}
			path := "/readyz"
			if *live {
				path = "/livez"
			}
			ctx, cancel := context.WithTimeout(ctx, *within)
			defer cancel()
			return a.probe(ctx, "http://"+address+path)
		},
	}
}

// reachable is the address under which this machine reaches a listener's.
func reachable(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", usagef("-listen %s: %v", listen, err)
	}
	if port == "0" {
		return "", usagef("-listen %s: port 0 is any free one; give the one that the node took", listen)
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// probe asks one of the node's probes, and says what it said.
func (a *app) probe(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the node is not well: %s", res.Status)
	}
	_, err = fmt.Fprintln(a.stdout, "the node is well")
	return err
}
