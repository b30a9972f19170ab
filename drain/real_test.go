package drain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
)

// Two drainers on ten thousand entries of several tenants, some with keys: each
// run is there once, and as it was accepted.
func TestTenThousandEntries(t *testing.T) {
	t.Parallel()
	s := newStack(t, "", "", "")
	var triggers []run.Trigger
	for i := range 10_000 {
		tr := run.Trigger{Organisation: fmt.Sprint("o", i%3), Environment: fmt.Sprint("e", i%7%3, "-", i%3), Payload: fmt.Appendf(nil, "%d", i)}
		if i%2 == 0 {
			tr.IdempotencyKey = fmt.Sprint("k", i)
		}
		triggers = append(triggers, tr)
	}
	ids := s.accept(triggers...)
	one, two := s.drainer(), s.drainer()
	one.Start()
	two.Start()
	s.until("drained", s.empty)
	stop(t, one)
	stop(t, two)
	s.landed(ids)
	if n := one.Stats().Materialised + two.Stats().Materialised; n != 10_000 {
		t.Errorf("%d acknowledged", n)
	}
	if _, rate := one.Rate("e0-0"); rate <= 0 {
		t.Error("no rate was measured")
	}
	for i := 0; i < len(ids); i += 997 {
		found, err := s.runs.Runs(t.Context(), triggers[i].Environment, []run.ID{ids[i]})
		if err != nil || string(found[ids[i]].Trigger.Payload) != fmt.Sprint(i) {
			t.Errorf("run %d: %v, %v", i, found[ids[i]].Trigger.Payload, err)
		}
	}
}

// Cases 42, 117, 134: a drainer dies between lease and ack, before or after its
// rows are written; a cancellation that came meanwhile survives that, a second
// lease whose holder dies too, and the last one.
func TestKilledBetweenLeaseAndAck(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprint("written ", written), func(t *testing.T) {
			t.Parallel()
			s := newStack(t, "", "", "")
			ids := s.accept(many(40, run.Trigger{})...)
			lease := func() {
				for p := range realPartitions {
					got, err := s.Store.Lease(t.Context(), p, "e", 5, buffer.NewToken(), time.Millisecond)
					if err != nil || len(got) != 5 {
						t.Fatalf("leased %d, %v", len(got), err)
					}
					for _, l := range got {
						m := runstore.Materialisation{Snapshot: &l.Entry.Snapshot, Patches: l.Entry.Patches, Ver: l.Entry.Ver}
						if written {
							if r := s.runs.Materialise(t.Context(), []runstore.Materialisation{m}); r[0].Err != nil {
								t.Fatal(r[0].Err)
							}
						}
					}
				}
			}
			lease()
			cancelled := ids[0]
			if _, o, err := s.Patch(t.Context(), buffer.Ref{Environment: "e", ID: cancelled}, func(e *buffer.Entry) (run.Patch, error) {
				p := e.Patched()
				return p.Cancel(e.Now, "enough"), nil
			}); o != buffer.Applied {
				t.Fatal(o, err)
			}
			returned := 0
			for returned < 20 {
				for p := range realPartitions {
					r, err := s.Reap(t.Context(), p, 100)
					if err != nil {
						t.Fatal(err)
					}
					returned += r.Lapsed
				}
			}
			lease() // the same ones, and dead again
			d := s.drainer()
			d.Start()
			s.until("drained", s.empty)
			stop(t, d)
			s.landed(ids)
			if st := s.status(cancelled); st != run.Canceled {
				t.Errorf("the cancelled run is %s", st)
			}
			if n := d.Stats().Reaped; n != 20 {
				t.Errorf("%d leases had run out", n)
			}
		})
	}
}

