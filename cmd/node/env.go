package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

const envHelp = `The environments are those of -postgres, or else of the private stores in -data:
of the node that runs there, or of a Postgres that is started for the command.
A running node sees a change at once.`

func (a *app) envCommand(set *settings) *ffcli.Command {
	c := &ffcli.Command{
		Name:       "env",
		ShortUsage: "node env <command> [flags]",
		ShortHelp:  "Manage environments and their API keys.",
		LongHelp:   envHelp,
	}
	c.Subcommands = []*ffcli.Command{a.envAdd(set), a.envList(set), a.envRotate(set), a.envEnrol(set), a.envMismatch(set), a.envKeep(set)}
	c.Subcommands = append(c.Subcommands, a.keyCommands(set)...)
	c.Exec = func(_ context.Context, rest []string) error {
		if len(rest) > 0 {
			return usagef("unknown command %q", "env "+rest[0])
		}
		return flag.ErrHelp
	}
	return c
}

// envSubcommand is a command on the environments. argument says what it is about,
// if it takes an argument; act gets it, an Admin, and where to print.
func (a *app) envSubcommand(set *settings, name, usage, help, argument string,
	act func(ctx context.Context, admin *tenant.Admin, argument string, out output) error,
) *ffcli.Command {
	fs := set.subset("env "+name, "data", "postgres", "secret-key", "secret-key-file")
	asJSON := fs.Bool("json", false, "print JSON instead of a table")
	return &ffcli.Command{
		Name:       name,
		ShortUsage: "node env " + name + " " + usage,
		ShortHelp:  help,
		LongHelp:   envHelp,
		FlagSet:    fs,
		Options:    set.subsetOptions(fs),
		Exec: func(ctx context.Context, rest []string) error {
			about, err := oneArgument(rest, argument)
			if err != nil {
				return err
			}
			return a.withPostgres(ctx, set, func(url string) error {
				key, err := set.secretKey()
				if err != nil {
					return err
				}
				admin, err := tenant.NewAdmin(tenant.Config{URL: url, SecretKey: key})
				if err != nil {
					return err
				}
				return explainTenant(act(ctx, admin, about, output{a.stdout, *asJSON}))
			})
		},
	}
}

// explainTenant turns what the flags can cause into words about the flags.
func explainTenant(err error) error {
	var invalid *run.InvalidError
	switch {
	case errors.As(err, &invalid):
		return usagef("-%s: %s", invalid.Field, invalid.Rule)
	case errors.Is(err, tenant.ErrSecretKey):
		return errors.New("the API keys in this Postgres were sealed with another secret key: give the -secret-key-file (or -secret-key) of the node that made them")
	}
	return err
}

func (a *app) envAdd(set *settings) *ffcli.Command {
	var n tenant.NewEnvironment
	c := a.envSubcommand(set, "add", "-organisation NAME -name NAME -type TYPE [flags]",
		"Make an environment, and its organisation if need be; prints its API key, once.", "",
		func(ctx context.Context, admin *tenant.Admin, _ string, out output) error {
			e, key, err := admin.Add(ctx, n)
			if err != nil {
				return err
			}
			return out.print(
				struct {
					environmentJSON
					Key string `json:"key"`
				}{environment(e), key.Reveal()},
				[]string{"ID", "ORGANISATION", "NAME", "TYPE", "KEY"},
				[][]string{{e.ID, e.Organisation.Name, e.Name, string(e.Type), key.Reveal()}},
			)
		})
	c.FlagSet.StringVar(&n.Organisation, "organisation", "", "`name` (or id) of the organisation; required")
	c.FlagSet.StringVar(&n.Name, "name", "", "`name` of the environment, 1 to 64 characters of [A-Za-z0-9._-]; required")
	c.FlagSet.StringVar((*string)(&n.Type), "type", string(tenant.Dev), "`type` of the environment: dev, stg, prod or preview")
	return c
}

