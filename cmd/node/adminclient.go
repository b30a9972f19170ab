package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

const operatorHelp = `The node that is asked is the one that runs in -data, as its stack.json says, or the
one at -admin-url. What it is told holds on all nodes of the deployment.`

// remote is the admin API of a running node.
type remote struct {
	url, token string
	client     *http.Client
}

// operatorCommand is a command on a running node. act gets the arguments of the
// command line; changes says that the command changes something, and asks why.
func (a *app) operatorCommand(set *settings, name, usage, help string, changes bool,
	act func(ctx context.Context, r *remote, args []string, out output) error,
) *ffcli.Command {
	fs := set.subset(name, "data", "admin-tokens")
	asJSON := fs.Bool("json", false, "print JSON instead of a table")
	at := fs.String("admin-url", "", "`URL` of a node's admin listener, http:// or https:// (default that of the node in -data)")
	reason := ""
	if changes {
		fs.StringVar(&reason, "reason", "", "why, for the audit, at most 500 characters")
	}
	_, last, _ := strings.Cut(name, " ")
	if last == "" {
		last = name
	}
	return &ffcli.Command{
		Name: last, ShortUsage: "node " + name + " " + usage, ShortHelp: help, LongHelp: operatorHelp,
		FlagSet: fs, Options: set.subsetOptions(fs),
		Exec: func(ctx context.Context, rest []string) error {
			rest, err := anywhere(fs, rest)
			if err != nil {
				return err
			}
			r, err := set.remote(*at)
			if err != nil {
				return err
			}
			defer r.client.CloseIdleConnections()
			return act(withReason(ctx, reason), r, rest, output{a.stdout, *asJSON})
		},
	}
}

// group is a command that only has others.
func group(name, help string, all ...*ffcli.Command) *ffcli.Command {
	return &ffcli.Command{
		Name: name, ShortUsage: "node " + name + " <command> [flags]", ShortHelp: help, LongHelp: operatorHelp, Subcommands: all,
		Exec: func(_ context.Context, rest []string) error {
			if len(rest) > 0 {
				return usagef("unknown command %q", name+" "+rest[0])
			}
			return flag.ErrHelp
		},
	}
}

type reasonKey struct{}

func withReason(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, reasonKey{}, reason)
}

// remote finds the node that a command is about, and a token of its.
func (s *settings) remote(at string) (*remote, error) {
	r := &remote{url: strings.TrimRight(at, "/"), client: &http.Client{Timeout: time.Minute}}
	if at != "" && !webAddress(r.url) {
		return nil, usagef("-admin-url: must be http://HOST or https://HOST")
	}
	if at == "" {
		info, err := devstack.ReadInfo(s.data)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && info.State != devstack.StateRunning:
			return nil, fmt.Errorf("no node runs in -data %s: give the -data of one, or an -admin-url", s.data)
		case err != nil:
			return nil, err
		case info.Admin == "":
			return nil, fmt.Errorf("the node in -data %s has no admin listener", s.data)
		}
		r.url, r.token = info.Admin, info.AdminToken
	}
	if s.adminTokens != "" {
		all, err := adminTokens{s.adminTokens}.read()
		if err != nil {
			return nil, fmt.Errorf("-admin-tokens: %w", err)
		}
		r.token = all[0].token
	}
	return r, nil
}

// ask sends a request and reads the answer into a document.
func (r *remote) ask(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	from, err := r.open(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer from.Close()
	got, err := io.ReadAll(from)
	if err != nil {
		return fmt.Errorf("the answer was cut off: %w", err)
	}
	return json.Unmarshal(got, answer)
}

// open sends a request and returns the body of an answer that is no problem.
func (r *remote) open(ctx context.Context, method, path string, query url.Values, body any) (io.ReadCloser, error) {
	if query == nil {
		query = url.Values{}
	}
	if reason, _ := ctx.Value(reasonKey{}).(string); reason != "" {
		query.Set("reason", reason)
	}
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	target := r.url + "/admin/v1" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("the admin listener does not answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("the answer was cut off: %w", err)
	}
	var problem struct{ Error string }
	if json.Unmarshal(got, &problem) != nil || problem.Error == "" {
		problem.Error = "the node answered " + resp.Status
	}
	if resp.StatusCode == http.StatusUnauthorized {
		problem.Error += "; give the -admin-tokens of the node"
	}
	return nil, errors.New(problem.Error)
}

func environmentPath(environment string) string {
	return "/environments/" + url.PathEscape(environment)
}
