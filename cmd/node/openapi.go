package main

import (
	"context"
	"fmt"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/httpapi"
)

func (a *app) openAPICommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "openapi",
		ShortUsage: "node openapi",
		ShortHelp:  "Print the OpenAPI 3.1 description of the HTTP API, which nodes also serve at /openapi.json.",
		Exec: func(_ context.Context, rest []string) error {
			if err := noArguments(rest); err != nil {
				return err
			}
			text, err := httpapi.Describe(buildVersion())
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "%s\n", text)
			}
			return err
		},
	}
}
