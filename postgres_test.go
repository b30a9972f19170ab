package mollifier_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/internal/devstack"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// An asynchronous standby takes over while runs wait in the buffer: nodes find it by
// themselves, what waited lands there, and keys that the standby knew keep their run.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	failovers(t)
	primary := stacktest.PrivatePostgres(t)
	standby := stacktest.PrivatePostgres(t, func(c *devstack.PostgresConfig) { c.StandbyOf = primary })
	both, err := url.Parse(primary.URL())
	if err != nil {
		t.Fatal(err)
	}
	cfg := tripping(t)
	// Both in one URL, the standby first: it is passed over as long as it is one.
	cfg.Postgres = fmt.Sprintf("postgres://%s@%s,%s%s?%s", both.User, standby.Addr(), primary.Addr(), both.Path, both.RawQuery)
	first := open(t, cfg)
	passed := trigger(t, first, order("passed"))
	trip(t, first)
	drained(t, cfg)

	// What follows is accepted while nobody drains.
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.NoDrain, cfg.Migrate = true, false
	accepting := open(t, cfg)
	trip(t, accepting)
	var waiting []run.ID
	for i := range 50 {
		waiting = append(waiting, trigger(t, accepting, order(fmt.Sprint("waiting", i))).ID())
	}
	follows(t, primary, standby)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	during, err := accepting.Trigger(t.Context(), order("during"))
	if err != nil || during.State() != run.Buffered {
		t.Fatalf("while there is no Postgres: %v", err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.NoDrain = false
	waitFor(t, "the new primary is used", func() bool { return accepting.Ready(t.Context()) == nil })
	drainer := open(t, cfg)
	drained(t, cfg)
	for _, id := range append(waiting, passed.ID(), during.ID()) {
		if r, err := drainer.Run(t.Context(), "prod", id); err != nil || r.Canonical != id {
			t.Errorf("%s after the standby took over: %+v %v", id, r.Canonical, err)
		}
	}
	waitFor(t, "the other node uses it as well", func() bool {
		again, err := accepting.Trigger(t.Context(), order("passed"))
		if err == nil && again.ID() != passed.ID() {
			t.Fatalf("the key has %s, had %s", again.ID(), passed.ID())
		}
		return err == nil
	})
	cfg.Postgres = standby.URL()
	disjoint(t, cfg.Postgres)
}

// follows waits until the standby has all that the primary has.
func follows(t *testing.T, primary, standby *devstack.Postgres) {
	t.Helper()
	at := func(s *devstack.Postgres, statement string) (lsn string) {
		c, err := pgx.Connect(t.Context(), s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		if err := c.QueryRow(t.Context(), statement).Scan(&lsn); err != nil {
			t.Fatal(err)
		}
		return lsn
	}
	want := at(primary, `select pg_current_wal_lsn()::text`)
	waitFor(t, "the standby has everything", func() bool {
		return at(standby, `select (pg_last_wal_replay_lsn() >= '`+want+`')::text`) == "true"
	})
}

// The disk of Postgres is full: triggers are diverted into the buffer, no run fails for
// it, and all of it lands when there is room, the server being started again if it died.
func TestDiskOfPostgresIsFull(t *testing.T) {
	t.Parallel()
	failovers(t)
	var disk string
	postgres := stacktest.PrivatePostgres(t, func(c *devstack.PostgresConfig) {
		disk = filepath.Join(filepath.Dir(c.Dir), "disk")
		if err := os.Mkdir(disk, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256m,mode=0711"); err != nil {
			t.Skipf("a small disk can not be mounted here: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		c.Dir = filepath.Join(disk, "postgres")
	})
	cfg := tripping(t)
	cfg.Postgres = postgres.URL()
	e := open(t, cfg)
	kept := trigger(t, e, order("kept"))
	filler := filepath.Join(disk, "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	var ids []run.ID
	noise := make([]byte, 1<<17) // which does not compress
	_, _ = rand.Read(noise)
	for range 8 {
		o := order("")
		o.Payload = fmt.Appendf(nil, `"%x"`, noise)
		ids = append(ids, trigger(t, e, o).ID())
	}
	waitFor(t, "Postgres takes no more", func() bool {
		stats, _ := e.DrainStats()
		return stats.Pauses > 0
	})
	for i := range 20 {
		r, err := e.Trigger(t.Context(), order(fmt.Sprint("full", i)))
		if err != nil {
			t.Fatalf("with a full disk: %v", err)
		}
		ids = append(ids, r.ID())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if postgres.PID() == 0 {
		if err := postgres.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	drained(t, cfg)
	for _, id := range append(ids, kept.ID()) {
		if r, err := e.Run(t.Context(), "prod", id); err != nil || r.Status != run.Queued {
			t.Errorf("%s: %s %v", id, r.Status, err)
		}
	}
}

// fill writes a file until the disk is full.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for size := len(block); size >= 512; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}
