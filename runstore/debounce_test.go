package runstore

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

func debounced(key string, d run.Debounce, payload string) *run.Snapshot {
	if d.Key == "" {
		d.Key = "d"
	}
	if d.Delay == 0 {
		d.Delay = time.Hour
	}
	return snapshot(run.Trigger{
		Task: "task", IdempotencyKey: key, Payload: []byte(payload), PayloadType: "text/plain", Debounce: &d,
	})
}

// noOverlap holds with aliases in slots as well: no two acceptances of one key
// have overlapping intervals under different runs.
const noOverlap = `select count(*) from runs a join runs b
  on a.env_id = b.env_id and a.id < b.id and a.kind <> 2 and b.kind <> 2
 and coalesce(a.alias_of, a.id) <> coalesce(b.alias_of, b.id)
 and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
 and a.accepted_at < b.key_until and b.accepted_at < a.key_until`

// A trigger within the delay pushes the run: leading keeps the first payload,
// trailing takes the newest, and the delay begins again (cases 100, 101).
func TestDebouncePushes(t *testing.T) {
	t.Parallel()
	for _, trailing := range []bool{false, true} {
		s := newStore(t)
		d := run.Debounce{Trailing: trailing}
		first := s.want(Created, debounced("", d, "first"))
		before := s.one(first.ID)
		if before.Status != run.Delayed || before.Trigger.DelayUntil.IsZero() {
			t.Fatalf("%+v", before)
		}
		s.exec(`update runs set delay_until = delay_until - 1000000 where id = $1`, first.ID.String())
		next := debounced("", d, "second")
		next.Trigger.Tags, next.Trigger.Machine, next.Trigger.MaxAttempts, next.Trigger.MaxDuration = []string{"a"}, "micro", 7, time.Minute
		next.Trigger.Metadata = []byte(`{"m":1}`)
		pushed := s.want(Debounced, next)
		if pushed.ID != first.ID || pushed.Canonical != first.ID {
			t.Fatalf("pushed %s, not %s", pushed.ID, first.ID)
		}
		after := s.one(first.ID)
		if !after.Trigger.DelayUntil.After(before.Trigger.DelayUntil) || !after.CreatedAt.Equal(before.CreatedAt) {
			t.Errorf("delay %v, then %v", before.Trigger.DelayUntil, after.Trigger.DelayUntil)
		}
		want := run.Trigger{Payload: []byte("first")}
		if trailing {
			want = next.Trigger
		}
		got := after.Trigger
		if string(got.Payload) != string(want.Payload) || fmt.Sprint(got.Tags) != fmt.Sprint(want.Tags) || got.Machine != want.Machine ||
			got.MaxAttempts != want.MaxAttempts || got.MaxDuration != want.MaxDuration || string(got.Metadata) != string(want.Metadata) {
			t.Errorf("trailing %v: %+v", trailing, got)
		}
		// The trigger's own id is a name of the run, and its repeat pushes nothing.
		if r := s.one(next.ID); r.Canonical != first.ID {
			t.Errorf("%s is %s", next.ID, r.Canonical)
		}
		s.want(Debounced, next)
		if again := s.one(first.ID); !again.Trigger.DelayUntil.Equal(after.Trigger.DelayUntil) {
			t.Error("a repeat pushed")
		}
		// Other keys, tasks and environments are others.
		s.want(Created, debounced("", run.Debounce{Key: "other"}, ""))
		for _, change := range []func(*run.Trigger){func(t *run.Trigger) { t.Task = "other" }, func(t *run.Trigger) { t.Environment = "env_2" }} {
			other := debounced("", d, "")
			change(&other.Trigger)
			s.want(Created, other)
		}
	}
}

// Whoever comes after the delay makes a new run, whether the sweep has been
// there or not; as does whoever comes after the run was moved on, by plain SQL too.
func TestDebounceEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"due":        `update runs set delay_until = now_us() - 1 where id = $1`,
		"released":   `update runs set status = 'QUEUED' where id = $1`,
		"cancelled":  `update runs set status = 'CANCELED' where id = $1`,
		"long delay": ``,
	} {
		s := newStore(t)
		d := run.Debounce{Delay: run.MaxKeyTTL}
		first := s.want(Created, debounced("", d, "1"))
		if end == "" {
			s.want(Debounced, debounced("", d, "2")) // there is no ceiling (case 100)
			continue
		}
		s.exec(end, first.ID.String())
		second := s.want(Created, debounced("", d, "2"))
		if r := s.one(first.ID); r.Status == run.Delayed {
			t.Errorf("%s: the first is %s", name, r.Status)
		}
		if third := s.want(Debounced, debounced("", d, "3")); third.ID != second.ID {
			t.Errorf("%s: pushed %s", name, third.ID)
		}
	}
}

