package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/peterbourgon/ff/v3/ffcli"
)

func (a *app) versionCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "version",
		ShortUsage: "node version",
		ShortHelp:  "Print which build this is.",
		Exec: func(_ context.Context, rest []string) error {
			if err := noArguments(rest); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "mollifier %s (%s, %s/%s)\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// buildVersion is the module's version, or the commit that a checkout was built
// from, marked when it had changes.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
		if commit != "" {
			version += " " + commit + changed
		}
	}
	return version
}
