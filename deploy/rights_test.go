//go:build unix

package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/tenant"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

// as is the address of a store for another user of it.
func as(t *testing.T, store, user, password string) string {
	t.Helper()
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal("not a URL")
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// connect opens one connection, which ends with the test.
func connect(t *testing.T, postgres string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), postgres)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// execute runs a file of statements, as psql would.
func execute(t *testing.T, c *pgx.Conn, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), string(text)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// restricted are the stores of a deployment that was set up with the files of this
// folder: a Postgres with its two roles, a Redis with its one user.
type restricted struct {
	owner *pgx.Conn     // mollifier_owner
	app   *pgx.Conn     // mollifier_app
	redis *redis.Client // the administrator of Redis
	cfg   mollifier.Config
	log   *journal
}

func newRestricted(t *testing.T) *restricted {
	t.Helper()
	stores := mollifiertest.NewPrivate(t)
	super := connect(t, stores.Postgres)
	for range 2 { // to run them again does no harm
		execute(t, super, "sql/roles.sql")
	}
	for _, role := range []string{"mollifier_owner", "mollifier_app"} {
		if _, err := super.Exec(t.Context(), "alter role "+role+" password 'secret'"); err != nil {
			t.Fatal(err)
		}
	}
	owner, app := as(t, stores.Postgres, "mollifier_owner", "secret"), as(t, stores.Postgres, "mollifier_app", "secret")
	if err := schema.Migrate(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	r := &restricted{owner: connect(t, owner), log: &journal{}}
	for range 2 {
		execute(t, r.owner, "sql/grants.sql")
	}
	r.app = connect(t, app)

	options, err := redis.ParseURL(stores.Redis)
	if err != nil {
		t.Fatal("not a URL")
	}
	r.redis = redis.NewClient(options)
	t.Cleanup(func() { _ = r.redis.Close() })
	users, err := os.ReadFile("redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(users), ">PASSWORD", ">secret")) {
		rule := strings.Fields(line)
		if rule[1] == "default" {
			continue // the test goes on as this one
		}
		set := []any{"acl", "setuser"}
		for _, word := range rule[1:] {
			set = append(set, word)
		}
		if err := r.redis.Do(t.Context(), set...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r.cfg = mollifier.Config{
		Redis: as(t, stores.Redis, "mollifier", "secret"), Postgres: app, Partitions: 16,
		Migrate:       true, // there is nothing to do, and that is all it may find out
		RedisDeadline: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	return r
}

func (r *restricted) engine(t *testing.T) *mollifier.Engine {
	t.Helper()
	e, err := mollifier.New(t.Context(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Everything that an engine does, it does with the rights of sql/grants.sql and of
// redis/users.acl: no answer is an error, and neither store has refused anything.
func TestEngineHasTheRightsItNeeds(t *testing.T) {
	t.Parallel()
	r := newRestricted(t)
	e := r.engine(t)
	ctx, by := t.Context(), override.Author{Name: "alice", Reason: "test"}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	n := 0
	order := func(change ...func(*run.Trigger)) run.Result {
		t.Helper()
		n++
		tr := run.Trigger{
			Organisation: "acme", Environment: "prod", Task: "t", IdempotencyKey: fmt.Sprint("k", n),
			Payload: []byte(`{}`), Tags: []string{"a"}, TTL: time.Hour, RequestKey: fmt.Sprint("r", n),
		}
		for _, f := range change {
			f(&tr)
		}
		result, err := e.Trigger(ctx, tr)
		must("trigger", err)
		return result
	}
	delayed := func(tr *run.Trigger) { tr.DelayUntil = time.Now().Add(time.Hour) }

	// Passed, then mollified: the same through Postgres alone and through the buffer.
	for _, mollified := range []bool{false, true} {
		if mollified {
			_, err := e.PauseDrain(ctx, override.Override{Environment: "prod", By: by})
			must("pause", err)
			_, err = e.SetGate(ctx, override.Override{Environment: "prod", Gate: override.Gate{Force: "mollify"}, By: by})
			must("gate", err)
		}
		first := order()
		if buffered := first.State() == run.Buffered; buffered != mollified {
			t.Fatalf("mollified %v, and the run is %s", mollified, first.State())
		}
		again := order(func(tr *run.Trigger) { tr.IdempotencyKey = fmt.Sprint("k", n-1) })
		if again.ID() != first.ID() {
			t.Errorf("one key, %s and %s", first.ID(), again.ID())
		}
		_, _, err := e.AddTags(ctx, "prod", first.ID(), []string{"b"})
		must("tags", err)
		_, err = e.SetMetadata(ctx, "prod", first.ID(), run.MetadataChange{Replace: &run.Metadata{Bytes: []byte(`{"a":1}`), Type: "application/json"}})
		must("metadata", err)
		_, err = e.Reset(ctx, run.ResetRequest{Organisation: "acme", Environment: "prod", Task: "t", IdempotencyKey: fmt.Sprint("k", n-1)})
		must("reset", err)
		order(func(tr *run.Trigger) { tr.IdempotencyKey = fmt.Sprint("k", n-2) }) // takes the slot over
		late := order(delayed)
		_, err = e.Reschedule(ctx, "prod", late.ID(), time.Now().Add(2*time.Hour))
		must("reschedule", err)
		_, err = e.Cancel(ctx, "prod", late.ID(), "no")
		must("cancel", err)
		_, err = e.Replay(ctx, "prod", late.ID(), nil)
		must("replay", err)
		bounced := func(tr *run.Trigger) {
			tr.IdempotencyKey, tr.RequestKey = "", ""
			tr.Debounce = &run.Debounce{Key: fmt.Sprint("d", mollified), Delay: time.Hour}
		}
		order(bounced)
		order(bounced)
		order(func(tr *run.Trigger) { tr.ParentRun, tr.TTL = first.ID(), 0 })
		_, _, err = e.Children(ctx, "prod", first.ID())
		must("children", err)
		header, _, err := e.CreateBatch(ctx, run.BatchRequest{Organisation: "acme", Environment: "prod", Items: 2, IdempotencyKey: fmt.Sprint("b", mollified)})
		must("batch", err)
		for i := range 2 {
			order(func(tr *run.Trigger) { tr.BatchItem = run.BatchItem{Batch: header.ID, Index: i} })
		}
		_, _, err = e.SealBatch(ctx, "prod", header.ID)
		must("seal", err)
		_, err = e.Batch(ctx, "prod", header.ID)
		must("batch", err)
		_, err = e.List(ctx, "prod", mollifier.Filter{}, mollifier.Page{Limit: 10})
		must("list", err)
		_, err = e.Explain(ctx, "prod", first.ID())
		must("explain", err)
		_, err = e.ExplainKey(ctx, "prod", "t", fmt.Sprint("k", n))
		must("explain key", err)
	}
	_, err := e.Buffered(ctx)
	must("buffered", err)
	_, err = e.Announce(ctx, "word")
	must("announce", err)
	_, err = e.ResumeDrain(ctx, "prod", by)
	must("resume", err)
	(&mollifiertest.Stores{Redis: r.cfg.Redis, Prefix: "m", Postgres: r.cfg.Postgres}).RequireDrained(t)
	taken, err := e.Take(ctx, run.TakeRequest{Most: 100})
	must("take", err)
	if len(taken) < 6 {
		t.Fatalf("%d runs could be taken", len(taken))
	}
	for i, one := range taken {
		status := []run.Status{run.Completed, run.Failed}[i%2]
		_, err := e.Finish(ctx, "prod", one.ID, run.Finish{Status: status})
		must("finish", err)
	}
	_, _, err = e.Sweep(ctx, 10)
	must("sweep", err)
	order()
	_, err = e.PurgeBuffer(ctx, "prod", run.ID{}, by)
	must("purge", err)
	_, err = e.ClearGate(ctx, "prod", by)
	must("clear", err)
	if log, err := e.Audit(ctx, "", 0, 10); err != nil || len(log) < 4 {
		t.Errorf("%d entries in the audit, %v", len(log), err)
	}
	token := [32]byte{1}
	must("spend", e.SpendToken(ctx, "prod", token, [32]byte{2}, time.Now().Add(time.Hour)))
	must("bind", e.BindToken(ctx, "prod", token, "batch"))
	_, err = e.TokenOpened(ctx, "prod", token, "batch")
	must("token", err)
	must("ready", e.Ready(ctx))

	// Tenants are read, and the schema is seen to be up to date.
	key, err := tenant.LoadOrCreateSecret(t.TempDir() + "/secret.key")
	must("secret", err)
	directory, err := tenant.Open(ctx, tenant.Config{URL: r.cfg.Postgres, SecretKey: key, Logger: r.cfg.Logger})
	must("tenants", err)
	directory.Close()

	// What an engine that waits for a replica asks.
	client := redis.NewClient(mustParse(t, r.cfg.Redis))
	must("durability", client.Do(ctx, "wait", 0, 1).Err())
	_ = client.Close()
	denied, err := r.redis.Do(ctx, "acl", "log").Slice()
	must("acl log", err)
	for _, entry := range denied {
		// How the file is synced is asked for, and not to know is no obstacle.
		if text := fmt.Sprint(entry); !strings.Contains(text, "config|get") {
			t.Errorf("Redis refused %s", text)
		}
	}
	for _, refused := range []string{"42501", "NOPERM"} {
		if strings.Contains(r.log.String(), refused) {
			t.Errorf("a store refused something:\n%s", r.log)
		}
	}
}

func mustParse(t *testing.T, url string) *redis.Options {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal("not a URL")
	}
	return options
}

// Who gets hold of a node's password can neither change what the database is, nor take
// out a run or a line of the audit, nor make himself a key, nor read what nodes never
// read.
func TestApplicationRoleHasNoMore(t *testing.T) {
	t.Parallel()
	r := newRestricted(t)
	for _, statement := range []string{
		"drop table runs", "truncate runs", "alter table runs add x int", "create table x ()", "create temporary table x ()",
		"create index on runs (task)", "create schema x", "drop function now_us()", "create role x", "alter table runs disable trigger all",
		"create function f() returns int language sql as 'select 1'", "set role mollifier_owner",
		"delete from runs", "delete from batches", "delete from batch_items", "delete from deployment", "update deployment set partitions = 1",
		"select * from dead_letters", "delete from dead_letters", "update dead_letters set reason = ''",
		"update admin_audit set actor = ''", "delete from admin_audit", "update schema_version set is_applied = false",
		"insert into organisations (id, name) values ('x', 'x')", "update environments set org_id = ''",
		"insert into api_keys (key_hash, env_id, kind, hint) values ('', '', 'additional', '')", "delete from api_keys",
		"select * from pg_authid", "copy runs to program 'cat'", "copy runs to '/tmp/x'", "select pg_read_file('/etc/passwd')",
	} {
		var refused *pgconn.PgError
		if _, err := r.app.Exec(t.Context(), statement); !errors.As(err, &refused) || refused.Code != "42501" {
			t.Errorf("%s: %v", statement, err)
		}
	}
	for _, command := range [][]any{
		{"flushall"},
		{"flushdb"},
		{"keys", "*"},
		{"scan", "0"},
		{"config", "set", "maxmemory", "1"},
		{"function", "flush"},
		{"script", "flush"},
		{"function", "list"},
		{"acl", "list"},
		{"replicaof", "127.0.0.1", "1"},
		{"shutdown"},
		{"get", "other"},
		{"set", "other", "1"},
		{"publish", "other", "1"},
		{"eval", "return redis.call('get', 'other')", "0"},
	} {
		client := redis.NewClient(mustParse(t, r.cfg.Redis))
		err := client.Do(t.Context(), command...).Err()
		if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't access at least one of the keys") {
			t.Errorf("%v: %v", command, err)
		}
		_ = client.Close()
	}
}

// A table that a migration adds is in grants.sql, if only to say that nodes need no more.
func TestGrantsNameEveryTable(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	if err := schema.Migrate(t.Context(), stores.Postgres); err != nil {
		t.Fatal(err)
	}
	rows, err := connect(t, stores.Postgres).Query(t.Context(), "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 10 {
		t.Fatalf("%v %v", tables, err)
	}
	text, err := os.ReadFile("sql/grants.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if !strings.Contains(string(text), " "+table+" ") && !strings.Contains(string(text), " "+table+",") {
			t.Errorf("sql/grants.sql does not say what nodes may do with %s", table)
		}
	}
}

// With grants-retention.sql as well, and only then, the role of the nodes can remove what
// is over.
func TestRetentionHasTheRightsItNeeds(t *testing.T) {
	t.Parallel()
	r := newRestricted(t)
	store, err := runstore.Open(t.Context(), runstore.Config{URL: r.cfg.Postgres, MaxConns: 4, StatementTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	remove := func() error {
		if _, err := store.Advance(t.Context(), time.Hour, run.InstantOf(time.Now()), 0, 0); err != nil {
			return err
		}
		for one := runstore.NewRemoval("prod", 1000); !one.Over(); {
			if _, _, err := store.Remove(t.Context(), one, 10); err != nil {
				return err
			}
		}
		return nil
	}
	if err := remove(); err == nil {
		t.Error("nodes may remove by default")
	}
	execute(t, r.owner, "sql/grants-retention.sql")
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := r.app.Exec(t.Context(), "delete from admin_audit where id in (select id from admin_audit where at < now() for update skip locked)"); err != nil {
		t.Error(err)
	}
	if _, err := r.app.Exec(t.Context(), "select snapshot from dead_letters"); err == nil {
		t.Error("nodes may read dead letters")
	}
}
