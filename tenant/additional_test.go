//go:build unix

package tenant_test

import (
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

func TestAdditionalKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, root := h.add("acme", "prod", tenant.Prod)
	c := newClock()
	d := h.open(func(cfg *tenant.Config) { cfg.Now = c.now })
	opens := func(key string) bool {
		t.Helper()
		h.upToDate(d)
		got, err := d.Authenticate(t.Context(), key)
		if err != nil && !errors.Is(err, tenant.ErrUnknownKey) {
			t.Fatal(err)
		}
		return err == nil && got == env
	}
	made, err := h.admin.AddKey(t.Context(), env.ID, "ci")
	if err != nil {
		t.Fatal(err)
	}
	first := made.Reveal()
	if !regexp.MustCompile(`^tr_prod_sk_[0-9a-zA-Z]{24}$`).MatchString(first) || !opens(first) || !opens(root) {
		t.Errorf("key %q", first)
	}
	if _, err := h.admin.AddKey(t.Context(), env.ID, "ci"); !errors.Is(err, tenant.ErrExists) {
		t.Errorf("a second one of the name: %v", err)
	}
	if _, err := h.admin.AddKey(t.Context(), env.ID, "a b"); !errors.Is(err, run.ErrInvalid) {
		t.Errorf("a name with a space: %v", err)
	}
	for _, err := range []error{
		func() error { _, err := h.admin.AddKey(t.Context(), "env_none", "ci"); return err }(),
		func() error { _, _, err := h.admin.RotateKey(t.Context(), env.ID, "none", time.Hour); return err }(),
		h.admin.RevokeKey(t.Context(), env.ID, "none"),
	} {
		if !errors.Is(err, run.ErrNotFound) {
			t.Errorf("of what is not there: %v", err)
		}
	}

	next, ends, err := h.admin.RotateKey(t.Context(), env.ID, "ci", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second := next.Reveal()
	if !opens(first) || !opens(second) {
		t.Error("in the grace both open")
	}
	all, err := h.admin.List(t.Context())
	if err != nil || len(all[0].Keys) != 3 || all[0].Keys[0].Name != "ci" || all[0].Keys[0].Kind != tenant.Additional {
		t.Errorf("%+v, %v", all, err)
	}
	c.set(ends)
	if opens(first) || !opens(second) {
		t.Error("after the grace the new one opens alone")
	}
	third, _, err := h.admin.RotateKey(t.Context(), env.ID, "ci", 0)
	if err != nil {
		t.Fatal(err)
	}
	c.set(time.Now().Add(time.Minute))
	if opens(second) || !opens(third.Reveal()) {
		t.Error("without a grace the old one ends at once")
	}
	if err := h.admin.RevokeKey(t.Context(), env.ID, "ci"); err != nil {
		t.Fatal(err)
	}
	if opens(third.Reveal()) || !opens(root) {
		t.Error("revoked")
	}
	if _, err := h.admin.AddKey(t.Context(), env.ID, "ci"); err != nil {
		t.Errorf("the name is free again: %v", err)
	}
	if got := query[int](h, `SELECT count(*) FROM api_keys WHERE kind = 'additional' AND sealed IS NOT NULL`); got != 0 {
		t.Error("an additional key is kept sealed")
	}
}
