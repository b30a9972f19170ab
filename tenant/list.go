package tenant

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Listed is one environment as [Admin.List] shows it.
type Listed struct {
	Environment
	CreatedAt time.Time
	Keys      []ListedKey // the newest first
}

// ListedKey is what may be shown of a key.
type ListedKey struct {
	Kind      Kind
	Name      string // of an additional key
	Hint      string // the key's last 4 characters
	CreatedAt time.Time
	ExpiresAt time.Time // zero: does not end
}

// List returns every environment by the names of its organisation and its own,
// with what may be shown of its keys, ended ones included. No key can be told
// from it. It waits for no other Admin, and opens nothing: any secret key will do.
func (a *Admin) List(ctx context.Context) ([]Listed, error) {
	var all []Listed
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := a.transact(ctx, o, func(ctx context.Context, tx pgx.Tx) error {
		index, err := listEnvironments(ctx, tx, &all)
		if err != nil {
			return err
		}
		return listKeys(ctx, tx, all, index)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func listEnvironments(ctx context.Context, tx pgx.Tx, all *[]Listed) (index map[string]int, err error) {
	rows, err := tx.Query(ctx, `SELECT e.id, e.name, e.type, e.created_at, e.refuse_mismatch, e.keep_us, o.id, o.name, o.enrolled
FROM environments e JOIN organisations o ON o.id = e.org_id ORDER BY o.name, e.name`)
	if err != nil {
		return nil, err
	}
	index = map[string]int{}
	var (
		l    Listed
		keep *int64
	)
	fields := []any{&l.ID, &l.Name, &l.Type, &l.CreatedAt, &l.RefuseMismatch, &keep, &l.Organisation.ID, &l.Organisation.Name, &l.Organisation.Enrolled}
	_, err = pgx.ForEachRow(rows, fields, func() error {
		l.Keep = keepOf(keep)
		index[l.ID] = len(*all)
		*all = append(*all, l)
		return nil
	})
	return index, err
}

func listKeys(ctx context.Context, tx pgx.Tx, all []Listed, index map[string]int) error {
	rows, err := tx.Query(ctx, `SELECT env_id, kind, coalesce(name, ''), hint, created_at, expires_at FROM api_keys ORDER BY created_at DESC, key_hash`)
	if err != nil {
		return err
	}
	var (
		env  string
		key  ListedKey
		ends *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&env, &key.Kind, &key.Name, &key.Hint, &key.CreatedAt, &ends}, func() error {
		k := key
		if ends != nil {
			k.ExpiresAt = *ends
		}
		l := &all[index[env]]
		l.Keys = append(l.Keys, k)
		return nil
	})
	return err
}
