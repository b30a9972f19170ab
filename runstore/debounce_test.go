package runstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
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

// Many triggers of several debounce keys that come in one batch are one
// transaction: one of each key is made, the others push it, and the last word is
// that of the last. One that can not be stored fails nobody else.
func TestDebounceInOneBatch(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const keys, each = 3, 40
	var batch []Settlement
	for n := range keys * each {
		snap := debounced("", run.Debounce{Key: fmt.Sprint("d", n%keys), Trailing: n%keys > 0}, fmt.Sprint(n))
		if n%2 == 0 {
			snap = debounced(fmt.Sprint("k", n%20), *snap.Trigger.Debounce, fmt.Sprint(n))
		}
		if n == keys*each-1 {
			snap.Trigger.Tags = []string{"last"}
		}
		batch = append(batch, Settlement{snap})
	}
	bad := debounced("", run.Debounce{Key: "d0"}, "")
	bad.Trigger.Organisation = "\x00"
	batch = append(batch, Settlement{bad})
	before := s.count(`select count(*) from runs`)
	got := s.Settle(t.Context(), batch)
	made := map[string]run.ID{}
	for n, g := range got[:keys*each] {
		key := batch[n].Snapshot.Trigger.Debounce.Key
		if g.Err != nil {
			t.Fatal(g.Err)
		}
		if g.Outcome == Created {
			if !made[key].IsZero() {
				t.Errorf("two runs of %s", key)
			}
			made[key] = g.ID
		}
	}
	if got[keys*each].Err == nil {
		t.Error("a bad trigger was stored")
	}
	for n, g := range got[:keys*each] {
		key := batch[n].Snapshot.Trigger.Debounce.Key
		// A key that another debounce key's run holds decides first.
		if g.Outcome != Held && g.ID != made[key] {
			t.Errorf("%d of %s is %s %s, not %s", n, key, g.Outcome, g.ID, made[key])
		}
		if g.Outcome == Debounced {
			if r := s.one(batch[n].Snapshot.ID); r.Canonical != made[key] {
				t.Errorf("%s is %s", batch[n].Snapshot.ID, r.Canonical)
			}
		}
	}
	last := s.one(made["d2"])
	if string(last.Trigger.Payload) != fmt.Sprint(keys*each-1) || !slices.Equal(last.Trigger.Tags, []string{"last"}) {
		t.Errorf("the last word was %q, tags %q", last.Trigger.Payload, last.Trigger.Tags)
	}
	if first := s.one(made["d0"]); string(first.Trigger.Payload) != "0" {
		t.Errorf("the first payload gave way to %q", first.Trigger.Payload)
	}
	if n := s.count(`select count(*) from runs where kind = 0`) - before; n != keys || s.count(noOverlap) != 0 {
		t.Errorf("%d runs, want %d", n, keys)
	}
}

// However many triggers a batch has, it costs the same number of statements.
func TestDebounceCostsABatchNotATrigger(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	tries := new(atomic.Int64)
	s.observe = func(time.Duration, time.Duration, error) { tries.Add(1) }
	settle := func(n, keys int) {
		var batch []Settlement
		for i := range n {
			batch = append(batch, Settlement{debounced("", run.Debounce{Key: fmt.Sprint("d", i%keys), Trailing: true}, "x")})
		}
		for _, g := range s.Settle(t.Context(), batch) {
			if g.Err != nil {
				t.Fatal(g.Err)
			}
		}
	}
	settle(1, 1)
	tries.Store(0)
	settle(200, 50)
	if n := tries.Load(); n != 1 {
		t.Errorf("200 triggers of 50 debounce keys took %d tries, want 1", n)
	}
	if n := s.count(`select count(distinct xmin::text) from runs where kind = 1`); n != 1 {
		t.Errorf("they were written by %d transactions, want 1", n)
	}
	// More debounce keys than may be locked at once take their turns.
	settle(2*maxBounces+20, 2*maxBounces+10)
	if n := s.count(`select count(*) from runs where kind = 0`); n != 2*maxBounces+10 {
		t.Errorf("%d runs, want %d", n, 2*maxBounces+10)
	}
}

