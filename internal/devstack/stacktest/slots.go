//go:build unix

package stacktest

import (
	"context"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/redis/go-redis/v9"
)

// Slot is a slot of a cluster on its way from one server to another.
type Slot struct {
	t        testing.TB
	number   int64
	from, to *devstack.Redis
	names    [2]string // ids of the two servers
}

// MoveSlot begins to move the slot of a key from one server to another: from then on
// keys that are gone from the first are asked for at the second.
func MoveSlot(t testing.TB, key string, from, to *devstack.Redis) *Slot {
	t.Helper()
	s := &Slot{t: t, from: from, to: to}
	s.with(from, func(ctx context.Context, c *redis.Client) (err error) {
		if s.number, err = c.ClusterKeySlot(ctx, key).Result(); err == nil {
			s.names[0], err = c.Do(ctx, "cluster", "myid").Text()
		}
		return err
	})
	s.with(to, func(ctx context.Context, c *redis.Client) (err error) {
		if s.names[1], err = c.Do(ctx, "cluster", "myid").Text(); err == nil {
			err = c.Do(ctx, "cluster", "setslot", s.number, "importing", s.names[0]).Err()
		}
		return err
	})
	s.with(from, func(ctx context.Context, c *redis.Client) error {
		return c.Do(ctx, "cluster", "setslot", s.number, "migrating", s.names[1]).Err()
	})
	return s
}

// Keys moves at most n of its keys, and returns how many it moved.
func (s *Slot) Keys(n int) (moved int) {
	s.t.Helper()
	s.with(s.from, func(ctx context.Context, c *redis.Client) error {
		keys, err := c.ClusterGetKeysInSlot(ctx, int(s.number), n).Result()
		if err == nil && len(keys) > 0 {
			moved = len(keys)
			s.Move(keys...)
		}
		return err
	})
	return moved
}

// Move moves these of its keys.
func (s *Slot) Move(keys ...string) {
	s.t.Helper()
	s.with(s.from, func(ctx context.Context, c *redis.Client) error {
		host, port, _ := strings.Cut(s.to.Addr(), ":")
		args := []any{"migrate", host, port, "", 0, 10000, "auth2", "default", c.Options().Password, "keys"}
		for _, k := range keys {
			args = append(args, k)
		}
		return c.Do(ctx, args...).Err()
	})
}

// End moves what is left, and has the other server own the slot.
func (s *Slot) End() {
	s.t.Helper()
	for s.Keys(100) > 0 {
	}
	for _, server := range []*devstack.Redis{s.to, s.from} {
		s.with(server, func(ctx context.Context, c *redis.Client) error {
			return c.Do(ctx, "cluster", "setslot", s.number, "node", s.names[1]).Err()
		})
	}
}

func (s *Slot) with(server *devstack.Redis, do func(context.Context, *redis.Client) error) {
	s.t.Helper()
	c := server.Client()
	defer c.Close()
	if err := do(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}
