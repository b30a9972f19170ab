//go:build unix

package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/tenant"
)

func TestAddedKeyIsAnnouncedToOtherNodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	one, two := h.open(nil), h.open(nil)
	h.listening(2)
	env, key := h.add("acme", "prod", tenant.Prod)
	for _, d := range []*tenant.Directory{one, two} {
		h.upToDate(d)
		got, err := d.Authenticate(t.Context(), key)
		if err != nil || got != env {
			t.Errorf("%+v, %v; want %+v", got, err, env)
		}
		signing, err := d.SigningKey(env.ID)
		if err != nil || string(signing) != key {
			t.Errorf("the signing key is not the root key: %v", err)
		}
	}
}

func TestUnknownKeyLooksOnceWithoutAnnouncement(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	d := h.open(nil)
	h.listening(1)
	h.silently(`INSERT INTO organisations (id, name) VALUES ('org_q', 'quiet');
INSERT INTO environments (id, org_id, name, type) VALUES ('env_q', 'org_q', 'dev', 'dev');
INSERT INTO api_keys (key_hash, env_id, kind, hint) VALUES (sha256('tr_dev_sk_quiet'), 'env_q', 'additional', 'uiet')`)
	// Nothing announces it and no poll comes: the miss itself looks.
	got, err := d.Authenticate(t.Context(), "tr_dev_sk_quiet")
	if err != nil || got.ID != "env_q" || got.Organisation.Name != "quiet" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := d.SigningKey("env_q"); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("an additional key signs nothing: %v", err)
	}
}

