//go:build unix

package tenant_test

import (
	"errors"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/tenant"
	"github.com/e0ff5a15/mollifier/token"
)

func signToken(t *testing.T, environment, key string) string {
	t.Helper()
	c := token.Claims{Environment: environment, Scopes: token.Scopes{"read:runs"}, Expires: time.Now().Add(48 * time.Hour)}
	text, err := c.Sign([]byte(key), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokensFollowTheRootKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	c := newClock()
	env, first := h.add("acme", "prod", tenant.Prod)
	other, otherKey := h.add("acme", "dev", tenant.Dev)
	additional, err := h.admin.AddKey(t.Context(), env.ID, "ci")
	if err != nil {
		t.Fatal(err)
	}
	d := h.open(func(cfg *tenant.Config) { cfg.Now = c.now })
	valid := func(text string) bool {
		t.Helper()
		c.advance(2 * time.Second) // a new look is allowed
		got, claims, err := d.AuthenticateToken(t.Context(), text)
		if err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Fatal(err)
		}
		return err == nil && (got == env || got == other) && len(claims.Scopes) == 1
	}
	old := signToken(t, env.ID, first)
	if !valid(old) || !valid(signToken(t, other.ID, otherKey)) {
		t.Error("a token of the root key")
	}
	for name, text := range map[string]string{
		"another environment's key": signToken(t, env.ID, otherKey), "no environment": signToken(t, "env_none", first),
		"an additional key": signToken(t, env.ID, additional.Reveal()), "no token": "a.b.c",
	} {
		if valid(text) {
			t.Errorf("a token of %s is valid", name)
		}
	}
	// Nothing announced, and no poll: the token of the new key itself looks.
	second, _, err := h.admin.Rotate(t.Context(), env.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !valid(signToken(t, env.ID, second.Reveal())) || !valid(old) {
		t.Error("in the grace tokens of both keys are valid")
	}
	if n, err := h.admin.RevokeRotated(t.Context(), env.ID); err != nil || n != 1 {
		t.Errorf("%d ended, %v", n, err)
	}
	h.upToDate(d)
	if valid(old) || !valid(signToken(t, env.ID, second.Reveal())) {
		t.Error("with the old key its tokens end")
	}
}

// While Postgres is down known tokens go on, and who can not be known is not
// called unknown.
func TestTokensInAnOutage(t *testing.T) {
	t.Parallel()
	pg := stacktest.PrivatePostgres(t)
	h := newHouse(t, pg.URL())
	env, key := h.add("acme", "prod", tenant.Prod)
	d := h.open(nil)
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.AuthenticateToken(t.Context(), signToken(t, env.ID, key)); err != nil {
		t.Errorf("a known token: %v", err)
	}
	for _, text := range []string{signToken(t, env.ID, "newer"), signToken(t, "env_new", key)} {
		if _, _, err := d.AuthenticateToken(t.Context(), text); !unavailable(err) {
			t.Errorf("a token that newer tenants may know: %v", err)
		}
	}
	if _, _, err := d.AuthenticateToken(t.Context(), "a.b.c"); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("no token at all: %v", err)
	}
}
