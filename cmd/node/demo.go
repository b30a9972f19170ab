package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/cmd/node/internal/demo"
	"github.com/e0ff5a15/mollifier/internal/devstack"
)

const demoHelp = `Sends triggers over HTTP in two waves, over a few keys and without keys. Then one
environment storms while another trickles, and random acknowledged runs are read
all the time. What was acknowledged is compared with what is in Postgres once the
buffer is drained. Refused tries are repeated. The exit status is 1 when the
promise did not hold.

Without flags it runs a node and stores of its own, in a temporary folder that is
removed afterwards. -data takes the node that runs in a data folder; -url, -key
and -postgres name any other. Variables and files are not read.`

// demoTarget says which node a demo is about.
type demoTarget struct{ data, url, key, stormKey, postgres, admin string }

func (a *app) demoCommand() *ffcli.Command {
	var (
		target demoTarget
		config demo.Config
		fs     = flag.NewFlagSet("demo", flag.ContinueOnError)
	)
	fs.StringVar(&target.data, "data", "", "data `folder` of the running node to use")
	fs.StringVar(&target.url, "url", "", "base `URL` of the running node to use, http://host:port; needs -key and -postgres")
	fs.StringVar(&target.key, "key", "", "API `key` of the environment to trigger in")
	fs.StringVar(&target.stormKey, "storm-key", "", "API `key` of another environment, which storms while the first one trickles; with -url, that part is left out without it")
	fs.IntVar(&config.Storm, "storm", 20_000, "triggers of that storm, each with a key of its own, at least 1")
	fs.StringVar(&target.postgres, "postgres", "", "`URL` of the Postgres that the node writes to, to compare with")
	fs.StringVar(&target.admin, "admin-url", "", "base `URL` of the node's admin listener, for what it asked of its stores; optional")
	fs.IntVar(&config.Triggers, "triggers", 10_000, "triggers with keys, and as many again without, at least 1")
	fs.IntVar(&config.Keys, "keys", 100, "idempotency keys that the first half is spread over, 1 to -triggers")
	fs.IntVar(&config.Connections, "connections", 256, "connections, each with one trigger under way, at least 1")
	return &ffcli.Command{
		Name:       "demo",
		ShortUsage: "node demo [flags]",
		ShortHelp:  "Send a storm and check the promise against Postgres.",
		LongHelp:   demoHelp,
		FlagSet:    fs,
		Exec: func(ctx context.Context, rest []string) error {
			if err := noArguments(rest); err != nil {
				return err
			}
			if err := config.Validate(); err != nil {
				return usagef("-%w", err)
			}
			config.Progress, config.Terminal = a.stderr, isTerminal(a.stderr)
			return a.demo(ctx, target, config)
		},
	}
}

var errBroken = errors.New("the promise was broken")

func (a *app) demo(ctx context.Context, target demoTarget, config demo.Config) error {
	stop, err := a.resolveTarget(ctx, &target)
	if err != nil {
		return err
	}
	report, err := runDemo(ctx, target, config)
	if stopErr := stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	if err := report.Print(a.stdout); err != nil {
		return err
	}
	if !report.Held() {
		return errBroken
	}
	return nil
}

// resolveTarget completes a target, by starting a node if none is named. stop
// ends that node.
func (a *app) resolveTarget(ctx context.Context, t *demoTarget) (stop func() error, err error) {
	nothing := func() error { return nil }
	switch {
	case t.data != "" && (t.url != "" || t.key != "" || t.postgres != "" || t.admin != ""):
		return nil, usagef("-data names the node by itself: give it, or -url, -key and -postgres")
	case t.data != "":
		info, err := devstack.ReadInfo(t.data)
		if err != nil || info.State != devstack.StateRunning || info.HTTP == "" {
			return nil, fmt.Errorf("-data %s: no node runs there", t.data)
		}
		return nothing, t.fill(info)
	case t.url == "" && t.key == "" && t.postgres == "" && t.admin == "":
		info, stop, err := a.demoNode(ctx)
		if err != nil {
			return nil, err
		}
		return stop, t.fill(info)
	case t.url == "" || t.key == "" || t.postgres == "":
		return nil, usagef("-url, -key and -postgres are needed together")
	}
	return nothing, nil
}

func (t *demoTarget) fill(info devstack.Info) error {
	if len(info.Environments) == 0 {
		return fmt.Errorf("-data %s: that node has no default environments; give -url, -key and -postgres", t.data)
	}
	t.url, t.admin, t.postgres, t.key = info.HTTP, info.Admin, info.Postgres.URL, info.Environments[0].Key
	if len(info.Environments) > 1 {
		t.stormKey = info.Environments[1].Key
	}
	return nil
}

// demoNode serves from a temporary folder, in this process, until stop.
func (a *app) demoNode(ctx context.Context) (info devstack.Info, stop func() error, err error) {
	if err := clearDemoFolders(ctx); err != nil {
		return info, nil, err
	}
	folder, err := makeDemoFolder()
	if err != nil {
		return info, nil, err
	}
	set := newSettings()
	set.data, set.listen, set.admin = folder, "127.0.0.1:0", "127.0.0.1:0"
	if err := set.check(); err != nil {
		return info, nil, errors.Join(err, os.RemoveAll(folder))
	}
	fmt.Fprintln(a.stderr, "starting a node with a Redis and a Postgres of its own")
	var (
		// The node outlives a signal until the storm has ended.
		serving, end = context.WithCancel(context.WithoutCancel(ctx))
		starting     = context.AfterFunc(ctx, end)
		log          = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		ready        = make(chan devstack.Info, 1)
		ended        = make(chan error, 1)
	)
	go func() { ended <- a.serve(serving, set, log, func(i devstack.Info) { ready <- i }) }()
	stop = sync.OnceValue(func() error {
		end()
		return errors.Join(<-ended, removeDemoFolder(context.WithoutCancel(ctx), folder))
	})
	select {
	case info = <-ready:
		starting()
		return info, stop, nil
	case err := <-ended:
		ended <- err
		if err == nil {
			err = context.Cause(ctx)
			return info, nil, errors.Join(err, stop())
		}
		return info, nil, stop()
	}
}

func runDemo(ctx context.Context, t demoTarget, config demo.Config) (*demo.Report, error) {
	config.URL, config.Key, config.StormKey, config.Postgres = t.url, t.key, t.stormKey, t.postgres
	if t.admin != "" {
		config.Work = func(ctx context.Context) (demo.Work, error) { return readWork(ctx, t.admin) }
	}
	return demo.Run(ctx, config)
}

// readWork asks a node's admin listener what it has asked of its stores.
func readWork(ctx context.Context, admin string) (demo.Work, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(admin, "/")+statsPath, nil)
	if err != nil {
		return demo.Work{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return demo.Work{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return demo.Work{}, fmt.Errorf("status %d", resp.StatusCode)
	}
	var s stats
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return demo.Work{}, err
	}
	return demo.Work{
		Claims: int64(s.Claims), RedisCalls: int64(s.RedisCalls + s.AcceptCalls), PostgresCalls: int64(s.SettleCalls+s.CheckCalls+s.LookCalls) + s.Drain.Batches,
	}, nil
}

// isTerminal reports whether a person watches: a character device that is able to
// rewrite a line.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
