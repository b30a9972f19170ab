package redisdb

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/run"
)

// One WAIT or WAITAOF follows the calls of a round trip on their connection, to each
// server of its own, and so stands for the last of their writes there. The server answers how many replicas (or disks)
// have it, and never that there are too few: the number is judged here. A replica that
// is away costs each such round trip half of the deadline.

// syncEverySecond is the deadline of which half is enough for a file that is synced each
// second.
const syncEverySecond = 2500 * time.Millisecond

// wait is the command that waits for the durability that is asked for: nil if the
// server's own setting is enough. The error is an unfitError that names what is missing.
func (c *Config) wait(caps *Capabilities) ([]any, error) {
	most := max(c.Deadline.Milliseconds()/2, 1)
	switch {
	case c.Durability == "" || c.Durability == run.DurableRedis:
		return nil, nil
	case c.Durability == run.DurableRedisFsync && caps.AOF && caps.Fsync == "always":
		return nil, nil
	case c.Durability == run.DurableRedisReplica:
		return []any{"wait", 1, most}, nil
	case !caps.AOF:
		return nil, unfit("Config.Durability %s needs an append-only file: put \"appendonly yes\" into Redis's configuration", c.Durability)
	case !caps.WaitAOF:
		return nil, unfit("Config.Durability %s needs \"appendfsync always\", which this Redis does not show to have, or WAITAOF, which it lacks (Redis 7.4.3, Valkey 8)", c.Durability)
	case caps.Fsync == "no":
		return nil, unfit("Config.Durability %s needs \"appendfsync always\" or \"everysec\": this Redis has \"no\", and never syncs by itself", c.Durability)
	case caps.Fsync == "everysec" && c.Deadline < syncEverySecond:
		return nil, unfit("Config.Durability %s needs \"appendfsync always\" in Redis's configuration, or a Config.Deadline of at least %s: this Redis syncs each second, and half of the deadline, %s, would seldom be enough",
			c.Durability, syncEverySecond, c.Deadline/2)
	}
	return []any{"waitaof", 1, 0, most}, nil
}

// waitFor adds the command to a trip in which a call asks for it.
func (l *link) waitFor(ctx context.Context, pipe redis.Pipeliner, t *trip, calls []Call, places []int) *redis.Cmd {
	if l.wait == nil {
		return nil
	}
	for _, place := range places {
		if calls[t.which[place]].Durable {
			cmd := redis.NewCmd(ctx, l.wait...)
			_ = pipe.Process(ctx, cmd)
			return cmd
		}
	}
	return nil
}

// met reports whether one replica, or the server's own disk, has everything.
func met(wait *redis.Cmd) bool {
	if wait.Err() != nil {
		return false
	}
	switch v := wait.Val().(type) {
	case int64: // WAIT
		return v >= 1
	case []any: // WAITAOF: here, and on replicas
		n, ok := int64(0), len(v) > 0
		if ok {
			n, ok = v[0].(int64)
		}
		return ok && n >= 1
	}
	return false
}
