package follow

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// Config says what is followed. Every field is required, but Asked with Answer.
type Config[A any] struct {
	Conn    *pgx.ConnConfig // of the connection that listens; not changed
	Channel string          // of the announcements: an SQL name that needs no quotes
	Poll    time.Duration   // between looks without an announcement
	Timeout time.Duration   // of one connect

	// Refresh looks, and takes the copy over. It logs its own errors.
	Refresh func(ctx context.Context)
	// Answer looks on behalf of somebody who sent a question to Asked. It is called
	// by the goroutine that calls Refresh.
	Answer func(ctx context.Context, question A)
	Asked  <-chan A
	// Deaf is told, once until they are heard again, that announcements are not
	// heard, and why. Only polling finds changes then.
	Deaf func(error)
}

// Run follows until ctx ends.
func Run[A any](ctx context.Context, c Config[A]) {
	announced := make(chan struct{}, 1) // announcements that wait are one
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.listenLoop(ctx, announced)
	}()
	c.refreshLoop(ctx, announced)
	<-ended
}

func (c *Config[A]) refreshLoop(ctx context.Context, announced <-chan struct{}) {
	poll := time.NewTicker(c.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-announced:
			c.Refresh(ctx)
		case <-poll.C:
			c.Refresh(ctx)
		case question := <-c.Asked:
			c.Answer(ctx, question)
		}
	}
}

// listenLoop keeps a connection that hears of changes, for ever: a lost one is
// made again after a jittered pause of 50 ms to about 5 s.
func (c *Config[A]) listenLoop(ctx context.Context, announced chan<- struct{}) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = 5 * time.Second
	deaf := false
	for {
		err := c.hear(ctx, announced, func() { pause.Reset(); deaf = false })
		if ctx.Err() != nil {
			return
		}
		if !deaf {
			deaf = true
			c.Deaf(err)
		}
		wait := time.NewTimer(pause.NextBackOff())
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// hear returns when its connection is lost or ctx ends, with the reason.
func (c *Config[A]) hear(ctx context.Context, announced chan<- struct{}, connected func()) error {
	start, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(start, c.Conn.Copy())
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(start, "LISTEN "+c.Channel); err != nil {
		return err
	}
	connected()
	for {
		// First for what was announced while nobody listened.
		select {
		case announced <- struct{}{}:
		default:
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
