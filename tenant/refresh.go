package tenant

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/follow"
)

// loadTimeouts is how many timeouts reading the tables whole may take.
const loadTimeouts = 10

// channel is where changes of the tenants are announced.
const channel = "mollifier_tenant"

// refresher holds what only the goroutine that reads the tables uses; it alone
// replaces the snapshot.
type refresher struct {
	d       *Directory
	timeout time.Duration
	log     *slog.Logger

	down    bool // the last refresh failed
	foreign int  // root keys that did not open when last counted
}

// follow brings the snapshot up to date until ctx ends: when a change was
// announced, when a caller asks, and once in every poll.
func (r *refresher) follow(ctx context.Context, conn *pgx.ConnConfig, poll time.Duration) {
	follow.Run(ctx, follow.Config[*check]{
		Conn: conn, Channel: channel, Poll: poll, Timeout: r.timeout,
		Refresh: func(ctx context.Context) { _ = r.refresh(ctx) }, // logged there; the last good snapshot stays
		Asked:   r.d.checks.asked,
		Answer: func(ctx context.Context, c *check) {
			r.d.checks.begin()
			c.err = r.refresh(ctx)
			close(c.done)
		},
		Deaf: func(err error) {
			r.log.Warn("announcements of tenants are not heard; polling goes on", "error", scrubbed(err))
		},
	})
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