// Cases 123, 138: Postgres is stopped, killed or hangs with a backlog. No attempt
// is spent, nothing fails, and all land when it is back.
func TestPostgresGoesAway(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stopped", "killed", "hangs"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := stacktest.PrivatePostgres(t)
			s := newStack(t, "", "", p.URL())
			first := s.accept(many(300, run.Trigger{})...)
			d := s.drainer(func(c *Config) { c.BatchSize, c.PauseMax, c.Deadline = 20, 200*time.Millisecond, time.Second })
			d.Start()
			s.until("begun", func() bool { return d.Stats().Materialised > 0 })
			var err error
			switch how {
			case "stopped":
				err = p.Stop(t.Context())
			case "killed":
				err = p.Kill()
			case "hangs":
				err = p.Pause()
			}
			if err != nil {
				t.Fatal(err)
			}
			ids := append(first, s.accept(many(300, run.Trigger{})...)...)
			d.Notify()
			s.until("paused", d.Paused)
			if how == "hangs" {
				err = p.Resume()
			} else {
				err = p.Start(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			s.until("drained", s.empty)
			stop(t, d)
			s.landed(ids)
			if st := d.Stats(); st.Refused != 0 || st.Failed != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// Cases 47, 48: Redis hangs, or is killed and comes back, in the middle of a drain.
func TestRedisGoesAway(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"hangs", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := stacktest.PrivateRedis(t)
			s := newStack(t, r.URL(), "m", "")
			ids := s.accept(many(2000, run.Trigger{})...)
			d := s.drainer(func(c *Config) { c.BatchSize, c.Lease = 20, time.Second })
			d.Start()
			s.until("begun", func() bool { return d.Stats().Materialised > 0 })
			var err error
			if how == "hangs" {
				err = r.Pause()
			} else {
				err = r.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
			if how == "killed" {
				s.until("noticed", func() bool { return d.Stats().RedisErrors > 0 || s.db.Breaker() != redisdb.BreakerClosed })
				err = r.Start(t.Context())
			} else {
				err = r.Resume()
			}
			if err != nil {
				t.Fatal(err)
			}
			s.until("drained", s.empty)
			stop(t, d)
			s.landed(ids)
		})
	}
}

// Case 40: what Postgres refuses fails alone and visibly; its neighbours land.
func TestPoisonInPostgres(t *testing.T) {
	t.Parallel()
	s := newStack(t, "", "", "")
	good := s.accept(many(50, run.Trigger{})...)
	bad := s.accept(run.Trigger{Task: "no\x00text", Payload: []byte("secret")})
	good = append(good, s.accept(many(50, run.Trigger{})...)...)
	var out logged
	d := s.drainer(func(c *Config) { c.Logger = out.logger() })
	d.Start()
	s.until("drained", s.empty)
	stop(t, d)
	s.landed(append(good, bad...))
	if st := s.status(bad[0]); st != run.SystemFailure {
		t.Errorf("the refused run is %s", st)
	}
	if n := s.count("select count(*) from dead_letters where run_id = $1 and position('secret'::bytea in snapshot) > 0", bad[0].String()); n != 1 {
		t.Error("what it was is not among the dead letters")
	}
	for _, id := range good {
		if st := s.status(id); st != run.Queued {
			t.Fatalf("its neighbour is %s", st)
		}
	}
	if st := d.Stats(); st.Failed != 1 || st.Refused != 3 {
		t.Errorf("%+v", st)
	}
	if out.has("secret") || !out.has("has failed", bad[0].String()) {
		t.Error("wrong logs")
	}
}

// An entry whose time to live has passed in the buffer is born EXPIRED, one with
// a delay DELAYED, a cancelled one CANCELED.
func TestBornAsWhatTheyAre(t *testing.T) {
	t.Parallel()
	s := newStack(t, "", "", "")
	ids := s.accept(run.Trigger{TTL: time.Microsecond}, run.Trigger{DelayUntil: time.Now().Add(time.Hour)}, run.Trigger{}, run.Trigger{})
	if _, o, err := s.Patch(t.Context(), buffer.Ref{Environment: "e", ID: ids[2]}, func(e *buffer.Entry) (run.Patch, error) {
		p := e.Patched()
		return p.Cancel(e.Now, ""), nil
	}); o != buffer.Applied {
		t.Fatal(o, err)
	}
	d := s.drainer()
	d.Start()
	s.until("drained", s.empty)
	for i, want := range []run.Status{run.Expired, run.Delayed, run.Canceled, run.Queued} {
		if got := s.status(ids[i]); got != want {
			t.Errorf("run %d is %s, want %s", i, got, want)
		}
	}
}

// A reset while a run is being drained: the run keeps its row, its interval ends
// at the cut, and the next run of the key is another one.
func TestResetDuringALease(t *testing.T) {
	t.Parallel()
	s := newStack(t, "", "", "")
	keyed := run.Trigger{IdempotencyKey: "k"}
	first := s.accept(keyed)[0]
	hash := keyed
	hash.Environment, hash.Task = "e", "task"
	h := hash.Key().Hash()
	got, err := s.Store.Lease(t.Context(), 0, "e", 1, buffer.NewToken(), time.Millisecond)
	if err != nil || len(got) != 1 {
		t.Fatalf("leased %d, %v", len(got), err)
	}
	accepted := got[0].Entry.Snapshot.AcceptedAt
	cut, _, err := s.runs.Reset(t.Context(), "e", h, accepted+1)
	if err != nil {
		t.Fatal(err)
	}
	d := s.drainer()
	d.Start()
	s.until("drained", s.empty)
	stop(t, d)
	s.landed([]run.ID{first})
	found, err := s.runs.Runs(t.Context(), "e", []run.ID{first})
	if err != nil || found[first].Canonical != first || run.InstantOf(found[first].KeyUntil) > cut {
		t.Errorf("the run: %+v, %v; cut at %d", found[first], err, cut)
	}
	next := snapshotOf(keyed, 0)
	r := s.runs.Settle(t.Context(), []runstore.Settlement{{Snapshot: next}})[0]
	if r.Err != nil || r.Canonical != next.ID {
		t.Errorf("the next run of the key: %+v", r)
	}
}

// Cases 51, 53, on real stores: the light tenant's ten are in Postgres after
// four batches.
func TestFairnessOnStores(t *testing.T) {
	t.Parallel()
	s := newStack(t, "", "", "")
	s.accept(many(3000, run.Trigger{Organisation: "a", Environment: "storm"})...)
	light := s.accept(many(10, run.Trigger{Organisation: "b", Environment: "e"})...)
	d := s.drainer(func(c *Config) { c.InFlight, c.BatchSize = 1, 50 })
	d.Start()
	s.until("four batches", func() bool { return d.Stats().Batches >= 4 })
	stop(t, d)
	found, err := s.runs.Runs(t.Context(), "e", light)
	if err != nil || len(found) != 10 {
		t.Errorf("%d of 10, %v", len(found), err)
	}
	at := slices.Index(s.turns, "e")
	if at < 0 || at > 2*realPartitions {
		t.Errorf("its turn came after %d leases", at)
	}
}
