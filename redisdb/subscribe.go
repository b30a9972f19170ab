package redisdb

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

// idle is how long the subscription may be silent before it is asked whether
// it is alive, and how long the answer may take.
const idle = 5 * time.Second

// Subscribe calls heard for each message on the channel until ctx ends; it then
// returns ctx's error. It connects again, with growing and random pauses,
// whenever the connection is lost. began is called each time the subscription
// has begun: messages before that were missed. Both are called from one
// goroutine and must not block, or the messages that follow wait in the socket.
func (d *DB) Subscribe(ctx context.Context, channel string, began func(), heard func(message string)) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = time.Second
	pause.RandomizationFactor = 0.5
	for {
		d.listen(ctx, channel, func() { pause.Reset(); began() }, heard)
		if err := ctx.Err(); err != nil {
			return err
		}
		wait := time.NewTimer(pause.NextBackOff())
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}

// listen holds one subscription until it fails or ctx ends.
func (d *DB) listen(ctx context.Context, channel string, began func(), heard func(string)) {
	l := d.link.Load()
	if l == nil {
		return
	}
	sub := l.servers.subscribe(ctx, channel)
	defer func() { _ = sub.Close() }()
	// A read does not end with its context; closing ends it.
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer stop()

	asked := false
	for {
		msg, err := sub.ReceiveTimeout(ctx, idle)
		switch {
		case err != nil && !asked && timedOut(err) && ctx.Err() == nil:
			if sub.Ping(ctx) != nil {
				d.unbroken.trouble()
				return
			}
			asked = true
			continue
		case err != nil:
			if ctx.Err() == nil {
				d.unbroken.trouble() // before any call has met it
			}
			return
		}
		asked = false
		switch msg := msg.(type) {
		case *redis.Subscription:
			began()
		case *redis.Message:
			heard(msg.Payload)
		}
	}
}

func timedOut(err error) bool {
	var timed net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timed) && timed.Timeout()
}