// silently changes the tables with no announcement, as when it is lost.
func (h *house) silently(sql string) (version int64) {
	h.t.Helper()
	conn, err := pgx.Connect(h.t.Context(), h.url)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(h.t.Context()))
	err = pgx.BeginFunc(h.t.Context(), conn, func(tx pgx.Tx) error {
		const switches = `ALTER TABLE organisations %[1]s TRIGGER USER; ALTER TABLE environments %[1]s TRIGGER USER; ALTER TABLE api_keys %[1]s TRIGGER USER;`
		for _, s := range []string{fmt.Sprintf(switches, "DISABLE"), sql, fmt.Sprintf(switches, "ENABLE")} {
			if _, err := tx.Exec(h.t.Context(), s); err != nil {
				return err
			}
		}
		return tx.QueryRow(h.t.Context(), `UPDATE tenant_version SET version = version + 1 RETURNING version`).Scan(&version)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return version
}

func TestPollFindsWhatWasNotAnnounced(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, _ := h.add("acme", "dev", tenant.Dev)
	d := h.open(func(c *tenant.Config) { c.Poll = 10 * time.Millisecond })
	h.reaches(d, h.silently(`UPDATE organisations SET enrolled = false`))
	if d.Enrolled(env.Organisation.ID) {
		t.Error("the poll must have seen the flag")
	}
}

func TestLostListenerIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, poll := range map[string]time.Duration{"with poll": 10 * time.Millisecond, "without poll": never} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, stacktest.Postgres(t))
			d := h.open(func(c *tenant.Config) { c.Poll = poll })
			for i := range 3 {
				h.listening(1)
				if n := query[int](h, `SELECT count(pg_terminate_backend(pid)) `+listeners); n != 1 {
					t.Fatalf("%d listeners cut", n)
				}
				env, key := h.add("acme", fmt.Sprintf("e%d", i), tenant.Staging)
				h.upToDate(d)
				if got, err := d.Authenticate(t.Context(), key); err != nil || got != env {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			h.listening(1)
			env, key := h.add("acme", "last", tenant.Preview)
			h.upToDate(d)
			if got, err := d.Authenticate(t.Context(), key); err != nil || got != env {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
}

func TestRotationKeepsTheOldKeyForADay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	c := newClock()
	env, first := h.add("acme", "prod", tenant.Prod)
	d := h.open(func(cfg *tenant.Config) { cfg.Now = c.now })
	before := query[time.Time](h, `SELECT now()`)
	fresh, expires, err := h.admin.Rotate(t.Context(), env.ID)
	if err != nil {
		t.Fatal(err)
	}
	if after := query[time.Time](h, `SELECT now()`); expires.Before(before.Add(24*time.Hour)) || expires.After(after.Add(24*time.Hour)) {
		t.Errorf("ends at %s, rotated between %s and %s", expires, before, after)
	}
	second := fresh.Reveal()
	h.upToDate(d)

	opens := func(key string) bool {
		t.Helper()
		got, err := d.Authenticate(t.Context(), key)
		if err != nil && !errors.Is(err, tenant.ErrUnknownKey) {
			t.Fatal(err)
		}
		return err == nil && got == env
	}
	for _, at := range []time.Time{before, expires.Add(-time.Microsecond)} {
		c.set(at)
		if !opens(first) || !opens(second) {
			t.Errorf("at %s both keys must open", at)
		}
		keys, err := d.VerifyingKeys(env.ID)
		if err != nil || len(keys) != 2 || string(keys[0]) != second || string(keys[1]) != first {
			t.Errorf("%d verifying keys, %v", len(keys), err)
		}
	}
	c.set(expires)
	if opens(first) || !opens(second) {
		t.Error("at its end the old key must be refused, and the new one open")
	}
	if keys, err := d.VerifyingKeys(env.ID); err != nil || len(keys) != 1 || string(keys[0]) != second {
		t.Errorf("%d verifying keys, %v", len(keys), err)
	}
	if key, err := d.SigningKey(env.ID); err != nil || string(key) != second {
		t.Errorf("the new key signs: %v", err)
	}
}

func TestEnrolmentIsKnownInMemory(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, key := h.add("acme", "dev", tenant.Dev)
	d := h.open(nil)
	if !d.Enrolled(env.Organisation.ID) || !d.Enrolled("org_nobody") || !env.Organisation.Enrolled {
		t.Fatal("an organisation is enrolled unless it is flagged off")
	}
	for _, step := range []struct {
		by   string
		flag bool
	}{{env.Organisation.ID, false}, {"acme", true}, {"acme", false}} {
		if err := h.admin.SetEnrolled(t.Context(), step.by, step.flag); err != nil {
			t.Fatal(err)
		}
		h.upToDate(d)
		got, err := d.Authenticate(t.Context(), key)
		if err != nil || d.Enrolled(env.Organisation.ID) != step.flag || got.Organisation.Enrolled != step.flag {
			t.Errorf("%+v: %+v, %v", step, got, err)
		}
	}
	if err := h.admin.SetEnrolled(t.Context(), "nobody", true); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("unknown organisation: %v", err)
	}
}

func TestFloodOfRandomKeysIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	_, key := h.add("acme", "dev", tenant.Dev)
	d := h.open(nil)
	h.listening(1)
	start := d.Acquired()
	const asked = 2000
	var wg sync.WaitGroup
	for i := range asked {
		wg.Go(func() {
			if _, err := d.Authenticate(t.Context(), fmt.Sprintf("tr_dev_wrong%d", i)); !errors.Is(err, tenant.ErrUnknownKey) {
				t.Error(err)
			}
			if _, err := d.Authenticate(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := d.Acquired() - start; n < 1 || n > asked/10 {
		t.Errorf("Postgres was asked %d times for %d wrong keys", n, asked)
	}
}

// A key works from the moment it was made, also while others ask for keys that
// do not exist.
func TestNewKeyWorksAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	d := h.open(nil)
	for i := range 20 {
		if _, err := d.Authenticate(t.Context(), fmt.Sprintf("tr_dev_wrong%d", i)); !errors.Is(err, tenant.ErrUnknownKey) {
			t.Fatal(err)
		}
		env, key := h.add("acme", fmt.Sprintf("dev%d", i), tenant.Dev)
		if got, err := d.Authenticate(t.Context(), key); err != nil || got != env {
			t.Fatalf("round %d: %+v, %v", i, got, err)
		}
	}
}

func TestRepeatedWrongKeyAsksOnceInFiveSeconds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	c := newClock()
	d := h.open(func(cfg *tenant.Config) { cfg.Now = c.now })
	ask := func() any {
		t.Helper()
		if _, err := d.Authenticate(t.Context(), "tr_dev_wrong"); !errors.Is(err, tenant.ErrUnknownKey) {
			t.Fatal(err)
		}
		return d.LastCheck()
	}
	first := ask()
	for _, step := range []time.Duration{0, 1500 * time.Millisecond, 1500 * time.Millisecond, 2*time.Second - 1} {
		c.advance(step)
		if ask() != first {
			t.Fatal("asked again within 5 s")
		}
	}
	c.advance(1)
	second := ask()
	if second == first {
		t.Error("not asked again after 5 s")
	}
	c.advance(time.Minute)
	if _, err := d.Authenticate(t.Context(), ""); !errors.Is(err, tenant.ErrUnknownKey) || d.LastCheck() != second {
		t.Errorf("an empty key asks nobody: %v", err)
	}
}

func TestWrongSecretKeyIsNamedAtOpen(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	other := *h
	other.key = tenant.NewSecret(strings.Repeat("z", tenant.SecretKeyLen))
	early := other.open(nil) // nothing is sealed yet: no key is wrong
	env, key := h.add("acme", "dev", tenant.Dev)

	if d, err := tenant.Open(t.Context(), other.config()); !errors.Is(err, tenant.ErrSecretKey) || !strings.Contains(err.Error(), "Config.SecretKey") || d != nil {
		t.Errorf("Open: %v", err)
	}
	admin, err := tenant.NewAdmin(other.config())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := admin.Add(t.Context(), tenant.NewEnvironment{Organisation: "x", Name: "y", Type: tenant.Dev}); !errors.Is(err, tenant.ErrSecretKey) {
		t.Errorf("Add: %v", err)
	}
	if _, _, err := admin.Rotate(t.Context(), env.ID); !errors.Is(err, tenant.ErrSecretKey) {
		t.Errorf("Rotate: %v", err)
	}
	if _, err := admin.Seed(t.Context()); !errors.Is(err, tenant.ErrSecretKey) {
		t.Errorf("Seed: %v", err)
	}
	if all, err := admin.List(t.Context()); err != nil || len(all) != 1 || len(all[0].Keys) != 1 {
		t.Errorf("nothing may have changed: %+v, %v", all, err)
	}
	// A node that was there before goes on with keys, and says what is wrong.
	h.upToDate(early)
	if got, err := early.Authenticate(t.Context(), key); err != nil || got != env {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := early.SigningKey(env.ID); !errors.Is(err, tenant.ErrSecretKey) {
		t.Errorf("SigningKey: %v", err)
	}
	if !strings.Contains(h.logs.String(), `"setting":"SecretKey"`) {
		t.Errorf("log: %s", h.logs)
	}
}

func TestMovedSealDoesNotOpen(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	one, _ := h.add("acme", "one", tenant.Dev)
	two, _ := h.add("acme", "two", tenant.Dev)
	query[bool](h, `WITH moved AS (UPDATE api_keys SET sealed = (SELECT sealed FROM api_keys WHERE env_id = $1)
WHERE env_id = $2) SELECT true`, one.ID, two.ID)
	if _, err := tenant.Open(t.Context(), h.config()); !errors.Is(err, tenant.ErrSecretKey) {
		t.Errorf("a root key under another environment: %v", err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	key := tenant.NewSecret(strings.Repeat("k", tenant.SecretKeyLen))
	for _, c := range []struct {
		want string
		cfg  tenant.Config
	}{
		{"Config.URL", tenant.Config{SecretKey: key}},
		{"Config.URL", tenant.Config{SecretKey: key, URL: "postgres://u:hush@h:notaport/x"}},
		{"Config.SecretKey", tenant.Config{URL: "postgres://u:hush@h/x"}},
		{"Config.Poll", tenant.Config{URL: "postgres://u:hush@h/x", SecretKey: key, Poll: -1}},
		{"Config.Timeout", tenant.Config{URL: "postgres://u:hush@h/x", SecretKey: key, Timeout: -1}},
		{"the schema has not been migrated", tenant.Config{URL: stacktest.Postgres(t), SecretKey: key}},
		{"postgres: store unavailable", tenant.Config{URL: "postgres://u:hush@127.0.0.1:1/x", SecretKey: key}},
	} {
		_, err := tenant.Open(t.Context(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestClosedDirectoryKeepsWhatItKnows(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, key := h.add("acme", "dev", tenant.Dev)
	d := h.open(nil)
	d.Close()
	d.Close()
	if got, err := d.Authenticate(t.Context(), key); err != nil || got != env {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := d.Authenticate(t.Context(), "tr_dev_unknown"); !errors.Is(err, run.ErrClosed) {
		t.Errorf("unknown: %v", err)
	}
	if err := d.WaitVersion(t.Context(), d.Version()+1); !errors.Is(err, run.ErrClosed) {
		t.Errorf("WaitVersion: %v", err)
	}
}

func TestNothingSecretIsShownOrStored(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, key := h.add("acme", "dev", tenant.Dev)
	d := h.open(nil)
	seeded, err := h.admin.Seed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.admin.Rotate(t.Context(), env.ID); err != nil {
		t.Fatal(err)
	}
	h.upToDate(d)
	list, err := h.admin.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, wrong := d.Authenticate(t.Context(), canary)
	rows := query[string](h, `SELECT string_agg(k::text || encode(sealed, 'escape'), ' ') FROM api_keys k`)
	secrets := []string{key, canary, h.key.Reveal(), h.url}
	for _, s := range seeded {
		secrets = append(secrets, s.Key.Reveal())
	}
	for name, v := range map[string]any{
		"directory": d, "admin": h.admin, "config": h.config(), "seeded": seeded,
		"list": list, "error": wrong, "log": h.logs.String(), "rows": rows,
	} {
		out := shown(t, v)
		for i, s := range secrets {
			for _, form := range []string{s, fmt.Sprintf("%x", s), fmt.Sprintf("%X", s)} {
				if strings.Contains(out, form) {
					t.Errorf("%s shows secret %d", name, i)
				}
			}
		}
	}
}

func TestManyReadersWhileTenantsChange(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stacktest.Postgres(t))
	env, key := h.add("acme", "stays", tenant.Dev)
	d := h.open(nil)
	changing, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for changing.Err() == nil {
				version := d.Version()
				for range 50 {
					if got, err := d.Authenticate(t.Context(), key); err != nil || got.ID != env.ID {
						t.Errorf("%+v, %v", got, err)
						return
					}
					if k, err := d.SigningKey(env.ID); err != nil || string(k) != key {
						t.Error(err)
						return
					}
					if v := d.Version(); v < version {
						t.Errorf("from version %d back to %d", version, v)
					}
					d.Enrolled(env.Organisation.ID)
				}
				_ = d.WaitVersion(changing, version+1) // ends with changing
			}
		})
	}
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for j := range 5 {
				_, _, err := h.admin.Add(t.Context(), tenant.NewEnvironment{Organisation: fmt.Sprintf("o%d", j), Name: fmt.Sprintf("e%d", i), Type: tenant.Dev})
				if err != nil {
					t.Error(err)
				}
				if err := h.admin.SetEnrolled(t.Context(), "acme", j%2 == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	h.upToDate(d)
	if n := query[int](h, `SELECT count(*) FROM environments`); n != 21 {
		t.Errorf("%d environments", n)
	}
	stop()
	wg.Wait()
}
