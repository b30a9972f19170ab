package buffer

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// Every script on a cluster of three masters, which refuses a key of another slot,
// also one that a script forms itself (case 128).
func TestCluster(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Cluster(t)
	keeper := &shelf{}
	b := onRedis(t, redisdb.Config{URL: url, Prefix: prefix, Partitions: 16, Deadline: 10 * time.Second}, Config{Keeper: keeper})
	if !b.db.Cluster() {
		t.Fatal("no cluster")
	}
	var batch []Acceptance
	fresh := b.fresh(nil)
	for i := range 100 {
		fresh.Snapshot = snap(i%16, fmt.Sprint(i))
		batch = append(batch, fresh)
	}
	for round, want := range []State{AcceptedNew, AlreadyThere} {
		for i, a := range b.Accept(t.Context(), batch) {
			if a.Err != nil || a.State != want {
				t.Fatalf("round %d, run %d: %+v", round, i, a)
			}
		}
	}
	for i := range batch[:16] {
		again := b.fresh(snap(i, batch[i].Snapshot.Trigger.IdempotencyKey))
		b.want(again, BoundTo)
		if r := b.claim(batch[i].Snapshot, claim.NewToken()); r.State != claim.Bound {
			t.Fatalf("%+v", r)
		}
	}
	var holdings []Holding
	var acks []Ack
	token, next := NewToken(), NewToken()
	for p := range 16 {
		for _, l := range b.lease(p, 100, token) {
			holdings, acks = append(holdings, Holding{l.Ref, token}), append(acks, Ack{Ref: l.Ref, Ver: 1})
		}
		b.lapse(p)
	}
	b.held("extend", b.Extend(t.Context(), holdings[:50], time.Hour), HeldDone)
	for p := range 16 {
		b.reap(p)
		if _, err := b.Revive(t.Context(), p, 10); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Sweep(t.Context(), p, 0, 10); err != nil {
			t.Fatal(err)
		}
		b.lease(p, 100, next)
	}
	if len(holdings) != 100 {
		t.Fatalf("%d leases", len(holdings))
	}
	for i, h := range holdings[:20] {
		patch(t, b, h.Ref, run.Patch{Delay: run.Instant(i + 1)})
	}
	for i := range holdings {
		holdings[i].Token = next
	}
	b.held("fail", b.Fail(t.Context(), holdings[90:]), HeldDone)
	var back []Requeue
	for _, h := range holdings[80:90] {
		back = append(back, Requeue{Ref: h.Ref, Token: next, Count: true})
	}
	b.held("requeue", b.Requeue(t.Context(), back), HeldDone)
	for i, a := range b.Ack(t.Context(), acks[:80]) {
		if !a.Done() {
			t.Fatalf("ack %d: %+v", i, a)
		}
	}
	if u := must(b.Total(t.Context())); u.Entries != 10 {
		t.Fatalf("%+v", u)
	}
	if list := must(b.List(t.Context(), env, Page{Limit: 50})); len(list) != 10 {
		t.Fatalf("%v", list)
	}
	all := make([]int, 16)
	for p := range all {
		all[p] = p
	}
	if heads := must(b.Heads(t.Context(), all)); len(heads) != 16 {
		t.Fatalf("%+v", heads)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	kept := slices.Collect(maps.Values(keeper.kept))
	for _, name := range stacktest.Keys(b.t, b.raw, prefix+":{*") {
		b.raw.Del(t.Context(), name)
	}
	for round := range 2 {
		for i, r := range b.Restore(t.Context(), kept) {
			if r.Err != nil || r.Run != (round == 0) {
				t.Fatalf("%d: %+v", i, r)
			}
		}
		for i, st := range b.Standing(t.Context(), kept) {
			if st.Stand != Waiting {
				t.Fatalf("%d: %+v", i, st)
			}
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// The slot of a partition moves while its runs are accepted, changed, leased and acked.
// Whatever fails meanwhile was not done at all; whoever repeats it afterwards succeeds;
// and each run leaves the buffer once.
func TestSlotMovesUnderARun(t *testing.T) {
	t.Parallel()
	c := stacktest.PrivateCluster(t, 2, 0, nil)
	b := onRedis(t, redisdb.Config{URL: c.URL(), Prefix: "m", Partitions: 16, Deadline: 10 * time.Second}, Config{})
	const p = 3
	from, to := c.Master(0), c.Master(1)
	if slot := must(b.raw.ClusterKeySlot(t.Context(), b.names.Leases(p)).Result()); slot >= 8192 {
		from, to = to, from
	}
	acknowledged, left := map[run.ID]bool{}, map[run.ID]bool{}
	offer := func(n int) {
		var batch []Acceptance
		for i := range n {
			batch = append(batch, b.fresh(snap(p, fmt.Sprint("key ", len(acknowledged), " ", i))))
		}
		for i, a := range b.Accept(t.Context(), batch) {
			if a.Err == nil && a.State == AcceptedNew {
				acknowledged[batch[i].Snapshot.ID] = true
			}
		}
	}
	// drain does what a drainer does, and gives up where it is refused.
	drain := func(n int) {
		token := NewToken()
		leases, err := b.Lease(t.Context(), p, env, n, token, time.Hour)
		if err != nil {
			b.lapse(p)
			return
		}
		var acks []Ack
		for i, l := range leases {
			if i%3 == 1 {
				_, _, _ = b.Patch(t.Context(), l.Ref, func(*Entry) (run.Patch, error) { return run.Patch{Delay: run.Instant(i + 1)}, nil })
			}
			acks = append(acks, Ack{Ref: l.Ref, Ver: 1000})
		}
		for i, a := range b.Ack(t.Context(), acks) {
			if a.Err == nil && a.Done() {
				left[acks[i].ID] = true
			}
		}
		b.lapse(p)
		_, _ = b.Reap(t.Context(), p, 100)
		_, _ = b.Heads(t.Context(), []int{p})
		_, _ = b.Sweep(t.Context(), p, 0, 10)
		_, _ = b.List(t.Context(), env, Page{Limit: 50})
		_, _ = b.Revive(t.Context(), p, 10)
	}
	offer(60)
	drain(5)
	moving := stacktest.MoveSlot(t, b.names.Leases(p), from, to)
	for range 30 {
		if moving.Keys(4) == 0 {
			break
		}
		offer(3)
		drain(4)
	}
	moving.End()
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	offer(10)
	for range 100 {
		drain(50)
		if u := must(b.Total(t.Context())); u.Entries == 0 {
			break
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	for id := range acknowledged {
		if !left[id] {
			t.Errorf("run %s was acknowledged, and never left the buffer", id)
		}
	}
	if u := must(b.Total(t.Context())); u.Entries != 0 {
		t.Errorf("%+v are left", u)
	}
}

// What a script would meet in its middle has moved away: it is not begun.
func TestScriptsAreNotHalfDoneWhileTheirSlotMoves(t *testing.T) {
	t.Parallel()
	c := stacktest.PrivateCluster(t, 2, 0, nil)
	b := onRedis(t, redisdb.Config{URL: c.URL(), Prefix: "m", Partitions: 16, Deadline: 10 * time.Second}, Config{})
	const p = 3
	from, to := c.Master(0), c.Master(1)
	if slot := must(b.raw.ClusterKeySlot(t.Context(), b.names.Leases(p)).Result()); slot >= 8192 {
		from, to = to, from
	}
	var runs []*run.Snapshot
	for i := range 6 {
		s := snap(p, fmt.Sprint(i))
		b.buffered(s)
		runs = append(runs, s)
	}
	token := NewToken()
	b.lease(p, 3, token)
	b.lapse(p)
	moving := stacktest.MoveSlot(t, b.names.Leases(p), from, to)
	moving.Move(b.entryName(runs[0]), b.names.Queue(p, redisdb.EnvTag(env)), b.recordName(runs[4]))
	for what, do := range map[string]func() error{
		"reap":   func() error { _, err := b.Reap(t.Context(), p, 100); return err },
		"revive": func() error { _, err := b.Revive(t.Context(), p, 100); return err },
		"ack":    func() error { return b.Ack(t.Context(), []Ack{{Ref: ref(runs[4])}})[0].Err },
		"fail":   func() error { return b.Fail(t.Context(), []Holding{{ref(runs[1]), token}})[0].Err },
		"lease": func() error {
			_, err := b.Lease(t.Context(), p, env, 1, NewToken(), time.Hour)
			return err
		},
		"accept": func() error { return b.Accept(t.Context(), []Acceptance{b.fresh(snap(p, "new"))})[0].Err },
	} {
		if err := do(); err == nil || redisdb.OutcomeUnknown(err) {
			t.Errorf("%s: %v, want it to be refused", what, err)
		}
	}
	moving.End()
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	if r := b.reap(p); r.Returned != 3 {
		t.Fatalf("%+v", r)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}
