package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/tenant"
)

// stores are the addresses that a node works with: given ones, or those of a
// private Redis and Postgres. They hold the data folder's lock, which keeps every
// other node out of it.
type stores struct {
	redis, postgres string // URLs, passwords included
	stack           *devstack.Stack
	data            string
	lock            *devstack.FileLock // nil with a stack, which has its own
}

// openStores takes the data folder for this process and starts what private
// servers are needed. Servers that a killed node left there are taken over.
func openStores(ctx context.Context, set *settings, log *slog.Logger) (*stores, error) {
	if !set.private() {
		lock, err := lockData(set.data)
		return &stores{redis: set.engine.Redis, postgres: set.engine.Postgres, data: set.data, lock: lock}, err
	}
	stack, err := startStack(ctx, set.data, log)
	if err != nil {
		return nil, err
	}
	return &stores{redis: stack.RedisURL(), postgres: stack.PostgresURL(), stack: stack, data: set.data}, nil
}

func startStack(ctx context.Context, data string, log *slog.Logger) (*devstack.Stack, error) {
	if _, err := os.Lstat(filepath.Join(data, "postgres")); errors.Is(err, os.ErrNotExist) {
		log.Info("making a private Postgres for the first start, which takes some seconds")
	}
	stack, err := devstack.Start(ctx, devstack.Options{Dir: data, Log: log})
	if errors.Is(err, devstack.ErrLocked) {
		return nil, fmt.Errorf("-data: %w", err)
	}
	return stack, err
}

// lockData makes the data folder of a node without private stores and takes it
// for this process.
func lockData(data string) (*devstack.FileLock, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	lock, err := devstack.OpenLock(filepath.Join(data, "lock"))
	if err != nil {
		return nil, err
	}
	mine, err := lock.TryExclusive()
	if err == nil && !mine {
		err = fmt.Errorf("-data %s: %w; give this node a folder of its own", data, devstack.ErrLocked)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// publish fills in stack.json, so that scripts find the node and its stores. The
// seeded environments' keys and an admin token stand there, in a file that only its
// owner may read.
func (s *stores) publish(api, admin, token string, seeded []tenant.Seeded) (devstack.Info, error) {
	environments := make([]devstack.Environment, 0, len(seeded))
	for _, e := range seeded {
		environments = append(environments, devstack.Environment{
			Organisation: e.Environment.Organisation.Name,
			ID:           e.Environment.ID, Name: e.Environment.Name, Key: e.Key.Reveal(),
		})
	}
	fill := func(i *devstack.Info) {
		i.HTTP, i.Admin, i.AdminToken, i.Environments = api, admin, token, environments
	}
	if s.stack != nil {
		err := s.stack.Update(fill)
		return s.stack.Info(), err
	}
	info := devstack.Info{
		State: devstack.StateRunning, PID: os.Getpid(), StartedAt: time.Now().UTC(),
		Redis: devstack.Store{URL: s.redis}, Postgres: devstack.Store{URL: s.postgres},
	}
	fill(&info)
	return info, devstack.WriteInfo(s.data, info)
}

// close stops private servers and gives the data folder free.
func (s *stores) close(ctx context.Context) error {
	if s.stack != nil {
		return s.stack.Stop(ctx)
	}
	if s.lock == nil {
		return nil
	}
	return errors.Join(devstack.WriteInfo(s.data, devstack.Info{State: devstack.StateStopped}), s.lock.Close())
}

const (
	watchEvery   = time.Second
	watchRestart = time.Minute // for stopping what is left and starting both
)

// watchLoop starts the private stores again when one of them has died while the
// node serves. They come back on their addresses and with their data, so that the
// engine finds them again; meanwhile it answers as in any outage. When they can
// not be started, the node ends.
func (n *node) watchLoop(ctx context.Context) {
	every(ctx, watchEvery, func() {
		dead := deadStore(ctx, n.stores.stack.Info())
		if dead == "" || ctx.Err() != nil {
			return
		}
		n.log.Error("a private store has died; both are started again", slog.String("store", dead), slog.String("its log", filepath.Join(n.stores.data, dead+".log")))
		restart, cancel := context.WithTimeout(ctx, watchRestart)
		defer cancel()
		if err := n.restartStack(restart); err != nil && ctx.Err() == nil {
			n.fail(fmt.Errorf("the private %s has died and does not start again: %w", dead, err))
			<-ctx.Done() // close follows
			return
		}
		n.log.Info("the private stores are back")
	})
}

// restartStack stops what is left of the private stores and starts both.
func (n *node) restartStack(ctx context.Context) error {
	if err := n.stores.stack.Stop(ctx); err != nil {
		return err
	}
	stack, err := startStack(ctx, n.stores.data, n.log)
	if err != nil {
		return err
	}
	n.stores.stack = stack // close reads it after this loop has ended
	_, err = n.publish()
	return err
}

// deadStore names a private store that refuses connections, or none. A server
// that is busy or frozen still accepts them: only one that is gone refuses.
func deadStore(ctx context.Context, info devstack.Info) string {
	for name, store := range map[string]devstack.Store{"redis": info.Redis, "postgres": info.Postgres} {
		if store.PID != 0 && refuses(ctx, store.URL) {
			return name
		}
	}
	return ""
}

func refuses(ctx context.Context, storeURL string) bool {
	u, err := url.Parse(storeURL)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = conn.Close()
	return false
}
