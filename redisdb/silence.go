package redisdb

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// init takes go-redis's own logger away. It is global to the process, and
// prints errors of connections with the address of the server in them, to
// standard error, beside every log that the program has and whatever its level.
// All that it prints is also an error of some call, which is classified and
// counted where the call was made. go-redis reads the variable without a lock,
// so it can be set without a race only before the first client exists: here.
func init() { redis.SetLogger(mute{}) }

type mute struct{}

func (mute) Printf(context.Context, string, ...any) {}
