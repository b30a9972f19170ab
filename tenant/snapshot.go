package tenant

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// snapshot is the three tables as they were at one version. It is never
// changed: a newer one takes its place, and then closes replaced.
type snapshot struct {
	version       int64
	keys          map[keyHash]storedKey
	roots         map[string][]sealedKey // by environment id, the current root key first
	organisations map[string]Organisation
	environments  map[string]Environment // by id
	replaced      chan struct{}
}

type storedKey struct {
	hash        keyHash
	environment Environment
	expires     time.Time // zero: does not end
}

type sealedKey struct {
	sealed  []byte
	expires time.Time // zero: the current one
}

func live(expires, now time.Time) bool { return expires.IsZero() || now.Before(expires) }

// find does the same work whether it knows the key or not: an unknown hash is
// compared with the zero hash. listed tells an expired key from one that
// Postgres might know by now.
func (s *snapshot) find(h keyHash, now time.Time) (e Environment, listed, ok bool) {
	k, listed := s.keys[h]
	same := subtle.ConstantTimeCompare(k.hash[:], h[:]) == 1
	listed = listed && same
	return k.environment, listed, listed && live(k.expires, now)
}

// named finds an environment by its id, or by organisation/name.
func (s *snapshot) named(text string) (id string, known bool) {
	if _, known = s.environments[text]; known {
		return text, true
	}
	organisation, name, _ := strings.Cut(text, "/")
	for id, e := range s.environments {
		if e.Organisation.Name == organisation && e.Name == name {
			return id, true
		}
	}
	return "", false
}

// beginner is what both a pool and a connection are.
type beginner interface {
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// load reads the tables whole, in one snapshot of Postgres, so that no key
// appears without its environment and the version belongs to what was read.
func load(ctx context.Context, db beginner) (*snapshot, error) {
	s := &snapshot{
		keys:          map[keyHash]storedKey{},
		roots:         map[string][]sealedKey{},
		organisations: map[string]Organisation{},
		environments:  map[string]Environment{},
		replaced:      make(chan struct{}),
	}
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, db, o, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, selectVersion).Scan(&s.version); err != nil {
			return err
		}
		if err := s.readOrganisations(ctx, tx); err != nil {
			return err
		}
		if err := s.readEnvironments(ctx, tx); err != nil {
			return err
		}
		return s.readKeys(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

const selectVersion = `SELECT version FROM tenant_version`

func (s *snapshot) readOrganisations(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, name, enrolled FROM organisations`)
	if err != nil {
		return err
	}
	var o Organisation
	_, err = pgx.ForEachRow(rows, []any{&o.ID, &o.Name, &o.Enrolled}, func() error {
		s.organisations[o.ID] = o
		return nil
	})
	return err
}

func (s *snapshot) readEnvironments(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, org_id, name, type, refuse_mismatch, keep_us FROM environments`)
	if err != nil {
		return err
	}
	var e Environment
	var (
		org  string
		keep *int64
	)
	_, err = pgx.ForEachRow(rows, []any{&e.ID, &org, &e.Name, &e.Type, &e.RefuseMismatch, &keep}, func() error {
		e.Organisation, e.Keep = s.organisations[org], keepOf(keep)
		s.environments[e.ID] = e
		return nil
	})
	return err
}

func (s *snapshot) readKeys(ctx context.Context, tx pgx.Tx) error {
	// Of the ending root keys the one that ends last was current last.
	rows, err := tx.Query(ctx, `SELECT key_hash, env_id, kind, sealed, expires_at FROM api_keys
ORDER BY env_id, expires_at DESC NULLS FIRST`)
	if err != nil {
		return err
	}
	var (
		hash, sealed []byte
		env          string
		kind         Kind
		ends         *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&hash, &env, &kind, &sealed, &ends}, func() error {
		var expires time.Time
		if ends != nil {
			expires = *ends
		}
		h := keyHash(hash) // the column holds 32 bytes: a CHECK of the schema
		s.keys[h] = storedKey{h, s.environments[env], expires}
		if kind == Root {
			s.roots[env] = append(s.roots[env], sealedKey{sealed, expires})
		}
		return nil
	})
	return err
}

// unopened counts the root keys that the secret key does not open.
func (s *snapshot) unopened(seal *sealer) int {
	n := 0
	for env, keys := range s.roots {
		for _, k := range keys {
			if _, err := seal.open(env, k.sealed); err != nil {
				n++
			}
		}
	}
	return n
}
