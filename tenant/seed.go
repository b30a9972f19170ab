package tenant

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

// Seeded is an environment of the default stack, with its current root key.
type Seeded struct {
	Environment Environment
	Key         Secret
}

var seeds = [...]NewEnvironment{
	{Organisation: "demo", Name: "dev", Type: Dev},
	{Organisation: "demo", Name: "prod", Type: Prod},
}

// Seed returns the environments "dev" and "prod" of the organisation "demo",
// in this order, with their current root keys. What is missing of them is made,
// and what is there stays as it is: a rotated key, a flag that was set. Nodes
// that start together get the same answer.
func (a *Admin) Seed(ctx context.Context) ([]Seeded, error) {
	var all []Seeded
	err := a.change(ctx, func(tx pgx.Tx) error {
		for _, n := range seeds {
			s, err := a.findSeed(ctx, tx, n)
			if errors.Is(err, run.ErrNotFound) {
				s.Environment, s.Key, err = a.add(ctx, tx, n)
			}
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (a *Admin) findSeed(ctx context.Context, tx pgx.Tx, n NewEnvironment) (Seeded, error) {
	o, err := findOrganisation(ctx, tx, n.Organisation)
	if err != nil {
		return Seeded{}, err
	}
	e := Environment{Name: n.Name, Organisation: o}
	var sealed []byte
	err = tx.QueryRow(ctx, `SELECT e.id, e.type, k.sealed FROM environments e
LEFT JOIN api_keys k ON k.env_id = e.id AND k.kind = 'root' AND k.expires_at IS NULL
WHERE e.org_id = $1 AND e.name = $2`, o.ID, e.Name).Scan(&e.ID, &e.Type, &sealed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Seeded{}, notFound("environment")
	case err != nil:
		return Seeded{}, err
	}
	var key Secret
	if sealed == nil { // someone took the key away, and left the environment
		key, err = a.addRootKey(ctx, tx, e)
	} else {
		key, err = a.seal.open(e.ID, sealed)
	}
	return Seeded{e, key}, err
}
