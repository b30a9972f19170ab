package redisdb

import (
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// What Redis said of an instant before an outage, and for a while after it, may have
// been settled by others without it.
func TestUnbroken(t *testing.T) {
	t.Parallel()
	d := &DB{}
	d.unbroken.trouble()
	holds := func(at run.Instant, want bool, when string) {
		t.Helper()
		if d.Unbroken(at) != want {
			t.Errorf("%s, since %d: %t", when, at, !want)
		}
	}
	holds(MaxInstant, false, "not open")
	d.unbroken.opened(1000)
	holds(999, false, "opened at 1000")
	holds(1000, true, "opened at 1000")
	d.unbroken.reading(2000, false)
	holds(1000, true, "a reading")
	d.unbroken.trouble()
	holds(2000, false, "trouble")
	d.unbroken.reading(3000, false)
	over := run.Instant(3000).Add(aftermath)
	holds(over-1, false, "back at 3000")
	holds(over, true, "back at 3000")
	d.unbroken.reading(4000, false)
	holds(over, true, "a reading after that")
	d.unbroken.reading(5000, true)
	holds(run.Instant(5000).Add(aftermath)-1, false, "another server at 5000")
	holds(run.Instant(5000).Add(aftermath), true, "another server at 5000")
}

// A Redis that is killed and started anew is noticed by whoever calls it meanwhile,
// and by the server's name by who only comes afterwards.
func TestUnbrokenOverARestart(t *testing.T) {
	t.Parallel()
	server := stacktest.PrivateRedis(t)
	var dbs [2]*DB
	for i := range dbs {
		d, err := New(Config{URL: server.URL(), Prefix: "m", Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		if _, err := d.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		dbs[i] = d
	}
	tell := func(d *DB) (at run.Instant) {
		at = d.Run(t.Context(), []Call{ClockCall()})[0].At
		return at
	}
	before := max(tell(dbs[0]), tell(dbs[1]))
	for _, d := range dbs {
		if !d.Unbroken(before) {
			t.Fatal("doubted though nothing has happened")
		}
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	tell(dbs[0])
	if dbs[0].Unbroken(before) || !dbs[1].Unbroken(before) {
		t.Error("who has called knows of the outage, who has not does not")
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range dbs {
		var at run.Instant
		for at == 0 && t.Context().Err() == nil {
			at = tell(d) // the breaker may be open
		}
		if d.Unbroken(before) || d.Unbroken(at) || !d.Unbroken(at.Add(aftermath)) {
			t.Errorf("back: %t %t %t", d.Unbroken(before), d.Unbroken(at), d.Unbroken(at.Add(aftermath)))
		}
	}
}
