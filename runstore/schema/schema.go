package schema

import (
	"context"
	"crypto/tls"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var files embed.FS

const (
	// versionTable remembers which migrations were applied.
	versionTable = "schema_version"
	// lockProbe and lockProbes bound how long one node waits, in seconds and
	// tries, for another that is migrating.
	lockProbe  = 1
	lockProbes = 300
)

// Migrate brings the schema of the database at url up to date. It may be
// called by many processes at once and costs one query when there is nothing
// to do. The error names the migration that failed, and never the address or
// the password of the database. A migration that fails leaves nothing of
// itself behind; those before it stay.
func Migrate(ctx context.Context, url string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// The parser's error repeats the address.
		return errors.New("schema: the Postgres URL can not be read")
	}
	// A migration may rightly take longer than a statement of the hot path.
	config.RuntimeParams["statement_timeout"] = "0"
	config.RuntimeParams["application_name"] = "mollifier-migrate"
	if config.ValidateConnect == nil { // of several hosts, the one that can be written to
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	db := stdlib.OpenDB(*config)
	if err := up(ctx, db); err != nil {
		return errors.Join(err, closed(db))
	}
	return closed(db)
}

func closed(db *sql.DB) error {
	if db.Close() != nil {
		return errors.New("schema: connection did not close cleanly")
	}
	return nil
}

func up(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return fmt.Errorf("schema: embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockProbe, lockProbes))
	if err != nil {
		return fmt.Errorf("schema: lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir,
		goose.WithSessionLocker(locker), goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true),
		// Numbers are given to parts, which do not depend on each other, and not by date.
		goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("schema: read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return describe(err)
	}
	return nil
}

// describe keeps what helps (which file, which SQLSTATE, what Postgres said of
// the statement) and drops what a driver adds about where the database lives.
func describe(err error) error {
	at := "schema: migrate"
	if partial, ok := errors.AsType[*goose.PartialError](err); ok && partial.Failed != nil && partial.Failed.Source != nil {
		at = "schema: migrate " + partial.Failed.Source.Path
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%s: %s (SQLSTATE %s)", at, refused.Message, refused.Code)
	}
	for _, ended := range [...]error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return fmt.Errorf("%s: stopped before the end: %w", at, ended)
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%s: the certificate of Postgres was not accepted", at)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return fmt.Errorf("%s: Postgres can not be reached", at)
	}
	return fmt.Errorf("%s: the connection failed", at)
}
