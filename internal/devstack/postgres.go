//go:build unix

package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// role and database are what the private Postgres is made with.
const (
	role     = "mollifier"
	database = "mollifier"
)

// PostgresConfig says how a private Postgres is run.
type PostgresConfig struct {
	// Dir is the server's folder; it is made if need be, and holds a database
	// cluster from the first start on. Its log and its record (port and
	// password) are beside it, with the endings .log and .json.
	Dir string
	// Ephemeral gives durability up for speed: nothing is synced to disk.
	Ephemeral bool
	// DieWithParent has the kernel kill the server when this process ends
	// (Linux only).
	DieWithParent bool
	// StandbyOf has the first start make an asynchronous standby of another server,
	// which must be running, instead of a database cluster of its own. See
	// [Postgres.Promote].
	StandbyOf *Postgres
	// Settings are further parameters of the server. They win over the defaults.
	Settings map[string]string

	elsewhere string // overrides the constant in tests
}

// Postgres is a private Postgres server with an empty database of its own. It
// listens on loopback and asks for a password. Its methods are safe for
// concurrent use.
type Postgres struct {
	keeper
	cfg      PostgresConfig
	link     string
	prepared bool
	bin      string
	movedTo  string
}

// NewPostgres prepares a server without starting it or touching the disk.
func NewPostgres(cfg PostgresConfig) (*Postgres, error) {
	if cfg.elsewhere == "" {
		cfg.elsewhere = elsewhere
	}
	parent, err := resolve(filepath.Dir(cfg.Dir))
	if err != nil {
		return nil, err
	}
	p := &Postgres{cfg: cfg, link: filepath.Join(parent, filepath.Base(cfg.Dir))}
	p.name = "Postgres"
	p.logFile = p.link + ".log"
	p.recordFile = p.link + ".json"
	p.stopSignal = syscall.SIGINT // fast shutdown: open connections are closed
	p.bound = cfg.DieWithParent
	p.ping = pingPostgres
	return p, nil
}

// Start starts the server, or takes over the one that runs in its folder, and
// returns when it answers and its database is there; the first start makes the
// database cluster. If ctx ends first the server is stopped again. After Stop or
// Kill it may be started again and has the same URL.
//
// As root, which Postgres refuses to run as, the server runs as the user
// postgres, or nobody.
func (p *Postgres) Start(ctx context.Context) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	settings := p.settings()
	p.command = func(rec record) (string, []string, error) {
		args := []string{"-D", p.dir, "-c", "port=" + strconv.Itoa(rec.Port)}
		for _, s := range settings {
			args = append(args, "-c", s)
		}
		return filepath.Join(p.bin, "postgres"), args, nil
	}
	return p.start(ctx, settings)
}

func (p *Postgres) settings() []string {
	set := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "", // their paths are limited to about 100 bytes
		"max_connections":         "200",
		"password_encryption":     "scram-sha-256",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_destination":         "stderr",
		"logging_collector":       "off",
		"log_line_prefix":         "%m [%p] ",
		"log_checkpoints":         "off",
	}
	if p.cfg.Ephemeral {
		set["fsync"], set["full_page_writes"], set["synchronous_commit"] = "off", "off", "off"
	}
	maps.Copy(set, p.cfg.Settings)
	list := make([]string, 0, len(set))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		list = append(list, name+"="+set[name])
	}
	return list
}

// Stop ends the server in an orderly way; open connections are closed. If ctx
// ends first it is killed. It is no error if the server is not running.
func (p *Postgres) Stop(ctx context.Context) error { return p.stop(ctx) }

// URL is how to connect, password included: keep it out of logs.
func (p *Postgres) URL() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return postgresURL(p.record, database)
}

func postgresURL(rec record, db string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, rec.Password),
		Host: addr(rec), Path: "/" + db, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Promote makes a standby a primary. It returns when it takes writes.
func (p *Postgres) Promote(ctx context.Context) error {
	c, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	var done bool
	if err := c.QueryRow(ctx, "SELECT pg_promote(true, 60)").Scan(&done); err != nil || !done {
		return fmt.Errorf("devstack: the standby was not promoted: %w", err)
	}
	return nil
}

func (p *Postgres) password() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record.Password
}

func (p *Postgres) port() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record.Port
}

// MovedTo is the folder the server's files are in if that is not the configured
// one, because the user Postgres runs as could not reach it; empty otherwise,
// and before the first start.
func (p *Postgres) MovedTo() string { return p.movedTo }

