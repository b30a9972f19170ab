package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
