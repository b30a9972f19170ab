package buffer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

func ids(leases []Lease) []run.ID {
	list := make([]run.ID, len(leases))
	for i, l := range leases {
		list[i] = l.ID
	}
	return list
}

func (b *bench) held(name string, replies []HeldReply, want Held) {
	b.t.Helper()
	for _, r := range replies {
		if r.Err != nil || r.Held != want {
			b.t.Fatalf("%s: %+v, want %d", name, r, want)
		}
	}
}

// First in, first out; what comes back goes to the front, in its order.
func TestQueue(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	var all []run.ID
	accepted := map[run.ID]run.Instant{}
	for i := range 10 {
		s := snap(1, fmt.Sprint(i))
		accepted[s.ID] = b.buffered(s).AcceptedAt
		all = append(all, s.ID)
	}
	token := NewToken()
	first := b.lease(1, 3, token)
	if !slices.Equal(ids(first), all[:3]) {
		t.Fatalf("leased %v", ids(first))
	}
	for _, l := range first {
		if l.Err != nil || l.Entry.Status != Queued || l.Token != token || l.Entry.Snapshot.AcceptedAt != accepted[l.ID] || l.Entry.Snapshot.ID != l.ID {
			t.Fatalf("%+v", l)
		}
	}
	second := b.lease(1, 2, NewToken())
	if !slices.Equal(ids(second), all[3:5]) {
		t.Fatalf("leased %v", ids(second))
	}
	b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: first[1].Ref, Token: token, Count: true}, {Ref: first[2].Ref, Token: token}}), HeldDone)
	third := b.lease(1, 100, NewToken())
	if want := append([]run.ID{all[1], all[2]}, all[5:]...); !slices.Equal(ids(third), want) {
		t.Fatalf("leased %v, want %v", ids(third), want)
	}
	for i, l := range third {
		if l.Entry.Attempts != map[bool]int{true: 1}[i == 0] || l.Entry.Snapshot.AcceptedAt != accepted[l.ID] {
			t.Fatalf("%d: %+v", i, l.Entry)
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	// Case 117: all drainers die; everything comes back, in its order.
	b.lapse(1)
	if r := b.reap(1); r != (Reaped{10, 10, 10}) {
		t.Fatalf("%+v", r)
	}
	if r := b.reap(1); r != (Reaped{}) {
		t.Fatalf("%+v", r)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	last := b.lease(1, 100, NewToken())
	if !slices.Equal(ids(last), all) {
		t.Fatalf("leased %v, want %v", ids(last), all)
	}
	for _, l := range last {
		if l.Entry.Lapsed != 1 || l.Entry.Status != Returned {
			t.Fatalf("%+v", l.Entry)
		}
	}
	// A live lease is not reaped.
	if r := b.reap(1); r != (Reaped{}) {
		t.Fatalf("%+v", r)
	}
}

// Case 104: only who holds the lease can prolong it, give it back or fail it;
// who lost it disturbs nobody.
func TestLateDrainer(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s := snap(1, "key")
	b.buffered(s)
	late, next := NewToken(), NewToken()
	b.lease(1, 1, late)
	b.held("extend", b.Extend(t.Context(), []Holding{{ref(s), late}}, 2*time.Hour), HeldDone)
	b.lapse(1)
	// Over, but nobody took it: it is still the holder's.
	b.held("extend", b.Extend(t.Context(), []Holding{{ref(s), late}}, time.Hour), HeldDone)
	if r := b.reap(1); r.Met != 0 {
		t.Fatalf("%+v", r)
	}
	b.lapse(1)
	b.reap(1)
	for _, status := range []string{"returned", "leased"} {
		if got := b.status(ref(s)); got != status {
			t.Fatalf("status %s, want %s", got, status)
		}
		before := b.state()
		b.held("extend", b.Extend(t.Context(), []Holding{{ref(s), late}}, time.Hour), HeldLost)
		b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(s), Token: late, Count: true}}), HeldLost)
		b.held("fail", b.Fail(t.Context(), []Holding{{ref(s), late}}), HeldLost)
		if b.state() != before {
			t.Fatal("a late drainer changed something")
		}
		b.lease(1, 1, next)
	}
	// But its ack is a fact.
	if a := b.ack(Ack{Ref: ref(s)}); !a.Done() {
		t.Fatalf("%+v", a)
	}
	if b.status(ref(s)) != "materialised" {
		t.Fatalf("status %s", b.status(ref(s)))
	}
	b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(s), Token: next}}), HeldLost)
	b.held("fail", b.Fail(t.Context(), []Holding{{ref(s), next}}), HeldLost)
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Cases 124 and 138: a delayed retry leaves the queue to the others, and comes
// back to the front.
func TestDelay(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s, other := snap(1, "key"), snap(1, "other")
	b.buffered(s)
	b.buffered(other)
	token := NewToken()
	b.lease(1, 1, token)
	for _, want := range []Held{HeldDone, HeldLost} { // repeated, it finds the lease given back
		b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(s), Token: token, Delay: time.Hour, Count: true}}), want)
	}
	if e, _ := b.get(ref(s)); e.Attempts != 1 || e.Status != Leased {
		t.Fatalf("%+v", e)
	}
	if r := b.reap(1); r.Met != 0 {
		t.Fatalf("%+v", r)
	}
	b.held("extend", b.Extend(t.Context(), []Holding{{ref(s), token}, {ref(s), Token{}}}, time.Hour), HeldLost)
	if got := ids(b.lease(1, 9, NewToken())); !slices.Equal(got, []run.ID{other.ID}) {
		t.Fatalf("leased %v", got)
	}
	b.lapse(1)
	if r := b.reap(1); r != (Reaped{2, 1, 2}) {
		t.Fatalf("%+v", r)
	}
	if e, _ := b.get(ref(s)); e.Lapsed != 0 || e.Status != Returned {
		t.Fatalf("%+v", e)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

func TestAck(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for _, from := range []string{"queued", "leased", "returned"} {
		for _, alias := range []bool{false, true} {
			s := snap(1, fmt.Sprint(from, alias))
			at := b.buffered(s)
			if from != "queued" {
				b.lease(1, 1, NewToken())
			}
			if from == "returned" {
				b.lapse(1)
				b.reap(1)
			}
			a := Ack{Ref: ref(s)}
			canonical := s.ID
			if alias {
				canonical = newID(5)
				a.Canonical = canonical
			}
			for i := range 2 {
				before := b.state()
				if got := b.ack(a); !got.Done() {
					t.Fatalf("%+v", got)
				}
				if i == 1 && b.state() != before {
					t.Fatal("a repeated ack changed something")
				}
			}
			if d := b.raw.TTL(t.Context(), b.entryName(s)).Val(); d <= 0 || d > Grace {
				t.Fatalf("the entry lives %s", d)
			}
			want := fmt.Sprintf("1|r|%s|%d|%d|%s|-", canonical, at.AcceptedAt, at.Until, s.PayloadHash)
			if got := b.record(s); got != want {
				t.Fatalf("record %q, want %q", got, want)
			}
			if d := b.raw.TTL(t.Context(), b.recordName(s)).Val(); d <= 50*time.Second || d > life {
				t.Fatalf("the record lives %s", d)
			}
			if r := b.claim(s, claim.NewToken()); r.State != claim.Resolved || r.Run != canonical {
				t.Fatalf("%+v", r)
			}
			if e, found := b.get(ref(s)); !found || e.Status != Materialised {
				t.Fatalf("%+v", e)
			}
			if err := b.sound(); err != nil {
				t.Fatal(err)
			}
			if n := b.raw.LLen(t.Context(), b.names.Queue(1, env)).Val(); n != 0 {
				t.Fatalf("%d references are left", n)
			}
		}
	}
	if r, err := b.List(t.Context(), env, Page{Limit: 10}); err != nil || len(r) != 0 {
		t.Fatalf("%v %v", r, err)
	}
}

// An ack resolves its own run's binding; the key may be another's by now.
func TestAckLeavesAnothersRecord(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	first, second := snap(1, "key"), snap(1, "key")
	was := b.buffered(first)
	if _, err := b.claims.Reset(t.Context(), 1, first.Hash, was.AcceptedAt+1); err != nil {
		t.Fatal(err)
	}
	b.buffered(second)
	record := b.record(second)
	if got := b.ack(Ack{Ref: ref(first)}); !got.Done() || b.record(second) != record {
		t.Fatalf("%+v, record %q, was %q", got, b.record(second), record)
	}
	if r := b.claim(second, claim.NewToken()); r.State != claim.Bound || r.Run != second.ID {
		t.Fatalf("%+v", r)
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for _, key := range []string{"", "key"} {
		s := snap(1, key)
		at := b.buffered(s)
		token := NewToken()
		b.held("fail", b.Fail(t.Context(), []Holding{{ref(s), token}}), HeldLost) // never leased
		b.lease(1, 1, token)
		b.held("fail", b.Fail(t.Context(), []Holding{{ref(s), token}}), HeldDone)
		before := b.state()
		b.held("fail", b.Fail(t.Context(), []Holding{{ref(s), token}}), HeldGone)
		if b.state() != before || b.status(ref(s)) != "gone" {
			t.Fatal("not gone")
		}
		if key == "" {
			continue
		}
		if got := b.record(s); got != fmt.Sprintf("1|f|%d", at.AcceptedAt+1) {
			t.Fatalf("record %q", got)
		}
		if d := b.raw.TTL(t.Context(), b.recordName(s)).Val(); d <= 50*time.Second {
			t.Fatalf("the floor lives %s", d)
		}
		if r := b.claim(s, claim.NewToken()); r.State != claim.Claimed || r.AcceptedAt <= at.AcceptedAt {
			t.Fatalf("%+v", r)
		}
	}
	// The key is another's by now: its record stays.
	for i, record := range []string{"1|f|12345", fmt.Sprintf("1|b|%s|5|6|-|-|%s", newID(1), env), fmt.Sprintf("1|r|%s|5|6|-|-", newID(1))} {
		s, token := snap(1, fmt.Sprint("taken", i)), NewToken()
		b.buffered(s)
		b.lease(1, 1, token)
		b.put(s, record)
		b.held("fail", b.Fail(t.Context(), []Holding{{ref(s), token}}), HeldDone)
		if b.record(s) != record {
			t.Fatalf("record %q", b.record(s))
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	if n := b.raw.Exists(t.Context(), b.names.Usage(1), b.names.Envs(1), b.names.Leases(1)).Val(); n != 0 {
		t.Fatalf("%d names are left of an empty partition", n)
	}
}

// Cases 28 and 29: nothing is written for an entry that is not there, and a
// reference to one is taken away when it is met.
func TestNothingOfNothing(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s, token := snap(1, "key"), NewToken()
	absent := ref(s)
	unminted := Ref{env, must(run.ParseID("imported"))}
	before := b.state()
	for _, r := range []Ref{absent, unminted} {
		b.held("extend", b.Extend(t.Context(), []Holding{{r, token}}, time.Hour), HeldGone)
		b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: r, Token: token, Count: true}, {Ref: r, Token: token, Delay: time.Hour}}), HeldGone)
		b.held("fail", b.Fail(t.Context(), []Holding{{r, token}}), HeldGone)
		if a := b.ack(Ack{Ref: r, Ver: 3}); !a.Done() {
			t.Fatalf("%+v", a)
		}
		if _, found := b.get(r); found {
			t.Fatal("found")
		}
		_, outcome, err := b.Patch(t.Context(), r, func(*Entry) (run.Patch, error) { return run.Patch{Delay: 1}, nil })
		if outcome != NotFound || err != nil {
			t.Fatalf("%d %v", outcome, err)
		}
	}
	if b.state() != before {
		t.Fatalf("something was written:\n%s", b.state())
	}
	// Orphans: queued, then leased, then removed by hand.
	var all []*run.Snapshot
	for i := range 6 {
		s := snap(1, fmt.Sprint(i))
		b.buffered(s)
		all = append(all, s)
	}
	for _, i := range []int{0, 2} {
		b.raw.Del(t.Context(), b.entryName(all[i]))
	}
	if got := ids(b.lease(1, 2, token)); !slices.Equal(got, []run.ID{all[1].ID, all[3].ID}) {
		t.Fatalf("leased %v", got)
	}
	b.raw.Del(t.Context(), b.entryName(all[1]))
	b.lapse(1)
	if r := b.reap(1); r != (Reaped{1, 1, 2}) {
		t.Fatalf("%+v", r)
	}
	got := b.lease(1, 9, NewToken())
	if want := []run.ID{all[3].ID, all[4].ID, all[5].ID}; !slices.Equal(ids(got), want) {
		t.Fatalf("leased %v, want %v", ids(got), want)
	}
	for _, l := range got {
		b.ack(Ack{Ref: l.Ref})
	}
	if err := b.sound(); err != nil { // counts, too, have found back
		t.Fatal(err)
	}
}

