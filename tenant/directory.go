package tenant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/token"
)

// Directory answers who may trigger, from memory. Its methods are safe for
// concurrent use, and those that take no context never block.
type Directory struct {
	snap   atomic.Pointer[snapshot]
	seal   *sealer
	now    func() time.Time
	misses misses
	checks *checker

	ctx   context.Context // ends with Close
	close context.CancelFunc
	loops sync.WaitGroup
	pool  *pgxpool.Pool
}

// Open reads the tenants and keeps them up to date until [Directory.Close].
// Postgres must answer this once: else the error is a [*run.RefusedError] of
// [run.ErrUnavailable]. [ErrSecretKey] means that a stored root key does not
// open under Config.SecretKey; any other error names the field of Config that
// can not work. ctx bounds the call, not the Directory's life.
func Open(ctx context.Context, cfg Config) (*Directory, error) {
	cfg, poolCfg, seal, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	poolCfg.MaxConns = 1 // only the refresh loop asks
	poolCfg.MinConns, poolCfg.MinIdleConns = 0, 0
	listenCfg := poolCfg.ConnConfig.Copy()
	pool, err := pgxpool.NewWithConfig(ctx, poolCfg)
	if err != nil {
		return nil, unavailable(err)
	}
	loadCtx, cancel := context.WithTimeout(ctx, loadTimeouts*cfg.Timeout)
	defer cancel()
	first, err := load(loadCtx, pool)
	if err != nil {
		pool.Close()
		return nil, unavailable(err)
	}
	if first.unopened(seal) > 0 {
		pool.Close()
		return nil, ErrSecretKey
	}

	d := &Directory{seal: seal, now: cfg.Now, checks: newChecker(), pool: pool}
	d.snap.Store(first)
	d.ctx, d.close = context.WithCancel(context.WithoutCancel(ctx))
	r := &refresher{d: d, timeout: cfg.Timeout, log: cfg.Logger}
	d.loops.Go(func() { r.follow(d.ctx, listenCfg, cfg.Poll) })
	return d, nil
}

// Format writes "tenant.Directory" whatever the verb: a Directory holds what
// opens the root keys.
func (d *Directory) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tenant.Directory") }

// Close ends the refreshing and closes the connections. What was known stays
// known; a key that was not is then refused with [run.ErrClosed]. It may be
// called more than once.
func (d *Directory) Close() {
	d.close()
	d.loops.Wait()
	d.pool.Close()
}

// Authenticate returns the environment that the bearer's key opens. The errors:
//   - [ErrUnknownKey]: there was no such key when Postgres was asked, at most
//     5 s ago; or the key is empty or has ended.
//   - [run.ErrUnavailable]: the key is not known here and Postgres can not be
//     asked, so it may be a good one. Retry.
//   - [run.ErrClosed], or the context's error.
//
// Only a key that is not in memory waits, for one shared check at most.
func (d *Directory) Authenticate(ctx context.Context, bearer string) (Environment, error) {
	if bearer == "" {
		return Environment{}, ErrUnknownKey
	}
	h, now := hashKey(bearer), d.now()
	env, listed, ok := d.snap.Load().find(h, now)
	if ok {
		return env, nil
	}
	if listed || d.misses.has(h, now) {
		return Environment{}, ErrUnknownKey
	}
	if err := d.check(ctx); err != nil {
		return Environment{}, err
	}
	if env, _, ok = d.snap.Load().find(h, now); ok {
		return env, nil
	}
	d.misses.add(h, now)
	return Environment{}, ErrUnknownKey
}

// AuthenticateToken returns the environment of a public token, and what the
// token grants. The errors:
//   - [token.ErrInvalid]: the token is wrong or has ended, or none of the
//     environment's root keys, as Postgres had them at most 5 s ago, signed it.
//   - [run.ErrUnavailable]: no key known here signed it and Postgres can not be
//     asked, so it may be a good one. Retry.
//   - [run.ErrClosed], [ErrSecretKey], or the context's error.
//
// Only a token that no known key signed waits, for one shared check at most.
func (d *Directory) AuthenticateToken(ctx context.Context, text string) (Environment, token.Claims, error) {
	env, claims, err := d.verify(text)
	if !errors.Is(err, token.ErrSignature) {
		return env, claims, err
	}
	h, now := hashKey(text), d.now()
	if d.misses.has(h, now) {
		return Environment{}, token.Claims{}, token.ErrInvalid
	}
	if err := d.check(ctx); err != nil {
		return Environment{}, token.Claims{}, err
	}
	env, claims, err = d.verify(text)
	if errors.Is(err, token.ErrSignature) {
		d.misses.add(h, now)
	}
	return env, claims, err
}

