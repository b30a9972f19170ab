package schema_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/runstore/schema"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

func TestManyNodesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := stacktest.Postgres(t)
	const nodes = 4
	errs := make([]error, nodes)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() { errs[i] = schema.Migrate(t.Context(), url) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatalf("with nothing to do: %v", err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, table := range []string{"runs", "batches", "batch_items", "deployment"} {
		var there bool
		if err := conn.QueryRow(t.Context(), "select to_regclass($1) is not null", table).Scan(&there); err != nil || !there {
			t.Errorf("table %s: there %v, %v", table, there, err)
		}
	}
}

// The name of the host and the password stay out of what a node prints (case 107).
func TestErrorsNameNoHost(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://someone:hunter2@db.internal.invalid:5432/x",
		"postgres://someone:hunter2@127.0.0.1:1/x",
		"postgres://someone:hunter2@db.internal.invalid:notaport/x",
	} {
		err := schema.Migrate(t.Context(), url)
		if err == nil {
			t.Fatal("migrated a database that is not there")
		}
		for _, secret := range []string{"hunter2", "db.internal", "someone", "127.0.0.1"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error holds %q: %v", secret, err)
			}
		}
	}
}

func TestMigrateStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := schema.Migrate(ctx, stacktest.Postgres(t)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
}

// No row gets a status that there is not, whether it is born with it or moved to it.
func TestUnknownStatusesAreRefused(t *testing.T) {
	t.Parallel()
	url := stacktest.Postgres(t)
	if err := schema.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	insert := `insert into runs (id, env_id, org_id, task, accepted_at, payload_hash, status)
		values ('run_1', 'env', 'org', 'task', 1, '\x00000000000000000000000000000000', $1)`
	refused := func(sql string, args ...any) {
		t.Helper()
		_, err := conn.Exec(t.Context(), sql, args...)
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "23514" {
			t.Errorf("%v, want a check violation", err)
		}
	}
	refused(insert, "LOST")
	if _, err := conn.Exec(t.Context(), insert, "QUEUED"); err != nil {
		t.Fatal(err)
	}
	refused("update runs set status = 'LOST'")
}
