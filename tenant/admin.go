package tenant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

// RotationGrace is how long a root key still opens its environment after it
// was rotated out.
const RotationGrace = 24 * time.Hour

// Admin changes tenants. Each call opens one connection and makes its change
// in one transaction, so an Admin holds nothing and need not be closed. It is
// safe for concurrent use; calls of all Admins of a database run one by one.
//
// Every method refuses with [run.ErrUnavailable] when Postgres did not answer:
// the change may then have been made. [ErrSecretKey] means that Config.SecretKey
// is not the one that the stored root keys were sealed with; nothing was changed.
type Admin struct {
	conn    *pgx.ConnConfig
	seal    *sealer
	timeout time.Duration
}

// NewAdmin checks the configuration; it does not connect. Poll, Now and Logger
// are not used: an Admin goes by Postgres's clock.
func NewAdmin(cfg Config) (*Admin, error) {
	cfg, pool, seal, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	return &Admin{pool.ConnConfig, seal, loadTimeouts * cfg.Timeout}, nil
}

// Format writes "tenant.Admin" whatever the verb: an Admin holds the URL's password.
func (a *Admin) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tenant.Admin") }

// NewEnvironment asks for an environment. Names are 1 to 64 characters of
// [A-Za-z0-9._-], begin with a letter or a digit, and not as an id does.
type NewEnvironment struct {
	Organisation string // its name, or the id of one that exists
	Name         string
	Type         Type
}

// Add makes an environment, and its organisation (enrolled) when there is none
// of that name. It returns the root key; later only [Admin.Seed] shows one
// again. The errors are a [*run.InvalidError] that names the field,
// [ErrExists], or [run.ErrNotFound] for an organisation id that is not known.
func (a *Admin) Add(ctx context.Context, n NewEnvironment) (e Environment, rootKey Secret, err error) {
	if err := n.check(); err != nil {
		return Environment{}, Secret{}, err
	}
	err = a.change(ctx, func(tx pgx.Tx) error {
		e, rootKey, err = a.add(ctx, tx, n)
		return err
	})
	if err != nil {
		return Environment{}, Secret{}, err
	}
	return e, rootKey, nil
}

func (n NewEnvironment) check() error {
	if !strings.HasPrefix(n.Organisation, organisationPrefix) {
		if err := checkName("organisation", n.Organisation); err != nil {
			return err
		}
	}
	if err := checkName("name", n.Name); err != nil {
		return err
	}
	return checkType(n.Type)
}

func (a *Admin) add(ctx context.Context, tx pgx.Tx, n NewEnvironment) (Environment, Secret, error) {
	o, err := findOrganisation(ctx, tx, n.Organisation)
	if errors.Is(err, run.ErrNotFound) && !strings.HasPrefix(n.Organisation, organisationPrefix) {
		o, err = addOrganisation(ctx, tx, n.Organisation)
	}
	if err != nil {
		return Environment{}, Secret{}, err
	}
	e := Environment{ID: mintID(environmentPrefix), Name: n.Name, Type: n.Type, Organisation: o}
	done, err := tx.Exec(ctx, `INSERT INTO environments (id, org_id, name, type) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id, name) DO NOTHING`, e.ID, o.ID, e.Name, e.Type)
	if err != nil {
		return Environment{}, Secret{}, err
	}
	if done.RowsAffected() == 0 {
		return Environment{}, Secret{}, ErrExists
	}
	key, err := a.addRootKey(ctx, tx, e)
	return e, key, err
}

func (a *Admin) addRootKey(ctx context.Context, tx pgx.Tx, e Environment) (Secret, error) {
	key := mintRootKey(e.Type)
	h := hashKey(key.Reveal())
	_, err := tx.Exec(ctx, `INSERT INTO api_keys (key_hash, env_id, kind, sealed, hint) VALUES ($1, $2, $3, $4, $5)`,
		h[:], e.ID, Root, a.seal.seal(e.ID, key), hint(key))
	return key, err
}

func addOrganisation(ctx context.Context, tx pgx.Tx, name string) (Organisation, error) {
	o := Organisation{mintID(organisationPrefix), name, true}
	_, err := tx.Exec(ctx, `INSERT INTO organisations (id, name, enrolled) VALUES ($1, $2, $3)`, o.ID, o.Name, o.Enrolled)
	return o, err
}

// findOrganisation accepts an id or a name; no name looks like an id.
func findOrganisation(ctx context.Context, tx pgx.Tx, idOrName string) (o Organisation, err error) {
	err = tx.QueryRow(ctx, `SELECT id, name, enrolled FROM organisations WHERE id = $1 OR name = $1`, idOrName).
		Scan(&o.ID, &o.Name, &o.Enrolled)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, notFound("organisation")
	}
	return o, err
}