// verify goes by what is in memory. A token of an environment that is not known
// here counts as signed with another key: newer tenants may have it.
func (d *Directory) verify(text string) (Environment, token.Claims, error) {
	id, err := token.Subject(text)
	if err != nil {
		return Environment{}, token.Claims{}, err
	}
	keys, err := d.VerifyingKeys(id)
	if errors.Is(err, run.ErrNotFound) {
		err = token.ErrSignature
	}
	if err != nil {
		return Environment{}, token.Claims{}, err
	}
	claims, err := token.Verify(text, keys, d.now())
	if err != nil {
		return Environment{}, token.Claims{}, err
	}
	return d.snap.Load().environments[id], claims, nil
}

// check returns nil once the snapshot is what Postgres held after the call.
func (d *Directory) check(ctx context.Context) error {
	if d.ctx.Err() != nil {
		return closed()
	}
	c := d.checks.ask()
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ctx.Done():
		return closed()
	}
	switch {
	case c.err == nil:
		return nil
	case d.ctx.Err() != nil: // the check was cut by Close
		return closed()
	}
	return unavailable(c.err)
}

// Enrolled reports whether the organisation of that id takes part in claims
// and mollifying: true unless it is known and flagged off.
func (d *Directory) Enrolled(organisation string) bool {
	o, known := d.snap.Load().organisations[organisation]
	return !known || o.Enrolled
}

// Environment returns the environment of an id, if it is known here.
func (d *Directory) Environment(id string) (Environment, bool) {
	e, ok := d.snap.Load().environments[id]
	return e, ok
}

// Organisation returns the organisation of an id, if it is known here.
func (d *Directory) Organisation(id string) (Organisation, bool) {
	o, ok := d.snap.Load().organisations[id]
	return o, ok
}

// Lookup returns the id of the environment that a text names: an id, or the names of
// organisation/environment. Only one that is not in memory waits, for one shared
// check at most. The errors are run.ErrNotFound, and those of [Directory.Authenticate]
// that are no answer.
func (d *Directory) Lookup(ctx context.Context, text string) (id string, err error) {
	if id, known := d.snap.Load().named(text); known {
		return id, nil
	}
	if err := d.check(ctx); err != nil {
		return "", err
	}
	if id, known := d.snap.Load().named(text); known {
		return id, nil
	}
	return "", notFound("environment")
}

// SigningKey returns the bytes of the environment's current root key, which
// public tokens are signed with (HS256). The slice is the caller's own. The
// errors are [run.ErrNotFound] for an environment that is not known or has no
// root key, and [ErrSecretKey] when the key was sealed under another secret key.
func (d *Directory) SigningKey(environment string) ([]byte, error) {
	keys, err := d.VerifyingKeys(environment)
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// VerifyingKeys returns every root key that a public token of the environment
// may have been signed with: the current one first, then those that were
// rotated out and have not ended. Errors as [Directory.SigningKey].
func (d *Directory) VerifyingKeys(environment string) ([][]byte, error) {
	var keys [][]byte
	now := d.now()
	for _, k := range d.snap.Load().roots[environment] {
		if !live(k.expires, now) {
			continue
		}
		plain, err := d.seal.open(environment, k.sealed)
		if err != nil {
			return nil, err
		}
		keys = append(keys, []byte(plain.Reveal()))
	}
	if len(keys) == 0 {
		return nil, notFound("environment")
	}
	return keys, nil
}

// Version is the version of the tenants that this Directory answers from. It
// grows with every change of the three tables.
func (d *Directory) Version() int64 { return d.snap.Load().version }

// WaitVersion returns nil once the Directory answers from version v or a later
// one; else the context's error, or [run.ErrClosed].
func (d *Directory) WaitVersion(ctx context.Context, v int64) error {
	for {
		s := d.snap.Load()
		if s.version >= v {
			return nil
		}
		select {
		case <-s.replaced:
		case <-ctx.Done():
			return ctx.Err()
		case <-d.ctx.Done():
			return closed()
		}
	}
}

// replace is called by the refresh loop only.
func (d *Directory) replace(next *snapshot) {
	last := d.snap.Swap(next)
	close(last.replaced)
}