// prepare finds the programs, the user and the real folder, and makes the
// database cluster if there is none.
func (p *Postgres) prepare(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prepared {
		return nil
	}
	known, err := p.loadRecord()
	if err != nil {
		return err
	}
	if of := p.cfg.StandbyOf; of != nil {
		p.record.Password = of.password()
	}
	if p.user, err = postgresAccount(p.link); err != nil {
		return err
	}
	lookup := systemLookup()
	if p.bin, _, err = lookup.postgres(ctx, 0); err != nil {
		return err
	}
	dir, moved, err := placePostgres(ctx, p.link, p.cfg.elsewhere, filepath.Join(p.bin, "initdb"), p.user)
	if err != nil {
		return err
	}
	if moved {
		p.movedTo = dir
	}
	p.dir, p.pidFile = dir, filepath.Join(dir, "postmaster.pid")
	madeBy, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := p.initdb(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	case !known:
		return fmt.Errorf("devstack: %s is gone, and with it the password of the database in %s", p.recordFile, p.link)
	default:
		major, err := strconv.Atoi(strings.TrimSpace(string(madeBy)))
		if err != nil {
			return fmt.Errorf("devstack: %s: unreadable PG_VERSION: %w", p.link, err)
		}
		if p.bin, _, err = lookup.postgres(ctx, major); err != nil {
			return err
		}
	}
	if p.dir, err = resolve(p.dir); err != nil {
		return err
	}
	p.pidFile = filepath.Join(p.dir, "postmaster.pid")
	p.prepared = true
	return nil
}

// initdb makes the database cluster in a folder beside the final one and renames
// it when it is complete, so that a start that was interrupted leaves nothing
// that looks like a database.
func (p *Postgres) initdb(ctx context.Context) error {
	if err := p.saveRecord(); err != nil {
		return err
	}
	fresh := p.dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	secret := fresh + ".pw"
	if err := writeFileAtomic(secret, []byte(p.record.Password+"\n")); err != nil {
		return err
	}
	defer os.Remove(secret)
	program, env := filepath.Join(p.bin, "initdb"), serverEnv()
	args := []string{
		"-D", fresh, "-U", role, "--pwfile", secret, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--data-checksums",
	}
	if of := p.cfg.StandbyOf; of != nil {
		// It is beside the real initdb, also where that is found by a link.
		initdb, err := filepath.EvalSymlinks(program)
		if err != nil {
			return err
		}
		program, env = filepath.Join(filepath.Dir(initdb), "pg_basebackup"), append(env, "PGPASSWORD="+p.record.Password)
		args = []string{
			"-D", fresh, "-U", role, "-h", "127.0.0.1", "-p", strconv.Itoa(of.port()),
			"--write-recovery-conf", "--checkpoint", "fast", "--wal-method", "stream",
		}
	}
	if p.cfg.Ephemeral || p.cfg.DieWithParent {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = fresh
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if p.user != nil {
		for _, f := range []string{fresh, secret} {
			if err := os.Chown(f, int(p.user.uid), int(p.user.gid)); err != nil {
				return err
			}
		}
		cmd.SysProcAttr.Credential = p.user.credential()
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("devstack: %s failed: %w\n%s", filepath.Base(program), err, out), os.RemoveAll(fresh))
	}
	return os.Rename(fresh, p.dir)
}

// pingPostgres connects, and makes the database if it is not there yet.
func pingPostgres(ctx context.Context, rec record) error {
	c, err := pgx.Connect(ctx, postgresURL(rec, database))
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "3D000" { // no such database
		if err := createDatabase(ctx, rec); err != nil {
			return err
		}
		c, err = pgx.Connect(ctx, postgresURL(rec, database))
	}
	if err != nil {
		// The driver's message names host and user; the code says enough.
		if errors.As(err, &refused) {
			return fmt.Errorf("refused with %s: %s", refused.Code, refused.Message)
		}
		return errors.New("no connection yet")
	}
	return c.Close(ctx)
}

func createDatabase(ctx context.Context, rec record) error {
	c, err := pgx.Connect(ctx, postgresURL(rec, "postgres"))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize())
	return errors.Join(err, c.Close(ctx))
}

// resolve is the absolute path without symlinks, by which the kernel names a
// process's working folder.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}
