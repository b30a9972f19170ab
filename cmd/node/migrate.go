package main

import (
	"context"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"
)

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