// The heavy are met in pieces; the light beside them is not touched.
func TestHeads(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	var first *run.Snapshot
	var at run.Instant
	for i := range 40 {
		s := snapIn("heavy", 2, fmt.Sprint(i))
		out := b.buffered(s)
		if i == 0 {
			first, at = s, out.AcceptedAt
		}
	}
	light := snapIn("a:light\n{x}", 2, "key")
	light.Trigger.Organisation = "börse|"
	b.buffered(light)
	b.buffered(snapIn("heavy", 5, "elsewhere"))
	heads, err := b.Heads(t.Context(), []int{5, 2, 0})
	if err != nil {
		t.Fatal(err)
	}
	p := heads[1]
	if len(heads) != 3 || p.Partition != 2 || len(p.Heads) != 2 || p.Usage.Entries != 41 || p.Now < at || len(heads[0].Heads) != 1 || len(heads[2].Heads) != 0 {
		t.Fatalf("%+v", heads)
	}
	if h := p.Heads[0]; h.Environment != "a:light\n{x}" || h.Organisation != "börse|" || h.Depth != 1 || h.Oldest != light.ID || h.Usage.Entries != 1 {
		t.Fatalf("%+v", h)
	}
	if h := p.Heads[1]; h.Environment != "heavy" || h.Depth != 40 || h.Oldest != first.ID || h.AcceptedAt != at {
		t.Fatalf("%+v", h)
	}
	leases, err := b.Lease(t.Context(), 2, "a:light\n{x}", 9, NewToken(), time.Hour)
	if err != nil || len(leases) != 1 || leases[0].Entry.Snapshot.Trigger.Environment != light.Trigger.Environment {
		t.Fatalf("%+v %v", leases, err)
	}
	b.lapse(2)
	p = must(b.Heads(t.Context(), []int{2}))[0]
	if p.Leased != 1 || p.Due != 1 || p.Heads[0].Depth != 0 || !p.Heads[0].Oldest.IsZero() || len(p.Heads) != 2 {
		t.Fatalf("%+v", p)
	}
	b.ack(Ack{Ref: leases[0].Ref})
	if p = must(b.Heads(t.Context(), []int{2}))[0]; len(p.Heads) != 1 {
		t.Fatalf("%+v", p)
	}
	if u := must(b.Usage(t.Context(), "heavy")); u.Entries != 41 || u.Bytes == 0 {
		t.Fatalf("%+v", u)
	}
	if u := must(b.Total(t.Context())); u.Entries != 41 {
		t.Fatalf("%+v", u)
	}
	if u := must(b.Usage(t.Context(), "*")); u != (Usage{}) {
		t.Fatalf("an environment called *: %+v", u)
	}
	for _, bad := range [][]int{{-1}, {partitions}} {
		if _, err := b.Heads(t.Context(), bad); err == nil {
			t.Fatal(bad)
		}
	}
}

