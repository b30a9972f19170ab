//go:build unix

package tenant_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	one, _ := h.add("acme", "dev", tenant.Dev)
	two, _ := h.add(one.Organisation.ID, "prod", tenant.Prod)
	three, _ := h.add("other", "dev", tenant.Dev)
	if two.Organisation != one.Organisation || three.Organisation.ID == one.Organisation.ID || one.ID == two.ID {
		t.Errorf("%+v, %+v, %+v", one, two, three)
	}
	version := query[int64](h, `SELECT version FROM tenant_version`)
	var invalid *run.InvalidError
	for _, c := range []struct {
		n  tenant.NewEnvironment
		is func(error) bool
	}{
		{tenant.NewEnvironment{Organisation: "acme", Name: "dev", Type: tenant.Prod}, func(err error) bool { return errors.Is(err, tenant.ErrExists) }},
		{tenant.NewEnvironment{Organisation: "org_nobody", Name: "dev", Type: tenant.Prod}, func(err error) bool { return errors.Is(err, run.ErrNotFound) }},
		{tenant.NewEnvironment{Organisation: "acme", Name: "a b", Type: tenant.Prod}, func(err error) bool { return errors.As(err, &invalid) && invalid.Field == "name" }},
	} {
		e, key, err := h.admin.Add(t.Context(), c.n)
		if !c.is(err) || !key.IsZero() || e != (tenant.Environment{}) {
			t.Errorf("%+v: %+v, %v", c.n, e, err)
		}
	}
	if _, _, err := h.admin.Rotate(t.Context(), "env_nobody"); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("Rotate: %v", err)
	}
	if after := query[int64](h, `SELECT version FROM tenant_version`); after != version {
		t.Errorf("refusals changed the version from %d to %d", version, after)
	}
}

func TestListShowsHintsAndEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	if all, err := h.admin.List(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	b, _ := h.add("b", "x", tenant.Preview)
	a, first := h.add("a", "y", tenant.Prod)
	second, ends, err := h.admin.Rotate(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.admin.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Environment != a || all[1].Environment != b || all[0].CreatedAt.IsZero() {
		t.Fatalf("%+v, %v", all, err)
	}
	keys := all[0].Keys
	if len(keys) != 2 || len(all[1].Keys) != 1 {
		t.Fatalf("%+v", all)
	}
	if k := keys[0]; k.Kind != tenant.Root || !strings.HasSuffix(second.Reveal(), k.Hint) || !k.ExpiresAt.IsZero() || len(k.Hint) != 4 {
		t.Errorf("the current key: %+v", k)
	}
	if k := keys[1]; !strings.HasSuffix(first, k.Hint) || !k.ExpiresAt.Equal(ends) {
		t.Errorf("the old key: %+v, ends %s", k, ends)
	}
}

func TestEndedKeysAreRemovedByRotation(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, _ := h.add("a", "x", tenant.Dev)
	for want := range 3 {
		all, err := h.admin.List(t.Context())
		if err != nil || len(all[0].Keys) != want+1 {
			t.Fatalf("after %d rotations: %+v, %v", want, all, err)
		}
		if _, _, err := h.admin.Rotate(t.Context(), env.ID); err != nil {
			t.Fatal(err)
		}
	}
	query[bool](h, `WITH ended AS (UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE expires_at IS NOT NULL) SELECT true`)
	if _, _, err := h.admin.Rotate(t.Context(), env.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := h.admin.List(t.Context()); err != nil || len(all[0].Keys) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestSeedIsTheSameForAllNodesAndForEver(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	var all [4][]tenant.Seeded
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = h.admin.Seed(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	same := func(a, b []tenant.Seeded) {
		t.Helper()
		if len(a) != 2 || len(b) != 2 {
			t.Fatalf("%+v, %+v", a, b)
		}
		for i := range a {
			if a[i].Environment != b[i].Environment || a[i].Key.Reveal() != b[i].Key.Reveal() {
				t.Errorf("seed %d: %+v, %+v", i, a[i], b[i])
			}
		}
	}
	for _, s := range all {
		same(s, all[0])
	}
	dev, prod := all[0][0], all[0][1]
	o := dev.Environment.Organisation
	if dev.Environment.Name != "dev" || dev.Environment.Type != tenant.Dev || prod.Environment.Name != "prod" || prod.Environment.Type != tenant.Prod ||
		o != prod.Environment.Organisation || o.Name != "demo" || !o.Enrolled {
		t.Errorf("%+v", all[0])
	}
	d := h.open(nil)
	for _, s := range all[0] {
		if got, err := d.Authenticate(t.Context(), s.Key.Reveal()); err != nil || got != s.Environment {
			t.Errorf("%+v, %v", got, err)
		}
	}

	// What an operator did afterwards stays.
	fresh, _, err := h.admin.Rotate(t.Context(), dev.Environment.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.admin.SetEnrolled(t.Context(), "demo", false); err != nil {
		t.Fatal(err)
	}
	again, err := h.admin.Seed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dev.Key = fresh
	dev.Environment.Organisation.Enrolled, prod.Environment.Organisation.Enrolled = false, false
	same(again, []tenant.Seeded{dev, prod})

	// What was taken away is made again.
	query[bool](h, `WITH gone AS (DELETE FROM environments WHERE id = $1) SELECT true`, dev.Environment.ID)
	query[bool](h, `WITH gone AS (DELETE FROM api_keys WHERE env_id = $1) SELECT true`, prod.Environment.ID)
	again, err = h.admin.Seed(t.Context())
	if err != nil || len(again) != 2 || again[0].Environment.ID == dev.Environment.ID || again[1].Environment != prod.Environment || again[1].Key.IsZero() {
		t.Errorf("%+v, %v", again, err)
	}
}
