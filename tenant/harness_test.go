//go:build unix

package tenant_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/tenant"
)

// never is a poll that does not come within a test.
const never = time.Hour

// clock stands still unless it is moved.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.set(time.Now())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) set(t time.Time)         { c.nanos.Store(t.UnixNano()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// logs is a log that may be read while it is written.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// house is a migrated database with one secret key.
type house struct {
	t     *testing.T
	url   string
	key   tenant.Secret
	admin *tenant.Admin
	logs  *logs
}

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	key, err := tenant.ParseSecretKey(strings.Repeat("Ab3-", 10) + "Ab0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, url: url, key: key, logs: &logs{}}
	if h.admin, err = tenant.NewAdmin(h.config()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) config() tenant.Config {
	return tenant.Config{URL: h.url, SecretKey: h.key, Poll: never, Logger: slog.New(slog.NewJSONHandler(h.logs, nil))}
}

// open opens a Directory that ends with the test.
func (h *house) open(change func(*tenant.Config)) *tenant.Directory {
	h.t.Helper()
	cfg := h.config()
	if change != nil {
		change(&cfg)
	}
	d, err := tenant.Open(h.t.Context(), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(d.Close)
	return d
}

func (h *house) add(organisation, name string, typ tenant.Type) (tenant.Environment, string) {
	h.t.Helper()
	e, key, err := h.admin.Add(h.t.Context(), tenant.NewEnvironment{Organisation: organisation, Name: name, Type: typ})
	if err != nil {
		h.t.Fatal(err)
	}
	return e, key.Reveal()
}

// query runs statements and returns the first column of the last one's first row.
func query[T any](h *house, sql string, args ...any) (v T) {
	h.t.Helper()
	conn, err := pgx.Connect(h.t.Context(), h.url)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(h.t.Context()))
	if err := conn.QueryRow(h.t.Context(), sql, args...).Scan(&v); err != nil {
		h.t.Fatal(err)
	}
	return v
}

// upToDate waits until d answers from what Postgres holds now.
func (h *house) upToDate(d *tenant.Directory) {
	h.t.Helper()
	h.reaches(d, query[int64](h, `SELECT version FROM tenant_version`))
}

func (h *house) reaches(d *tenant.Directory, version int64) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if err := d.WaitVersion(ctx, version); err != nil {
		h.t.Fatalf("at version %d, not %d: %v; log: %s", d.Version(), version, err, h.logs)
	}
}

// eventually asks again and again until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

const listeners = `FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN mollifier_tenant'`

// listening waits until n directories listen.
func (h *house) listening(n int) {
	h.t.Helper()
	eventually(h.t, "directories listen", func() bool {
		return query[int](h, `SELECT count(*) `+listeners) == n
	})
}