// Case 118: the sweep begins with the oldest.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	var refs []Ref
	for i := range 5 {
		s := snap(1, fmt.Sprint(i))
		s.ID = run.MintID(idClock.Add(time.Duration(i)*time.Second), 1)
		b.buffered(s)
		refs = append(refs, ref(s))
	}
	if stale := must(b.Sweep(t.Context(), 1, time.Hour, 100)); len(stale) != 0 {
		t.Fatalf("%+v", stale)
	}
	stale := must(b.Sweep(t.Context(), 1, 0, 3))
	if len(stale) != 3 {
		t.Fatalf("%+v", stale)
	}
	for i, s := range stale {
		if s.Ref != refs[i] || s.Organisation != "org" || s.Dwell < 0 || s.Status != Queued || s.AcceptedAt == 0 {
			t.Fatalf("%d: %+v", i, s)
		}
	}
	if stale := must(b.Sweep(t.Context(), 0, 0, 3)); len(stale) != 0 {
		t.Fatalf("%+v", stale)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	var all []run.ID
	for i := range 25 {
		s := snap(i%partitions, fmt.Sprint(i))
		s.ID = run.MintID(idClock.Add(time.Duration(i)*time.Millisecond), i%partitions)
		b.buffered(s)
		all = append(all, s.ID)
	}
	b.buffered(snapIn("other", 1, "x"))
	slices.Reverse(all) // newest first
	for _, c := range []struct {
		page Page
		want []run.ID
	}{
		{Page{Limit: 1000}, all},
		{Page{Limit: 4}, all[:4]},
		{Page{Limit: 4, Before: all[3]}, all[4:8]},
		{Page{Limit: 9, Before: all[20]}, all[21:]},
		{Page{Limit: 3, After: all[10]}, all[7:10]},
		{Page{Limit: 30, After: all[2]}, all[:2]},
		{Page{Limit: 5, After: all[0]}, nil},
		{Page{Limit: 5, Before: all[24]}, nil},
	} {
		got, err := b.List(t.Context(), env, c.page)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v %v, want %v", c.page, got, err, c.want)
		}
	}
	for _, bad := range []Page{{}, {Limit: 1001}, {Limit: 1, Before: all[0], After: all[1]}} {
		if _, err := b.List(t.Context(), env, bad); err == nil {
			t.Errorf("%+v", bad)
		}
	}
}

