package claim

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/run"
)

// idle is how long the subscription may be silent before it is asked whether
// it is alive, and how long the answer may take.
const idle = 5 * time.Second

// Wakes calls heard for each key whose claim ended while a waiter of some node
// had flagged it, until ctx ends; it then returns ctx's error. It connects
// again, with growing and random pauses, whenever the connection is lost.
//
// heard is called with the zero Hash each time the subscription has begun:
// announcements before that were missed, so every waiter should ask again.
// Announcements are hints: they may be late, repeated, lost, or about keys that
// nobody here waits for. heard is called from one goroutine and must not block,
// or the announcements that follow wait in the socket.
func (s *Store) Wakes(ctx context.Context, heard func(run.Hash)) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = time.Second
	pause.RandomizationFactor = 0.5
	for {
		s.listen(ctx, heard, pause.Reset)
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
func (s *Store) listen(ctx context.Context, heard func(run.Hash), began func()) {
	l := s.link.Load()
	if l == nil {
		return
	}
	sub := l.client.Subscribe(ctx, s.names.wake())
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
				return
			}
			asked = true
			continue
		case err != nil:
			return
		}
		asked = false
		switch msg := msg.(type) {
		case *redis.Subscription:
			began()
			heard(run.Hash{})
		case *redis.Message:
			if h, ok := run.ParseHash(msg.Payload); ok {
				heard(h)
			}
		}
	}
}

func timedOut(err error) bool {
	var timed net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timed) && timed.Timeout()
}
