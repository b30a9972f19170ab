package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

// withPostgres calls f with the Postgres that a command is about, its schema up
// to date: the one of -postgres, else the one of the node that serves from the
// data folder, else the private one, whose
// stores are started for the call.
func (a *app) withPostgres(ctx context.Context, set *settings, f func(url string) error) (err error) {
	if err := set.checkSecret(); err != nil {
		return err
	}
	migrated := func(url string) error {
		if err := schema.Migrate(ctx, url); err != nil {
			return err
		}
		return f(url)
	}
	if set.engine.Postgres != "" {
		return migrated(set.engine.Postgres)
	}
	log := set.logger(a.stderr)
	stack, err := startStack(ctx, set.data, log)
	if errors.Is(err, devstack.ErrLocked) {
		info, err := devstack.ReadInfo(set.data)
		if err != nil || info.State != devstack.StateRunning {
			return fmt.Errorf("-data %s: the node that uses the folder has not started completely; try again", set.data)
		}
		return migrated(info.Postgres.URL)
	}
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stackStop)
		defer cancel()
		err = errors.Join(err, stack.Stop(stop))
	}()
	return migrated(stack.PostgresURL())
}

// stackStop bounds the stop of stores that were started for one command.
const stackStop = 20 * time.Second

func (a *app) migrateCommand(set *settings) *ffcli.Command {
	fs := set.subset("migrate", "data", "postgres")
	return &ffcli.Command{
		Name:       "migrate",
		ShortUsage: "node migrate [flags]",
		ShortHelp:  "Bring the schema in Postgres up to date; a serving node does so when it starts.",
		LongHelp: `Safe while nodes serve and when several run it at once. The Postgres is the one of
-postgres, or else the private one in -data.`,
		FlagSet: fs,
		Options: set.subsetOptions(fs),
		Exec: func(ctx context.Context, rest []string) error {
			if err := noArguments(rest); err != nil {
				return err
			}
			return a.withPostgres(ctx, set, func(string) error {
				_, err := fmt.Fprintln(a.stdout, "the schema is up to date")
				return err
			})
		},
	}
}
