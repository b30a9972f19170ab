package main

import (
	"context"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/e0ff5a15/mollifier/tenant"
)

const anEnvironment = "an environment: its id, or organisation/name"

// keyCommands manage additional keys, each of which has a name in its environment.
func (a *app) keyCommands(set *settings) []*ffcli.Command {
	var grace time.Duration
	rotate := a.keyCommand(set, "rotate-key", "Put a new additional key in the place of the one of that name; prints it, once.",
		func(ctx context.Context, admin *tenant.Admin, id, name string, out output) error {
			if grace < 0 {
				return usagef("-grace: must not be negative")
			}
			key, ends, err := admin.RotateKey(ctx, id, name, grace)
			if err != nil {
				return err
			}
			return out.printKey(keyMade{id, name, key.Reveal(), ends})
		})
	rotate.FlagSet.DurationVar(&grace, "grace", tenant.RotationGrace, "how long the old key goes on; 0 ends it at once")
	return []*ffcli.Command{
		a.keyCommand(set, "add-key", "Give an environment an additional key, which opens it and signs no tokens; prints it, once.",
			func(ctx context.Context, admin *tenant.Admin, id, name string, out output) error {
				key, err := admin.AddKey(ctx, id, name)
				if err != nil {
					return err
				}
				return out.printKey(keyMade{id, name, key.Reveal(), time.Time{}})
			}),
		rotate,
		a.keyCommand(set, "revoke-key", "End an additional key at once.",
			func(ctx context.Context, admin *tenant.Admin, id, name string, out output) error {
				if err := admin.RevokeKey(ctx, id, name); err != nil {
					return err
				}
				return out.print(
					struct {
						ID      string `json:"id"`
						Name    string `json:"name"`
						Revoked bool   `json:"revoked"`
					}{id, name, true},
					[]string{"ID", "NAME", "REVOKED"}, [][]string{{id, name, yesNo(true)}},
				)
			}),
	}
}

func (a *app) keyCommand(set *settings, command, help string,
	act func(ctx context.Context, admin *tenant.Admin, id, name string, out output) error,
) *ffcli.Command {
	var name string
	c := a.envSubcommand(set, command, "-name NAME [flags] ENVIRONMENT", help, anEnvironment,
		func(ctx context.Context, admin *tenant.Admin, about string, out output) error {
			if name == "" {
				return usagef("-name: must not be empty")
			}
			id, err := environmentID(ctx, admin, about)
			if err != nil {
				return err
			}
			return act(ctx, admin, id, name, out)
		})
	c.FlagSet.StringVar(&name, "name", "", "`name` of the key in its environment, 1 to 64 characters of [A-Za-z0-9._-]; required")
	return c
}

// keyMade is an additional key as it is shown when it was made.
type keyMade struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Key           string    `json:"key"`
	OldKeyExpires time.Time `json:"oldKeyExpires,omitzero"`
}

func (o output) printKey(k keyMade) error {
	head, line := []string{"ID", "NAME", "KEY"}, []string{k.ID, k.Name, k.Key}
	if !k.OldKeyExpires.IsZero() {
		head, line = append(head, "OLD KEY ENDS (UTC)"), append(line, k.OldKeyExpires.UTC().Format(time.DateTime))
	}
	return o.print(k, head, [][]string{line})
}