func (a *app) envList(set *settings) *ffcli.Command {
	return a.envSubcommand(set, "list", "[flags]", "List the environments; keys by their last characters only.", "",
		func(ctx context.Context, admin *tenant.Admin, _ string, out output) error {
			all, err := admin.List(ctx)
			if err != nil {
				return err
			}
			listed, table := make([]listedJSON, 0, len(all)), make([][]string, 0, len(all))
			for _, l := range all {
				listed = append(listed, listedOf(l))
				table = append(table, []string{
					l.ID, l.Organisation.Name, l.Name, string(l.Type), yesNo(l.Organisation.Enrolled),
					l.CreatedAt.UTC().Format(time.DateTime), keysText(l.Keys),
				})
			}
			return out.print(listed, []string{"ID", "ORGANISATION", "NAME", "TYPE", "ENROLLED", "CREATED (UTC)", "KEYS"}, table)
		})
}

func (a *app) envRotate(set *settings) *ffcli.Command {
	var now *bool
	c := a.envSubcommand(set, "rotate", "[flags] ENVIRONMENT",
		"Give an environment (its id, or organisation/name) a new API key; the old one works for 24h more.",
		anEnvironment,
		func(ctx context.Context, admin *tenant.Admin, about string, out output) error {
			id, err := environmentID(ctx, admin, about)
			if err != nil {
				return err
			}
			key, ends, err := admin.Rotate(ctx, id)
			if err != nil {
				return err
			}
			if *now {
				if _, err := admin.RevokeRotated(ctx, id); err != nil {
					return err
				}
				ends = time.Now()
			}
			return out.print(
				struct {
					ID            string    `json:"id"`
					Key           string    `json:"key"`
					OldKeyExpires time.Time `json:"oldKeyExpires,omitzero"`
				}{id, key.Reveal(), ends},
				[]string{"ID", "KEY", "OLD KEY ENDS (UTC)"},
				[][]string{{id, key.Reveal(), ends.UTC().Format(time.DateTime)}},
			)
		})
	now = c.FlagSet.Bool("now", false, "end the old key at once, and all tokens that it signed: for a key that has leaked")
	return c
}

func (a *app) envEnrol(set *settings) *ffcli.Command {
	var off *bool
	c := a.envSubcommand(set, "enrol", "[flags] ORGANISATION",
		"Have an organisation (its name or id) take part in claims and mollifying, or not.",
		"an organisation: its name or id",
		func(ctx context.Context, admin *tenant.Admin, about string, out output) error {
			if err := admin.SetEnrolled(ctx, about, !*off); err != nil {
				return err
			}
			return out.print(
				struct {
					Organisation string `json:"organisation"`
					Enrolled     bool   `json:"enrolled"`
				}{about, !*off},
				[]string{"ORGANISATION", "ENROLLED"}, [][]string{{about, yesNo(!*off)}},
			)
		})
	off = c.FlagSet.Bool("off", false, "end its part instead; its keys are then kept by Postgres alone")
	return c
}

func (a *app) envMismatch(set *settings) *ffcli.Command {
	var report *bool
	c := a.envSubcommand(set, "mismatch", "[flags] ENVIRONMENT",
		"Have triggers refused (422) whose idempotency key holds a run of another payload, in an environment: its id or organisation/name.",
		"an environment: its id or organisation/name",
		func(ctx context.Context, admin *tenant.Admin, about string, out output) error {
			id, err := environmentID(ctx, admin, about)
			if err != nil {
				return err
			}
			if err := admin.SetRefuseMismatch(ctx, id, !*report); err != nil {
				return err
			}
			return out.print(
				struct {
					ID     string `json:"id"`
					Refuse bool   `json:"refuseMismatch"`
				}{id, !*report},
				[]string{"ID", "REFUSES OTHER PAYLOADS"}, [][]string{{id, yesNo(!*report)}},
			)
		})
	report = c.FlagSet.Bool("report", false, "only say so in the answer instead, as is the default")
	return c
}