// A reset that comes between a trigger's claim and its settlement makes that stale,
// debounced or not: somebody else may have the key by then.
func TestDebounceIsStale(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := debounced("k", run.Debounce{}, "1")
	first.Accept(1_000_000)
	s.want(Created, first)
	s.resetAt("k", 3_000_000)
	late := debounced("k", run.Debounce{}, "2")
	late.Accept(2_000_000)
	if got := s.settleOne(late); got.Outcome != Stale || got.Floor != 3_000_000 {
		t.Errorf("%s, floor %d", got.Outcome, got.Floor)
	}
	late.Accept(3_000_000)
	s.want(Debounced, late)
}

// bounceFromBuffer is a debounced run that was accepted by a buffer some time after
// the beginning.
func bounceFromBuffer(key string, d run.Debounce, after time.Duration, payload string) Materialisation {
	snap := debounced(key, d, payload)
	snap.Accept(run.Instant(beginning.UnixMicro()).Add(after))
	snap.Trigger.DelayUntil = snap.AcceptedAt.Add(snap.Trigger.Debounce.Delay).Time()
	return Materialisation{Snapshot: snap}
}

var beginning = time.Now().Truncate(time.Microsecond)

// Triggers that a buffer took while Postgres was down come together when they are
// drained, in whatever order and batches: by when they were accepted. The newest
// payload wins, the delay ends as late as any of them asked for, every id is one of
// the run's, and every key holds it.
func TestDebounceOutOfTheBuffer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := run.Debounce{Trailing: true}
	var all []Materialisation
	for n := range 20 {
		key := ""
		if n%2 == 0 {
			key = fmt.Sprint("k", n)
		}
		all = append(all, bounceFromBuffer(key, d, time.Duration(n)*time.Second, fmt.Sprint(n)))
	}
	all[4] = all[4].with(run.Patch{Ver: 1, At: 5, AddTags: []string{"told"}})
	all[7] = all[7].with(cancelled(1))
	newest := all[19]
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for range 2 { // whoever drained them may have died before the ack
		for part := range slices.Chunk(all, 6) {
			for i, got := range s.Materialise(t.Context(), part) {
				if got.Err != nil || got.ID != part[i].Snapshot.ID {
					t.Fatal(got.ID, got.Err)
				}
			}
		}
	}
	if n := s.count(`select count(*) from runs where kind = 0 and status = 'DELAYED'`); n != 1 {
		t.Fatalf("%d runs", n)
	}
	r := s.one(newest.Snapshot.ID)
	if string(r.Trigger.Payload) != "19" || !r.Trigger.DelayUntil.Equal(newest.Snapshot.Trigger.DelayUntil) {
		t.Errorf("payload %q until %v, want 19 until %v", r.Trigger.Payload, r.Trigger.DelayUntil, newest.Snapshot.Trigger.DelayUntil)
	}
	if !slices.Contains(r.Trigger.Tags, "told") {
		t.Errorf("a tag that was added in the buffer is lost: %q", r.Trigger.Tags)
	}
	for _, m := range all {
		switch own := s.one(m.Snapshot.ID); {
		case len(m.Patches) > 0 && m.Patches[0].Cancel != nil:
			if own.Canonical != m.Snapshot.ID || own.Status != run.Canceled {
				t.Errorf("the cancelled one is %s, %s", own.Canonical, own.Status)
			}
		case own.Canonical != r.Canonical:
			t.Errorf("%s is %s", m.Snapshot.ID, own.Canonical)
		case !m.Snapshot.Key.IsZero():
			plain := debounced(m.Snapshot.Trigger.IdempotencyKey, d, "")
			plain.Trigger.Debounce = nil
			plain.Accept(m.Snapshot.AcceptedAt + 1)
			if held := s.want(Held, plain); held.Canonical != r.Canonical {
				t.Errorf("%s holds %s", m.Snapshot.Trigger.IdempotencyKey, held.Canonical)
			}
		}
	}
	// What comes now pushes the same run.
	if pushed := s.want(Debounced, debounced("", d, "now")); pushed.ID != r.Canonical {
		t.Errorf("pushed %s", pushed.ID)
	}
}

