package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
)

var redis = []Nemesis{
	{Class: "N3", Name: "redis-kill", What: "Redis is killed and started again with its file", Run: func(ctx context.Context, f *Field) error {
		return f.during(ctx, func() error { return f.Redis().Kill() }, func() error { return f.startRedis(ctx) })
	}},
	{Class: "N3", Name: "redis-restart", What: "Redis is stopped in order and started again at once", Run: func(ctx context.Context, f *Field) error {
		return errors.Join(f.Redis().Stop(ctx), f.startRedis(ctx))
	}},
	{Class: "N3", Name: "redis-freeze", What: "Redis hangs (SIGSTOP) and goes on", Run: func(ctx context.Context, f *Field) error {
		return f.during(ctx, func() error { return f.Redis().Pause() }, func() error { return f.Redis().Resume() })
	}},
	{Class: "N7", Name: "redis-flush", What: "FLUSHALL", Empties: true, Run: func(ctx context.Context, f *Field) error {
		return f.RedisDo(ctx, "FLUSHALL")
	}},
	{Class: "N7", Name: "redis-rollback", What: "Redis is killed and comes back with the file that it had a second before", Empties: true, Run: rollback},
	{Class: "N7", Name: "redis-failover", What: "the primary dies, and a replica takes over that lacked the last moments", Empties: true, Run: failover},
	{Class: "N11", Name: "redis-full", What: "Redis has no memory left (maxmemory is what it uses)", Run: func(ctx context.Context, f *Field) error {
		return f.during(ctx, func() error {
			info, err := f.RedisInfo(ctx, "memory")
			if err != nil {
				return err
			}
			return f.RedisDo(ctx, "CONFIG", "SET", "maxmemory", field(info, "used_memory"))
		}, func() error { return f.RedisDo(context.WithoutCancel(ctx), "CONFIG", "SET", "maxmemory", 0) })
	}},
	{Class: "N12", Name: "script-flush", What: "SCRIPT FLUSH, again and again", Run: func(ctx context.Context, f *Field) error {
		for range 20 {
			if err := f.RedisDo(ctx, "SCRIPT", "FLUSH"); err != nil {
				return err
			}
			if err := cluster.Wait(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	}},
	{Class: "N12", Name: "script-busy", What: "somebody's script keeps Redis busy, until it is killed", Run: busy},
}

func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func busy(ctx context.Context, f *Field) error {
	if err := f.RedisDo(ctx, "CONFIG", "SET", "busy-reply-threshold", 100); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.RedisDo(ctx, "EVAL", "while true do end", 0) // it is killed
	}()
	err := f.hold(ctx)
	for {
		if killErr := f.RedisDo(ctx, "SCRIPT", "KILL"); killErr == nil || strings.Contains(killErr.Error(), "NOTBUSY") || ctx.Err() != nil {
			break
		}
		if waitErr := cluster.Wait(ctx, 50*time.Millisecond); waitErr != nil {
			break
		}
	}
	<-ended
	return err
}

// aof is the size of the part of the append-only file that is being written.
func aof(dir string) (file string, size int64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return "", 0, fmt.Errorf("no append-only file: %w", errors.Join(err, fs.ErrNotExist))
	}
	file = files[len(files)-1]
	st, err := os.Stat(file)
	if err != nil {
		return "", 0, err
	}
	return file, st.Size(), nil
}

func rollback(ctx context.Context, f *Field) error {
	file, size, err := aof(f.RedisDir())
	if err != nil {
		return err
	}
	if err := cluster.Wait(ctx, time.Second); err != nil {
		return err
	}
	if err := f.Redis().Kill(); err != nil {
		return err
	}
	f.stores.Lock()
	if f.Redis().PID() == 0 { // nobody was faster
		err = os.Truncate(file, size)
	}
	f.stores.Unlock()
	return errors.Join(err, f.startRedis(ctx))
}

func failover(ctx context.Context, f *Field) error {
	f.stores.Lock()
	defer f.stores.Unlock()
	return f.Failover(ctx, time.Duration(200+f.Rand.IntN(600))*time.Millisecond)
}