// Rotate gives the environment of that id a new root key and returns it. The
// old one goes on for [RotationGrace], until oldExpires; keys that ended
// before are removed. The error is [run.ErrNotFound] for an id that is not known.
func (a *Admin) Rotate(ctx context.Context, environment string) (newKey Secret, oldExpires time.Time, err error) {
	err = a.change(ctx, func(tx pgx.Tx) error {
		e := Environment{ID: environment}
		err := tx.QueryRow(ctx, `SELECT type FROM environments WHERE id = $1`, environment).Scan(&e.Type)
		if errors.Is(err, pgx.ErrNoRows) {
			return notFound("environment")
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE env_id = $1 AND expires_at < now()`, environment); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `UPDATE api_keys SET expires_at = now() + make_interval(secs => $2)
WHERE env_id = $1 AND kind = 'root' AND expires_at IS NULL RETURNING expires_at`,
			environment, RotationGrace.Seconds()).Scan(&oldExpires)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) { // none: there was no current key
			return err
		}
		newKey, err = a.addRootKey(ctx, tx, e)
		return err
	})
	if err != nil {
		return Secret{}, time.Time{}, err
	}
	return newKey, oldExpires, nil
}

// SetEnrolled flags an organisation, by id or name, as taking part in claims
// and mollifying or not. The error is [run.ErrNotFound] for one that is not known.
func (a *Admin) SetEnrolled(ctx context.Context, organisation string, enrolled bool) error {
	return a.change(ctx, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `UPDATE organisations SET enrolled = $2 WHERE id = $1 OR name = $1`, organisation, enrolled)
		if err == nil && done.RowsAffected() == 0 {
			return notFound("organisation")
		}
		return err
	})
}

// SetRefuseMismatch says for the environment of that id whether triggers are
// refused whose idempotency key holds a run of another payload. The error is
// [run.ErrNotFound] for one that is not known.
func (a *Admin) SetRefuseMismatch(ctx context.Context, environment string, refuse bool) error {
	return a.change(ctx, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `UPDATE environments SET refuse_mismatch = $2 WHERE id = $1`, environment, refuse)
		if err == nil && done.RowsAffected() == 0 {
			return notFound("environment")
		}
		return err
	})
}

// SetKeep says for the environment of that id how long its runs are kept after they are
// over: negative for ever, 0 as long as the deployment says. Nodes keep them for at least
// a minute. The error is [run.ErrNotFound] for one that is not known.
func (a *Admin) SetKeep(ctx context.Context, environment string, keep time.Duration) error {
	var us *int64
	if keep != 0 {
		n := max(0, keep.Microseconds())
		us = &n
	}
	return a.change(ctx, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `UPDATE environments SET keep_us = $2 WHERE id = $1`, environment, us)
		if err == nil && done.RowsAffected() == 0 {
			return notFound("environment")
		}
		return err
	})
}

// change runs f in a transaction that holds the lock on the version from its
// start: whoever else changes tenants waits before it reads, so that nothing
// read here is out of date when it is acted upon, and no two can deadlock.
func (a *Admin) change(ctx context.Context, f func(pgx.Tx) error) error {
	return a.transact(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, selectVersion+` FOR UPDATE`); err != nil {
			return err
		}
		if err := a.proveSecretKey(ctx, tx); err != nil {
			return err
		}
		return f(tx)
	})
}

func (a *Admin) transact(ctx context.Context, o pgx.TxOptions, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, a.conn.Copy())
	if err != nil {
		return unavailable(err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
		defer cancel()
		_ = conn.Close(end)
	}()
	err = pgx.BeginTxFunc(ctx, conn, o, func(tx pgx.Tx) error { return f(ctx, tx) })
	if err == nil || answered(err) {
		return err
	}
	return unavailable(err)
}

// answered tells this package's own answers from failures of Postgres.
func answered(err error) bool {
	return errors.Is(err, ErrExists) || errors.Is(err, ErrSecretKey) || errors.Is(err, run.ErrNotFound)
}

// proveSecretKey keeps all root keys of a database under one secret key: it
// opens the newest before another is stored.
func (a *Admin) proveSecretKey(ctx context.Context, tx pgx.Tx) error {
	var env string
	var sealed []byte
	err := tx.QueryRow(ctx, `SELECT env_id, sealed FROM api_keys WHERE kind = 'root' ORDER BY created_at DESC LIMIT 1`).
		Scan(&env, &sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = a.seal.open(env, sealed)
	return err
}