// What this build can not read is reported, never returned to the queue for
// ever, and never lost.
func TestUnknownVersions(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	token := NewToken()
	whole, inside, patched, good := snap(1, "whole"), snap(1, "inside"), snap(1, "patched"), snap(1, "good")
	for _, s := range []*run.Snapshot{whole, inside, patched, good} {
		b.buffered(s)
	}
	patch(t, b, ref(patched), run.Patch{Delay: 5})
	next := func(text string, at int) string { return text[:at] + string(text[at]+1) + text[at+1:] }
	f := b.fields(b.entryName(patched))
	snapshot, change := b.fields(b.entryName(inside))["s"], f["p1"]
	b.change(b.entryName(whole), "2", "3")
	b.change(b.entryName(inside), snapshot, next(snapshot, 0))
	b.change(b.entryName(patched), change, next(change, nonceLen))
	for _, s := range []*run.Snapshot{whole, inside, patched} {
		if g := b.Get(t.Context(), []Ref{ref(good), ref(s)}); g[0].Err != nil || !errors.Is(g[1].Err, run.ErrUnknownVersion) || g[1].Found {
			t.Fatalf("%+v", g)
		}
	}
	before := b.raw.Get(t.Context(), b.entryName(whole)).Val()
	leases := b.lease(1, 9, token)
	if len(leases) != 4 {
		t.Fatalf("leased %v", ids(leases))
	}
	for i, l := range leases {
		if want := i == 3; (l.Err == nil) != want || !want && !errors.Is(l.Err, run.ErrUnknownVersion) {
			t.Fatalf("%d: %+v", i, l)
		}
	}
	for range 2 {
		for name, err := range map[string]error{
			"extend":  b.Extend(t.Context(), []Holding{{ref(whole), token}}, time.Hour)[0].Err,
			"requeue": b.Requeue(t.Context(), []Requeue{{Ref: ref(whole), Token: token}})[0].Err,
			"fail":    b.Fail(t.Context(), []Holding{{ref(whole), token}})[0].Err,
			"ack":     b.Ack(t.Context(), []Ack{{Ref: ref(whole)}})[0].Err,
			"accept":  b.Accept(t.Context(), []Acceptance{b.fresh(whole)})[0].Err,
		} {
			if !errors.Is(err, run.ErrUnknownVersion) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if after := b.raw.Get(t.Context(), b.entryName(whole)).Val(); after != before {
		t.Fatalf("%q became %q", before, after)
	}
	p := must(b.Heads(t.Context(), []int{1}))[0]
	if p.Dead != 3 || len(p.DeadRefs) != 3 || !strings.HasSuffix(p.DeadRefs[0], whole.ID.String()) || p.Leased != 1 || p.Heads[0].Depth != 0 {
		t.Fatalf("%+v", p)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
	// Acks of a whole entry with a patch that can not be read say so.
	if a := b.Ack(t.Context(), []Ack{{Ref: ref(patched)}})[0]; !errors.Is(a.Err, run.ErrUnknownVersion) || a.Done() {
		t.Fatalf("%+v", a)
	}
	// This build still does not know the form of one; a later one knows them all.
	if n, err := b.Revive(t.Context(), 1, 100); err != nil || n != 2 {
		t.Fatalf("%d %v", n, err)
	}
	b.change(b.entryName(whole), "3", "2")
	b.change(b.entryName(inside), next(snapshot, 0), snapshot)
	b.change(b.entryName(patched), next(change, nonceLen), change)
	if n, err := b.Revive(t.Context(), 1, 100); err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	got := b.lease(1, 9, NewToken())
	if len(got) != 3 {
		t.Fatalf("leased %v", ids(got))
	}
	for _, l := range append(got, leases[3]) {
		if l.Err != nil {
			t.Fatal(l.Err)
		}
		b.ack(Ack{Ref: l.Ref, Ver: l.Entry.Ver})
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}