// The delay never reaches beyond the longest delay after the run's acceptance.
func TestDebounceMaxDelay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := run.Debounce{Delay: time.Hour, MaxDelay: 90 * time.Minute}
	first := s.want(Created, debounced("", d, "1"))
	s.exec(`update runs set accepted_at = accepted_at - 3600000000 where id = $1`, first.ID.String())
	s.want(Debounced, debounced("", d, "2"))
	r := s.one(first.ID)
	if got := r.Trigger.DelayUntil.Sub(r.CreatedAt); got != 90*time.Minute {
		t.Errorf("delayed for %v", got)
	}
}

// A trigger's own key decides first; and it holds the run that the trigger
// pushed, as if that had been made for it: for its time, until a status or a
// reset ends it.
func TestDebounceAndKeys(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := run.Debounce{Trailing: true}
	first := s.want(Created, debounced("k1", d, "1"))
	if joined := s.want(Debounced, debounced("k2", d, "2")); joined.ID != first.ID {
		t.Fatalf("pushed %s", joined.ID)
	}
	held := func(key string, debounce bool) {
		t.Helper()
		again := debounced(key, d, "again")
		if !debounce {
			again.Trigger.Debounce = nil
		}
		if h := s.want(Held, again); h.ID != first.ID || h.Canonical != first.ID {
			t.Errorf("%s is held by %s (%s)", key, h.ID, h.Canonical)
		}
	}
	for _, key := range []string{"k1", "k2"} {
		held(key, true)
		held(key, false)
	}
	if got := string(s.one(first.ID).Trigger.Payload); got != "2" {
		t.Errorf("a repeat pushed: %q", got)
	}
	state, err := s.Keys(t.Context(), []KeyRef{{Environment: env, Hash: debounced("k2", d, "").Hash}})
	if err != nil || state[0].ID != first.ID || !state[0].Live {
		t.Errorf("%+v, %v", state, err)
	}
	s.exec(`update runs set status = 'QUEUED' where id = $1`, first.ID.String())
	held("k2", true) // it holds the run, debounced or not

	// A buffered run of the key becomes another name of the same run.
	late := debounced("k2", d, "late")
	late.Trigger.Debounce = nil
	late.Accept(s.Check(t.Context(), []Check{{env, late.Hash, first.ID}})[0].AcceptedAt + 1_000_000)
	if m := s.Materialise(t.Context(), []Materialisation{{Snapshot: late}})[0]; m.Err != nil || m.Outcome != Aliased || m.Canonical != first.ID {
		t.Errorf("%+v", m)
	}

	_, cleared, err := s.Reset(t.Context(), env, debounced("k2", d, "").Hash, 0)
	if err != nil || cleared != first.ID {
		t.Errorf("cleared %v, %v", cleared, err)
	}
	held("k1", true)
	fresh := s.want(TookOver, debounced("k2", d, "3"))
	if fresh.ID == first.ID {
		t.Error("a reset key still answers the old run")
	}
	if joined := s.want(Debounced, debounced("k3", d, "4")); joined.ID != fresh.ID {
		t.Errorf("pushed %s", joined.ID)
	}
	// A clearing status ends every key of the run.
	s.finish(fresh.ID, run.Canceled)
	held("k1", true)
	s.exec(`update runs set status = 'FAILED', finished_at = null where id = $1`, fresh.ID.String())
	for _, key := range []string{"k2", "k3"} {
		plain := debounced(key, d, "5")
		plain.Trigger.Debounce = nil
		s.want(TookOver, plain)
	}
	if n := s.count(noOverlap); n != 0 {
		t.Errorf("%d overlaps", n)
	}
}

// Triggers at once, of one debounce key and many keys, make one run.
func TestDebounceAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const callers, rounds = 8, 5
	got := make([][]Settled, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := range rounds {
				key := fmt.Sprintf("k%d", (i+n)%callers) // each key comes from several callers
				got[i] = append(got[i], s.settleOne(debounced(key, run.Debounce{Trailing: i%2 == 0}, key)))
			}
		})
	}
	all.Wait()
	made := map[run.ID]bool{}
	created := 0
	for _, list := range got {
		for _, g := range list {
			if g.Err != nil {
				t.Fatal(g.Err)
			}
			made[g.Canonical] = true
			if g.Outcome == Created {
				created++
			}
		}
	}
	if len(made) != 1 || created != 1 || s.count(`select count(*) from runs where kind = 0`) != 1 || s.count(noOverlap) != 0 {
		t.Errorf("%d runs, %d created", len(made), created)
	}
}
