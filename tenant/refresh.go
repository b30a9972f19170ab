package tenant

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// loadTimeouts is how many timeouts reading the tables whole may take.
const loadTimeouts = 10

const listen = `LISTEN mollifier_tenant`

// refresher holds what only its two loops use. The listen loop has a
// connection of its own and only says that something was announced; the
// refresh loop alone reads the tables and replaces the snapshot.
type refresher struct {
	d         *Directory
	poll      time.Duration
	timeout   time.Duration
	log       *slog.Logger
	listen    *pgx.ConnConfig
	announced chan struct{} // capacity 1: announcements that wait are one

	down    bool // refresh loop: the last refresh failed
	foreign int  // refresh loop: root keys that did not open when last counted
}

// refreshLoop brings the snapshot up to date when a change was announced, when
// a caller asks, and once in every poll, whatever the listen loop is doing.
func (r *refresher) refreshLoop(ctx context.Context) {
	poll := time.NewTicker(r.poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.announced:
			_ = r.refresh(ctx) // logged there; the last good snapshot stays
		case <-poll.C:
			_ = r.refresh(ctx)
		case c := <-r.d.checks.asked:
			r.d.checks.begin()
			c.err = r.refresh(ctx)
			close(c.done)
		}
	}
}

// refresh reads the tables if their version is another than the snapshot's.
// Another, not a later one: a restored backup may have gone back.
func (r *refresher) refresh(ctx context.Context) error {
	err := r.tryRefresh(ctx)
	if ctx.Err() != nil {
		return err
	}
	switch {
	case err != nil && !r.down:
		r.log.Warn("tenants can not be refreshed; the last state stays in use", "error", scrubbed(err))
	case err == nil && r.down:
		r.log.Info("tenants are refreshed again", "version", r.d.Version())
	}
	r.down = err != nil
	return err
}

func (r *refresher) tryRefresh(ctx context.Context) error {
	version, err := r.version(ctx)
	if err != nil {
		return err
	}
	if version == r.d.Version() {
		return nil
	}
	whole, cancel := context.WithTimeout(ctx, loadTimeouts*r.timeout)
	defer cancel()
	next, err := load(whole, r.d.pool)
	if err != nil {
		return err
	}
	n := next.unopened(r.d.seal)
	if n > r.foreign {
		r.log.Error("root keys in Postgres were sealed under another secret key: no public token of their environments can be signed or verified here",
			"setting", "SecretKey", "keys", n)
	}
	r.foreign = n
	r.d.replace(next)
	return nil
}

// version asks twice before it gives up: the first try may meet a connection
// that died with a Postgres which is back by now.
func (r *refresher) version(ctx context.Context) (v int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	for range 2 {
		if err = r.d.pool.QueryRow(ctx, selectVersion).Scan(&v); err == nil {
			return v, nil
		}
	}
	return 0, err
}

// listenLoop keeps a connection that hears of changes, for ever: a lost one is
// made again after a jittered pause of 50 ms to about 5 s.
func (r *refresher) listenLoop(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = 5 * time.Second
	deaf := false
	for {
		err := r.hear(ctx, func() { pause.Reset(); deaf = false })
		if ctx.Err() != nil {
			return
		}
		if !deaf {
			deaf = true
			r.log.Warn("announcements of tenants are not heard; polling goes on", "error", scrubbed(err))
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
func (r *refresher) hear(ctx context.Context, connected func()) error {
	start, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(start, r.listen.Copy())
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(start, listen); err != nil {
		return err
	}
	connected()
	for {
		// First for what was announced while nobody listened.
		select {
		case r.announced <- struct{}{}:
		default:
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
