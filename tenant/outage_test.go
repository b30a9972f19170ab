//go:build unix

package tenant_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

func unavailable(err error) bool {
	var refused *run.RefusedError
	return errors.Is(err, run.ErrUnavailable) && errors.As(err, &refused) && refused.Part == "postgres"
}

func TestPostgresStoppedAndStarted(t *testing.T) {
	t.Parallel()
	pg := stacktest.PrivatePostgres(t)
	h := newHouse(t, pg.URL())
	env, key := h.add("acme", "prod", tenant.Prod)
	if err := h.admin.SetEnrolled(t.Context(), "acme", false); err != nil {
		t.Fatal(err)
	}
	c := newClock()
	d := h.open(func(cfg *tenant.Config) { cfg.Now = c.now })
	h.listening(1)
	ends := c.now().Add(24 * time.Hour)
	_, expires, err := h.admin.Rotate(t.Context(), env.ID)
	if err != nil {
		t.Fatal(err)
	}
	h.upToDate(d)
	if _, err := d.Authenticate(t.Context(), "tr_prod_asked"); !errors.Is(err, tenant.ErrUnknownKey) {
		t.Fatal(err)
	}
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	env.Organisation.Enrolled = false
	if got, err := d.Authenticate(t.Context(), key); err != nil || got != env {
		t.Errorf("a known key goes on: %+v, %v", got, err)
	}
	if d.Enrolled(env.Organisation.ID) {
		t.Error("the last known flag stays")
	}
	if _, err := d.SigningKey(env.ID); err != nil {
		t.Error(err)
	}
	if _, err := d.Authenticate(t.Context(), "tr_prod_asked"); !errors.Is(err, tenant.ErrUnknownKey) {
		t.Errorf("a miss that was cached: %v", err)
	}
	for range 3 { // none of these may be cached as a miss
		c.advance(5 * time.Second)
		for _, bad := range []string{"tr_prod_asked", "tr_prod_other"} {
			_, err := d.Authenticate(t.Context(), bad)
			if !unavailable(err) || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), bad) {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
	if _, err := tenant.Open(t.Context(), h.config()); !unavailable(err) {
		t.Errorf("Open: %v", err)
	}
	if _, err := h.admin.List(t.Context()); !unavailable(err) {
		t.Errorf("List: %v", err)
	}
	if _, err := h.admin.Seed(t.Context()); !unavailable(err) {
		t.Errorf("Seed: %v", err)
	}
	if expires.Before(ends.Add(-time.Minute)) {
		t.Errorf("the old key ends at %s", expires)
	}
	c.set(expires)
	if _, err := d.Authenticate(t.Context(), key); !errors.Is(err, tenant.ErrUnknownKey) {
		t.Errorf("a key ends at its time, Postgres up or down: %v", err)
	}

	if err := pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, nextKey := h.add("acme", "next", tenant.Dev)
	h.upToDate(d) // no poll: the listener has come back
	if got, err := d.Authenticate(t.Context(), nextKey); err != nil || got != next {
		t.Errorf("%+v, %v", got, err)
	}
	c.advance(5 * time.Second)
	if _, err := d.Authenticate(t.Context(), "tr_prod_other"); !errors.Is(err, tenant.ErrUnknownKey) {
		t.Errorf("unknown again: %v", err)
	}
	if log := h.logs.String(); !strings.Contains(log, "tenants are refreshed again") || strings.Contains(log, "127.0.0.1") || strings.Contains(log, key) {
		t.Errorf("log: %s", log)
	}
}

// A frozen Postgres neither answers nor refuses: only time limits end a wait.
func TestPostgresFrozen(t *testing.T) {
	t.Parallel()
	pg := stacktest.PrivatePostgres(t)
	h := newHouse(t, pg.URL())
	env, key := h.add("acme", "prod", tenant.Prod)
	d := h.open(func(cfg *tenant.Config) { cfg.Timeout = 300 * time.Millisecond })
	h.listening(1)
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Authenticate(t.Context(), key); err != nil || got != env {
		t.Errorf("%+v, %v", got, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Authenticate(canceled, "tr_prod_left"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
	if _, err := d.Authenticate(t.Context(), "tr_prod_stays"); !unavailable(err) {
		t.Errorf("a caller that stays: %v", err)
	}
	if err := pg.Resume(); err != nil {
		t.Fatal(err)
	}
	next, nextKey := h.add("acme", "next", tenant.Dev)
	h.upToDate(d)
	if got, err := d.Authenticate(t.Context(), nextKey); err != nil || got != next {
		t.Errorf("%+v, %v", got, err)
	}
}