// What waited in the buffer never undoes what came after it, and a run whose delay
// was over before the next trigger came is one of its own.
func TestDebounceOutOfTheBufferLate(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := run.Debounce{Trailing: true, Delay: time.Minute}
	now := bounceFromBuffer("", d, 0, "").Snapshot.AcceptedAt
	made := debounced("", d, "newer")
	made.Accept(now)
	s.want(Created, made)
	before := s.one(made.ID)
	older := bounceFromBuffer("", d, -30*time.Second, "older")
	if got := s.drain(Debounced, older); got.Canonical != made.ID {
		t.Errorf("%s is %s", got.ID, got.Canonical)
	}
	if after := s.one(made.ID); string(after.Trigger.Payload) != "newer" || !after.Trigger.DelayUntil.Equal(before.Trigger.DelayUntil) {
		t.Errorf("%q until %v, then %q until %v", before.Trigger.Payload, before.Trigger.DelayUntil, after.Trigger.Payload, after.Trigger.DelayUntil)
	}
	over := bounceFromBuffer("", d, -2*time.Minute, "over")
	if got := s.drain(Created, over); got.Status != run.Queued {
		t.Errorf("what was over is %s", got.Status)
	}
	s.want(Debounced, debounced("", d, "still the same"))
	// Of another key, with nothing in Postgres: three that push, then two that came later.
	e := run.Debounce{Key: "e", Trailing: true, Delay: 10 * time.Second}
	var list []Materialisation
	for _, after := range []int{-100, -95, -88, -50, -45} {
		list = append(list, bounceFromBuffer("", e, time.Duration(after)*time.Second, fmt.Sprint(after)))
	}
	got := s.Materialise(t.Context(), []Materialisation{list[3], list[1], list[4], list[0], list[2]})
	ran := map[string]bool{}
	for _, g := range got {
		if g.Err != nil {
			t.Fatal(g.Err)
		}
		r := s.one(g.Canonical)
		ran[string(r.Trigger.Payload)] = true
		if r.Status != run.Queued {
			t.Errorf("%s", r.Status)
		}
	}
	if len(ran) != 2 || !ran["-88"] || !ran["-45"] {
		t.Errorf("ran with %v, want -88 and -45", ran)
	}
	// The longest delay holds in the buffer, too.
	m := run.Debounce{Key: "m", Delay: time.Hour, MaxDelay: 90 * time.Minute}
	first := bounceFromBuffer("", m, 0, "")
	s.drain(Created, first)
	s.drain(Debounced, bounceFromBuffer("", m, 50*time.Minute, ""))
	if r := s.one(first.Snapshot.ID); r.Trigger.DelayUntil.Sub(r.CreatedAt) != 90*time.Minute {
		t.Errorf("delayed for %v", r.Trigger.DelayUntil.Sub(r.CreatedAt))
	}
}

// Nodes settle and drain triggers of the same debounce keys at once, in batches that
// meet, and each entry is drained by two: one run of each debounce key, whoever wins.
func TestDebounceFromBothSidesAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const writers, rounds, keys = 6, 4, 3
	var entries []Materialisation
	for n := range 30 {
		entries = append(entries, bounceFromBuffer(fmt.Sprint("b", n%25), run.Debounce{Key: fmt.Sprint("d", n%keys), Trailing: true}, time.Duration(n)*time.Millisecond, "b"))
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for r := range rounds {
				if w%2 == 0 {
					for _, got := range s.Materialise(t.Context(), entries[(w*5)%15:]) {
						if got.Err != nil {
							t.Error(got.Err)
						}
					}
					continue
				}
				var batch []Settlement
				for n := range 12 {
					batch = append(batch, Settlement{debounced(fmt.Sprint("s", (n+r)%9), run.Debounce{Key: fmt.Sprint("d", n%keys)}, "s")})
				}
				for _, got := range s.Settle(t.Context(), batch) {
					if got.Err != nil {
						t.Error(got.Err)
					}
				}
			}
		})
	}
	all.Wait()
	if n := s.count(`select count(*) from runs where kind = 0`); n != keys || s.count(noOverlap) != 0 {
		t.Errorf("%d runs of %d debounce keys, %d overlaps", n, keys, s.count(noOverlap))
	}
	for _, e := range entries {
		if s.count(`select count(*) from runs where id = $1`, e.Snapshot.ID.String()) == 0 && e.Snapshot.ID != entries[0].Snapshot.ID {
			t.Errorf("%s was acknowledged and is nowhere", e.Snapshot.ID)
		}
	}
}
