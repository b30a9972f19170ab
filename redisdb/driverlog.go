package redisdb

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogDriver sends what the Redis driver has to say about its connections to l,
// at debug level and without its arguments, which may name addresses. The
// driver's log is one for the whole process, so this is for a program's main to
// call, once and before it connects; an embedder's process is left alone.
func LogDriver(l *slog.Logger) { redis.SetLogger(driverLog{l}) }

type driverLog struct{ to *slog.Logger }

func (d driverLog) Printf(ctx context.Context, format string, _ ...any) {
	d.to.DebugContext(ctx, "redis driver", slog.String("says", format))
}
