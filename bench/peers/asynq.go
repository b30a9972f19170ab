package peers

import (
	"context"
	"strconv"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/e0ff5a15/mollifier/bench/internal/load"
)

// Asynq enqueues a task for each trigger, whose id is the key.
func Asynq(s *load.Stores, conns int, payload []byte) (*load.Contestant, error) {
	o, err := redis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PoolSize = conns
	shared := redis.NewClient(o)
	c := asynq.NewClientFromRedisClient(shared)
	prefix := load.Fresh()
	return &load.Contestant{
		Name: "asynq with TaskID, pool of " + strconv.Itoa(conns),
		Do: func(ctx context.Context, i int) error {
			_, err := c.EnqueueContext(ctx, asynq.NewTask("bench", payload), asynq.TaskID(prefix+strconv.Itoa(i)))
			return err
		},
		Close: func() { _ = shared.Close() },
	}, nil
}
