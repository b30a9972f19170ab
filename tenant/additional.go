package tenant

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// AddKey gives the environment of that id an additional key and returns it; it is
// shown never again. Names are as those of environments, and an environment has
// one current key of a name: else [ErrExists]. The other errors are a
// [*run.InvalidError] that names the field, or [run.ErrNotFound] for an id that
// is not known.
func (a *Admin) AddKey(ctx context.Context, environment, name string) (key Secret, err error) {
	if err := checkName("name", name); err != nil {
		return Secret{}, err
	}
	err = a.change(ctx, func(tx pgx.Tx) error {
		key, err = addKey(ctx, tx, environment, name)
		return err
	})
	if err != nil {
		return Secret{}, err
	}
	return key, nil
}

// RotateKey puts a new key in the place of the one of that name. The old one goes
// on until oldExpires, a grace from now; with none it ends at once. The error is
// [run.ErrNotFound] where there is no current key of that name.
func (a *Admin) RotateKey(ctx context.Context, environment, name string, grace time.Duration) (newKey Secret, oldExpires time.Time, err error) {
	err = a.change(ctx, func(tx pgx.Tx) error {
		if oldExpires, err = endKey(ctx, tx, environment, name, grace); err != nil {
			return err
		}
		newKey, err = addKey(ctx, tx, environment, name)
		return err
	})
	if err != nil {
		return Secret{}, time.Time{}, err
	}
	return newKey, oldExpires, nil
}

// RevokeKey ends the additional keys of that name at once, also those that were
// rotated out. The error is [run.ErrNotFound] where there is none.
func (a *Admin) RevokeKey(ctx context.Context, environment, name string) error {
	return a.change(ctx, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE env_id = $1 AND kind = 'additional' AND name = $2`, environment, name)
		if err == nil && done.RowsAffected() == 0 {
			return notFound("key")
		}
		return err
	})
}

func addKey(ctx context.Context, tx pgx.Tx, environment, name string) (Secret, error) {
	var t Type
	err := tx.QueryRow(ctx, `SELECT type FROM environments WHERE id = $1`, environment).Scan(&t)
	if errors.Is(err, pgx.ErrNoRows) {
		return Secret{}, notFound("environment")
	}
	if err != nil {
		return Secret{}, err
	}
	key := mintAdditionalKey(t)
	h := hashKey(key.Reveal())
	done, err := tx.Exec(ctx, `INSERT INTO api_keys (key_hash, env_id, kind, name, hint) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (env_id, name) WHERE expires_at IS NULL DO NOTHING`, h[:], environment, Additional, name, hint(key))
	if err == nil && done.RowsAffected() == 0 {
		err = ErrExists
	}
	return key, err
}

// endKey also removes keys of the environment that ended before.
func endKey(ctx context.Context, tx pgx.Tx, environment, name string, grace time.Duration) (ends time.Time, err error) {
	if _, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE env_id = $1 AND expires_at < now()`, environment); err != nil {
		return ends, err
	}
	err = tx.QueryRow(ctx, `UPDATE api_keys SET expires_at = now() + make_interval(secs => $3)
WHERE env_id = $1 AND kind = 'additional' AND name = $2 AND expires_at IS NULL RETURNING expires_at`,
		environment, name, grace.Seconds()).Scan(&ends)
	if errors.Is(err, pgx.ErrNoRows) {
		err = notFound("key")
	}
	return ends, err
}

// RevokeRotated ends the root keys of the environment that were rotated out, and
// so all public tokens that they signed, without waiting for [RotationGrace]: for
// a key that has leaked. It returns how many there were.
func (a *Admin) RevokeRotated(ctx context.Context, environment string) (ended int64, err error) {
	err = a.change(ctx, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE env_id = $1 AND kind = 'root' AND expires_at IS NOT NULL`, environment)
		ended = done.RowsAffected()
		return err
	})
	return ended, err
}