func (a *app) envKeep(set *settings) *ffcli.Command {
	var (
		keep    *time.Duration
		forEver *bool
	)
	c := a.envSubcommand(set, "keep", "[flags] ENVIRONMENT",
		"Have an environment's runs (its id or organisation/name) kept for so long after they are over, whatever -keep of the nodes says; without a flag, as -keep says.",
		"an environment: its id or organisation/name",
		func(ctx context.Context, admin *tenant.Admin, about string, out output) error {
			switch {
			case *keep != 0 && *forEver:
				return usagef("-for and -forever: give one of them")
			case *keep != 0 && *keep < time.Minute:
				return usagef("-for: must be at least 1m")
			case *forEver:
				*keep = -1
			}
			id, err := environmentID(ctx, admin, about)
			if err != nil {
				return err
			}
			if err := admin.SetKeep(ctx, id, *keep); err != nil {
				return err
			}
			kept := "as the nodes say"
			switch {
			case *forEver:
				kept = "for ever"
			case *keep > 0:
				kept = keep.String()
			}
			return out.print(
				struct {
					ID   string `json:"id"`
					Keep string `json:"keep"`
				}{id, kept},
				[]string{"ID", "RUNS ARE KEPT"}, [][]string{{id, kept}},
			)
		})
	keep = c.FlagSet.Duration("for", 0, "how long after a run and its key are over, at least 1m")
	forEver = c.FlagSet.Bool("forever", false, "remove nothing of it")
	return c
}

func noArguments(rest []string) error {
	if len(rest) > 0 {
		return usagef("unexpected argument %q", rest[0])
	}
	return nil
}

// oneArgument returns the argument that a command is about; what is empty for a
// command that takes none.
func oneArgument(rest []string, what string) (string, error) {
	switch {
	case what == "":
		return "", noArguments(rest)
	case len(rest) == 0:
		return "", usagef("the command needs %s", what)
	}
	return rest[0], noArguments(rest[1:])
}

// environmentID accepts an id, which it does not look up, or organisation/name.
func environmentID(ctx context.Context, admin *tenant.Admin, text string) (string, error) {
	organisation, name, byName := strings.Cut(text, "/")
	if !byName {
		return text, nil
	}
	all, err := admin.List(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(l tenant.Listed) bool { return l.Organisation.Name == organisation && l.Name == name })
	if i < 0 {
		return "", fmt.Errorf("environment %s: %w", text, run.ErrNotFound)
	}
	return all[i].ID, nil
}

// output prints the result of a command.
type output struct {
	w      io.Writer
	asJSON bool
}

func (o output) print(document any, head []string, table [][]string) error {
	if o.asJSON {
		e := json.NewEncoder(o.w)
		e.SetIndent("", "  ")
		return e.Encode(document)
	}
	w := tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)
	for _, line := range append([][]string{head}, table...) {
		fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	return w.Flush()
}

type organisationJSON struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Enrolled bool   `json:"enrolled"`
}

type environmentJSON struct {
	ID           string           `json:"id"`
	Name         string           `json:"name"`
	Type         string           `json:"type"`
	Organisation organisationJSON `json:"organisation"`
}

func environment(e tenant.Environment) environmentJSON {
	o := e.Organisation
	return environmentJSON{e.ID, e.Name, string(e.Type), organisationJSON{o.ID, o.Name, o.Enrolled}}
}

type keyJSON struct {
	Kind      string    `json:"kind"`
	Name      string    `json:"name,omitzero"`
	Hint      string    `json:"hint"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

type listedJSON struct {
	environmentJSON
	CreatedAt time.Time `json:"createdAt"`
	Keys      []keyJSON `json:"keys"`
}

func listedOf(l tenant.Listed) listedJSON {
	keys := make([]keyJSON, 0, len(l.Keys))
	for _, k := range l.Keys {
		keys = append(keys, keyJSON{string(k.Kind), k.Name, k.Hint, k.CreatedAt, k.ExpiresAt})
	}
	return listedJSON{environment(l.Environment), l.CreatedAt, keys}
}

// keysText is a list of keys for a table cell: "root ...aB3x, root ...9fQz until
// 2030-01-02 03:04:05, ci ...8kLm".
func keysText(keys []tenant.ListedKey) string {
	texts := make([]string, 0, len(keys))
	for _, k := range keys {
		text := fmt.Sprintf("%s ...%s", cmp.Or(k.Name, string(k.Kind)), k.Hint)
		if !k.ExpiresAt.IsZero() {
			text += " until " + k.ExpiresAt.UTC().Format(time.DateTime)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
