package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

const configHelp = `The settings are those that a node started with the same flags, variables and -config
file would have. Nothing is started, and no store is asked.`

// configCommand looks at settings without using them. Unlike the other commands it
// reads variables and the file itself, to say all that is wrong at once.
func (a *app) configCommand(environ []string) *ffcli.Command {
	printing, checking := newSettings(), newSettings()
	asJSON := printing.serve.Bool("json", false, "print JSON instead of a table")
	c := &ffcli.Command{
		Name: "config", ShortUsage: "node config <command> [flags]", ShortHelp: "Print or check the settings of a node.", LongHelp: configHelp,
	}
	c.Subcommands = []*ffcli.Command{
		{
			Name: "print", ShortUsage: "node config print [flags]", LongHelp: configHelp, FlagSet: printing.serve,
			ShortHelp: "Print every setting with where it comes from; secrets are left out.",
			Exec: func(_ context.Context, rest []string) error {
				if err := noArguments(rest); err != nil {
					return err
				}
				sources, problems := printing.layers(environ)
				problems = append(problems, printing.problems()...)
				return errors.Join(printing.print(sources, output{a.stdout, *asJSON}), refused(problems))
			},
		},
		{
			Name: "check", ShortUsage: "node config check [flags]", LongHelp: configHelp, FlagSet: checking.serve,
			ShortHelp: "Say everything that is wrong with the settings; exit status 2 if anything is.",
			Exec: func(_ context.Context, rest []string) error {
				if err := noArguments(rest); err != nil {
					return err
				}
				_, problems := checking.layers(environ)
				if err := refused(append(problems, checking.problems()...)); err != nil {
					return err
				}
				fmt.Fprintln(a.stdout, "the settings are good")
				return nil
			},
		},
	}
	c.Exec = func(_ context.Context, rest []string) error {
		if len(rest) > 0 {
			return usagef("unknown command %q", "config "+rest[0])
		}
		return flag.ErrHelp
	}
	return c
}

// refused is a usage error of all problems, a line for each.
func refused(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.Error())
	}
	return usagef("%s", strings.Join(lines, "\nnode: "))
}

// The sources of a setting, from the strongest on.
const (
	fromFlag        = "flag"
	fromEnvironment = "environment"
	fromFile        = "file"
	fromDefault     = "default"
)

// layers puts variables and the file under the flags, which are parsed already, and
// says where each setting comes from, and what can not be read.
func (s *settings) layers(environ []string) (sources map[string]string, problems []error) {
	sources = map[string]string{}
	s.serve.Visit(func(f *flag.Flag) { sources[f.Name] = fromFlag })
	known := map[string]string{}
	newSettings().serve.VisitAll(func(f *flag.Flag) { known[variable(f.Name)] = f.Name })
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		flagName, ours := known[name]
		switch {
		case !ours && strings.HasPrefix(name, envPrefix+"_"):
			problems = append(problems, fmt.Errorf("unknown environment variable %s", name))
		case !ours || value == "" || sources[flagName] != "":
		default:
			sources[flagName] = fromEnvironment
			if s.serve.Set(flagName, value) != nil {
				problems = append(problems, fmt.Errorf("-%s: the value of %s can not be read", flagName, name))
			}
		}
	}
	if s.config == "" {
		return sources, problems
	}
	file, err := os.Open(s.config)
	if err != nil {
		return sources, append(problems, fmt.Errorf("-config: %w", err))
	}
	defer file.Close()
	err = parseConfig(file, func(name, value string) error {
		switch {
		case newSettings().serve.Lookup(name) == nil:
			problems = append(problems, fmt.Errorf("-config: unknown setting %q", name))
		case sources[name] == fromFlag || sources[name] == fromEnvironment:
		default:
			sources[name] = fromFile
			if s.serve.Set(name, value) != nil {
				problems = append(problems, fmt.Errorf("-%s: its value in the -config file can not be read", name))
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, fmt.Errorf("-config: %w", err))
	}
	return sources, problems
}

type settingJSON struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// print lists the settings as they are in effect.
func (s *settings) print(sources map[string]string, out output) error {
	var list []settingJSON
	var table [][]string
	newSettings().serve.VisitAll(func(f *flag.Flag) {
		of := settingJSON{f.Name, shown(f.Name, s.serve.Lookup(f.Name).Value.String()), cmp.Or(sources[f.Name], fromDefault)}
		list = append(list, of)
		table = append(table, []string{of.Key, of.Value, of.Source})
	})
	return out.print(list, []string{"KEY", "VALUE", "SOURCE"}, table)
}

const leftOut = "(not shown)"

// shown is a setting's value without what is secret in it: all of a key, and of a URL
// everything but where it leads.
func shown(name, value string) string {
	switch {
	case value == "":
		return ""
	case strings.HasPrefix(name, "secret-key") && name != "secret-key-file":
		return leftOut
	case !strings.Contains(value, "://") || name == "cors-origins":
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		return leftOut
	}
	if u.User != nil {
		u.User = url.User(leftOut)
	}
	if u.RawQuery != "" {
		u.RawQuery = leftOut
	}
	text, err := url.PathUnescape(u.String())
	if err != nil {
		return leftOut
	}
	return text
}
