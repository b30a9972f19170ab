package tenant

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says how a [Directory] or an [Admin] works. The zero value of every
// optional field means its default. Printing a Config shows nothing of it: the
// URL may carry a password.
type Config struct {
	// URL of the Postgres that holds the tenants: postgres://user:password@host:port/database.
	// Required. Its schema must have been migrated.
	URL string
	// SecretKey seals and opens root keys: 32 bytes, from [ParseSecretKey] or
	// [LoadOrCreateSecret]. Required, and the same on every node.
	SecretKey Secret

	// Poll is how often the version is looked at, for announcements that were
	// lost. Default 5 s.
	Poll time.Duration
	// Timeout bounds one connect and one look at the version. Reading the
	// tables whole, and one call of an Admin, may take ten times as long. Default 2 s.
	Timeout time.Duration
	// Now is the clock that ends keys and paces lookups. It must be safe for
	// concurrent use. Default time.Now.
	Now func() time.Time
	// Logger receives changes between reachable and not. Nil discards them.
	Logger *slog.Logger
}

// Format writes "tenant.Config[redacted]" whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tenant.Config"+redacted) }

// MarshalJSON gives "[redacted]" as a JSON string.
func (c Config) MarshalJSON() ([]byte, error) { return Secret{}.MarshalJSON() }

// LogValue gives "[redacted]" to slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(redacted) }

// prepare sets the defaults and reports the first field that can not work.
func (c Config) prepare() (Config, *pgxpool.Config, *sealer, error) {
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Poll < 0 {
		return c, nil, nil, errors.New("tenant: Config.Poll must be more than 0")
	}
	if c.Timeout < 0 {
		return c, nil, nil, errors.New("tenant: Config.Timeout must be more than 0")
	}
	if c.URL == "" {
		return c, nil, nil, errors.New("tenant: Config.URL must be a postgres:// URL")
	}
	seal, err := newSealer(c.SecretKey)
	if err != nil {
		return c, nil, nil, err
	}
	pool, err := pgxpool.ParseConfig(c.URL)
	if err != nil { // its text may repeat parts of the URL
		return c, nil, nil, errors.New("tenant: Config.URL must be a postgres:// URL")
	}
	pool.ConnConfig.ConnectTimeout = c.Timeout
	if pool.ConnConfig.ValidateConnect == nil { // of several hosts, the one that can be written to
		pool.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return c, pool, seal, nil
}
