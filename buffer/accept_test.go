package buffer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/run"
)

func TestAcceptFresh(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for _, key := range []string{"", "key"} {
		s := snap(3, key)
		s.AcceptedAt, s.KeyUntil = 7, 9 // whatever the caller's copy says
		before := b.now()
		got := b.buffered(s)
		if got.Run != s.ID || got.AcceptedAt < before || got.AcceptedAt > b.now() {
			t.Fatalf("%+v", got)
		}
		want := run.Instant(0)
		if key != "" {
			want = got.AcceptedAt + hour
		}
		if got.Until != want {
			t.Fatalf("until %d, want %d", got.Until, want)
		}
		e, found := b.get(ref(s))
		if !found || e.Status != Queued || e.Ver != 0 || e.Now < got.AcceptedAt {
			t.Fatalf("%+v", e)
		}
		stored := *s
		stored.AcceptedAt, stored.KeyUntil = got.AcceptedAt, got.Until
		if fmt.Sprintf("%+v", e.Snapshot) != fmt.Sprintf("%+v", stored) {
			t.Fatalf("stored %+v, want %+v", e.Snapshot, stored)
		}
		if b.raw.TTL(t.Context(), b.entryName(s)).Val() != -1 {
			t.Fatal("an entry has a TTL")
		}
		if key == "" {
			continue
		}
		if r, want := b.record(s), fmt.Sprintf("1|b|%s|%d|%d|%s|-|%s", s.ID, got.AcceptedAt, got.Until, s.PayloadHash, env); r != want {
			t.Fatalf("record %q, want %q", r, want)
		}
		if d := b.raw.TTL(t.Context(), b.recordName(s)).Val(); d != -1 {
			t.Fatalf("the binding lives %s", d)
		}
		// The claim store sees the same.
		if r := b.claim(s, claim.NewToken()); r.State != claim.Bound || r.Run != s.ID || !r.Queued || r.PayloadHash != s.PayloadHash {
			t.Fatalf("claim %+v", r)
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// The same run again, in every state, is a no-op that says when it was accepted.
func TestAcceptAgain(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for _, key := range []string{"", "key"} {
		s := snap(2, key)
		first := b.buffered(s)
		token := NewToken()
		for _, step := range []func(){
			func() {},
			func() { b.lease(2, 1, token) },
			func() { b.lapse(2); b.reap(2) },
			func() { b.ack(Ack{Ref: ref(s)}) },
		} {
			step()
			before := b.state()
			a := b.fresh(s)
			if key != "" {
				a.Since = 0 // whatever the fence says
			}
			got := b.want(a, AlreadyThere)
			if got.AcceptedAt != first.AcceptedAt || got.Until != first.Until || got.Run != s.ID {
				t.Fatalf("%+v, first %+v", got, first)
			}
			if after := b.state(); after != before {
				t.Fatalf("a repeated accept changed\n%s\nto\n%s", before, after)
			}
		}
	}
}

// What stands in the record of the key, and what an accept makes of it.
func TestAcceptMeets(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	mine, theirs := claim.NewToken(), claim.NewToken()
	pending := func(token claim.Token, acc, ends run.Instant, flags string) string {
		return fmt.Sprintf("1|p|%s|%d|%d|%s", tokenText(token), acc, ends, flags)
	}
	other := newID(1)
	resolved := func(acc, ends run.Instant) string { return fmt.Sprintf("1|r|%s|%d|%d|-|-", other, acc, ends) }
	bound := func(acc, ends run.Instant) string { return fmt.Sprintf("1|b|%s|%d|%d|-|-|%s", other, acc, ends, env) }
	live := Holder{ID: other, AcceptedAt: now - hour, Until: now + hour}
	ended := live
	ended.Ended = true
	over := live
	over.Until = now - 1
	const fresh, old, none = 0, 1, 2
	for name, c := range map[string]struct {
		record  string
		claimed bool
		look    int
		skipped bool
		holder  Holder
		floor   run.Instant
		state   State
		after   string // "" for the caller's binding; "=" for unchanged; else a prefix
		least   run.Instant
	}{
		"absent, fresh":                     {state: AcceptedNew},
		"absent, old look":                  {look: old, state: Stale, after: "="},
		"absent, no look":                   {look: none, state: Stale, after: "="},
		"absent, not asked":                 {look: none, skipped: true, state: AcceptedNew},
		"absent, claim lost, fresh":         {claimed: true, state: AcceptedNew},
		"absent, claim lost, old":           {claimed: true, look: old, state: Stale, after: "="},
		"floor, fresh":                      {record: "1|f|5", state: AcceptedNew},
		"floor ahead":                       {record: fmt.Sprintf("1|f|%d", now+hour), state: AcceptedNew, least: now + hour},
		"floor of Postgres":                 {floor: now + 2*hour, state: AcceptedNew, least: now + 2*hour},
		"my claim":                          {record: pending(mine, now-5, now+second, "-"), claimed: true, look: none, state: AcceptedNew},
		"my claim ahead":                    {record: pending(mine, now+hour, now+second, "c"), claimed: true, look: none, state: AcceptedNew, least: now + hour},
		"my claim, over":                    {record: pending(mine, now-9*second, now-1, "-"), claimed: true, look: none, state: AcceptedNew},
		"another's claim":                   {record: pending(theirs, now, now+5*second, "-"), state: PendingForeign, after: "1|p|"},
		"another's claim, mine lost":        {record: pending(theirs, now, now+5*second, "w"), claimed: true, state: PendingForeign, after: "="},
		"another's claim, not asked":        {record: pending(theirs, now, now+5*second, "w"), skipped: true, state: PendingForeign, after: "="},
		"another's claim, over":             {record: pending(theirs, now, now-1, "-"), state: Stale, after: "="},
		"resolved":                          {record: resolved(now-second, now+hour), state: Resolved, after: "="},
		"resolved, my claim lost":           {record: resolved(now-second, now+hour), claimed: true, state: Resolved, after: "="},
		"resolved, over":                    {record: resolved(now-second, now-1), state: AcceptedNew},
		"resolved, over, old look":          {record: resolved(now-second, now-1), look: old, state: Stale, after: "="},
		"resolved, it is the holder":        {record: resolved(now-hour, now+hour), holder: live, state: HeldBy, after: "="},
		"resolved, it is the holder, ended": {record: resolved(now-hour, now+hour), holder: ended, state: AcceptedNew},
		"resolved, ended, old look":         {record: resolved(now-hour, now+hour), holder: ended, look: old, state: Stale, after: "="},
		"bound, entry gone":                 {record: bound(now-second, now+hour), state: AcceptedNew},
		"bound, entry gone, old look":       {record: bound(now-second, now+hour), look: old, state: Stale, after: "="},
		"held":                              {holder: live, state: HeldBy, after: "="},
		"held, old look":                    {holder: live, look: old, state: Stale, after: "="},
		"held, floor before":                {record: fmt.Sprintf("1|f|%d", now-2*hour), holder: live, state: HeldBy, after: "="},
		"held, reset since":                 {record: fmt.Sprintf("1|f|%d", now-second), holder: live, state: Stale, after: "="},
		"held, later run since":             {record: bound(now-second, now-1), holder: Holder{ID: newID(1), AcceptedAt: now - hour, Until: now + hour}, state: Stale, after: "="},
		"ended":                             {holder: ended, state: AcceptedNew},
		"over":                              {holder: over, state: AcceptedNew},
		"held, my claim":                    {record: pending(mine, now-5, now+second, "-"), claimed: true, holder: live, state: HeldBy, after: "1|r|" + other.String() + fmt.Sprintf("|%d|%d|", now-hour, now+hour)},
		"held, my claim, reset since":       {record: pending(mine, now-5, now+second, "c"), claimed: true, holder: live, state: Stale, after: fmt.Sprintf("1|f|%d", now-4)},
		"ended, my claim, reset since":      {record: pending(mine, now-5, now+second, "c"), claimed: true, holder: ended, state: AcceptedNew},
	} {
		s := snap(1, name)
		if c.record != "" {
			b.put(s, c.record)
		}
		a := Acceptance{Snapshot: s, Holder: c.holder, Floor: c.floor, CheckSkipped: c.skipped}
		if c.claimed {
			a.Token = mine
		}
		switch c.look {
		case fresh:
			a.Since, a.Epoch = b.now(), b.epoch()
		case old:
			a.Since, a.Epoch = b.now()-2*second, b.epoch()
		}
		got := b.accept(a)
		if got.State != c.state {
			t.Errorf("%s: %s, want %s", name, got.State, c.state)
			continue
		}
		record := b.record(s)
		switch {
		case c.after == "=" && record != c.record, c.after != "=" && !strings.HasPrefix(record, c.after):
			t.Errorf("%s: record %q", name, record)
		case c.after == "" && !strings.HasPrefix(record, "1|b|"+s.ID.String()+"|"):
			t.Errorf("%s: record %q", name, record)
		}
		if _, found := b.get(ref(s)); found != (c.state == AcceptedNew) {
			t.Errorf("%s: entry there: %t", name, found)
		}
		if c.state == AcceptedNew && (got.AcceptedAt < now || got.AcceptedAt < c.least || c.least > 0 && got.AcceptedAt != c.least) {
			t.Errorf("%s: accepted at %d, least %d", name, got.AcceptedAt, c.least)
		}
		if (c.state == HeldBy || c.state == Resolved) && got.Run != other {
			t.Errorf("%s: %+v", name, got)
		}
		if c.state == PendingForeign && (got.Wait <= 0 || got.Wait > 5*time.Second || !strings.HasSuffix(record, "|w")) {
			t.Errorf("%s: wait %s, record %q", name, got.Wait, record)
		}
	}
	if err := b.sound(); err != nil {
		t.Error(err)
	}
}

// Cases 22 to 26: a binding counts as long as its interval and its entry last.
func TestAcceptBound(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	first := snap(1, "key")
	at := b.buffered(first)
	for _, queued := range []bool{true, false} {
		got := b.want(b.fresh(snap(1, "key")), BoundTo)
		if got.Run != first.ID || got.AcceptedAt != at.AcceptedAt || got.Until != at.Until || got.PayloadHash != first.PayloadHash || got.Queued != queued {
			t.Fatalf("%+v", got)
		}
		b.lease(1, 1, NewToken())
	}
	// Postgres says that it failed there already: the key is free.
	a := b.fresh(snap(1, "key"))
	a.Holder = Holder{ID: first.ID, AcceptedAt: at.AcceptedAt, Until: at.Until, Ended: true}
	second := b.want(a, AcceptedNew)
	if second.AcceptedAt <= at.AcceptedAt {
		t.Fatalf("accepted at %d after %d", second.AcceptedAt, at.AcceptedAt)
	}
	// The first's ack does not touch the second's binding (case 25).
	before := b.record(first)
	b.ack(Ack{Ref: ref(first)})
	if b.record(first) != before {
		t.Fatalf("record %q, was %q", b.record(first), before)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Since of another server, from the future, or of none, is no fence.
func TestFence(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now, epoch := b.now(), b.epoch()
	for i, c := range []struct {
		since run.Instant
		epoch string
		state State
	}{
		{now, epoch, AcceptedNew},
		{now, "x " + epoch + " y", AcceptedNew},
		{now, strings.Repeat("0", 40), Stale},
		{now, "", Stale},
		{0, epoch, Stale},
		{now + hour, epoch, Stale},
		{now - 1100*second/1000, epoch, Stale},
	} {
		b.want(Acceptance{Snapshot: snap(0, fmt.Sprint(i)), Since: c.since, Epoch: c.epoch}, c.state)
	}
	// What the connection keeps is what accept itself has heard.
	if at, _, heard := b.db.LastTime(); heard != epoch || at < now {
		t.Fatalf("%d %q", at, heard)
	}
	at, _, heard := b.db.LastTime()
	b.want(Acceptance{Snapshot: snap(0, "again"), Since: at, Epoch: heard}, AcceptedNew)
}

// A look that missed, then a whole life of another run of the key, then the
// accept: the record that the ack left is in its way.
func TestAcceptAfterAnothersLife(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	late := b.fresh(snap(1, "key"))
	first := snap(1, "key")
	b.buffered(first)
	b.lease(1, 1, NewToken())
	b.ack(Ack{Ref: ref(first)})
	got := b.want(late, Resolved)
	if got.Run != first.ID {
		t.Fatalf("%+v", got)
	}
	b.raw.Del(t.Context(), b.recordName(first)) // its minute is over
	late.Since -= 2 * second
	b.want(late, Stale)
}

func TestBounds(t *testing.T) {
	t.Parallel()
	b := onSharedWith(t, Config{MaxEntries: 3})
	var all []*run.Snapshot
	var batch []Acceptance
	for i := range 5 {
		s := snap(1, "")
		if i%2 == 1 {
			s = snapIn("other", 1, fmt.Sprint(i))
		}
		all, batch = append(all, s), append(batch, b.fresh(s))
	}
	batch = append(batch, b.fresh(snap(2, ""))) // another partition
	for range 2 {
		for i, a := range b.Accept(t.Context(), batch) {
			if full := i == 3 || i == 4; a.Err != nil || (a.State == Full) != full {
				t.Fatalf("run %d: %+v", i, a)
			}
		}
	}
	b.lease(1, 1, NewToken())
	b.ack(Ack{Ref: ref(all[0])})
	b.want(b.fresh(all[3]), AcceptedNew)
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}

	small := onSharedWith(t, Config{MaxBytes: 1000})
	s := snap(1, "")
	s.Trigger.Payload = make([]byte, 2000)
	small.want(small.fresh(s), Full)
	small.buffered(snap(1, ""))
	// A claim under which nothing could be accepted still stands.
	mine := claim.NewToken()
	k := snap(1, "key")
	k.Trigger.Payload = s.Trigger.Payload
	small.claim(k, mine)
	a := Acceptance{Snapshot: k, Token: mine}
	small.want(a, Full)
	if r := small.claim(k, claim.NewToken()); r.State != claim.Pending {
		t.Fatalf("%+v", r)
	}
}

// Where no key of a call has a record, its runs are written as if nothing of them were
// there. What is there all the same is neither written over nor counted twice, and keeps
// nothing from the others.
func TestAcceptBesideWhatHasNoRecord(t *testing.T) {
	t.Parallel()
	b := onSharedWith(t, Config{MaxEntries: 3})
	there, plain, foreign, fresh := snap(1, "there"), snap(1, ""), snap(1, "foreign"), snap(1, "fresh")
	first := b.buffered(there)
	b.buffered(plain)
	b.raw.Del(t.Context(), b.recordName(there)) // as after a loss that only the entry was restored from
	b.raw.HSet(t.Context(), b.recordName(foreign), "what", "ever")
	batch := []Acceptance{b.fresh(there), b.fresh(fresh), b.fresh(plain), b.fresh(foreign)}
	for i, got := range b.Accept(t.Context(), batch) {
		want := []State{AlreadyThere, AcceptedNew, AlreadyThere, 0}[i]
		if got.State != want || (got.Err != nil) != (want == 0) || i == 0 && got.AcceptedAt != first.AcceptedAt {
			t.Fatalf("run %d: %+v", i, got)
		}
	}
	if b.raw.HGet(t.Context(), b.recordName(foreign), "what").Val() != "ever" {
		t.Fatal("what this build does not know was written over")
	}
	// The partition is full, and a repeat needs no room.
	for i, got := range b.Accept(t.Context(), []Acceptance{b.fresh(plain), b.fresh(snap(1, "one more"))}) {
		if want := []State{AlreadyThere, Full}[i]; got.State != want {
			t.Fatalf("run %d: %+v", i, got)
		}
	}
	b.raw.Del(t.Context(), b.recordName(foreign))
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// A batch bigger than one call, with repeated keys and ids and mistakes in it.
func TestBigBatch(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	var batch []Acceptance
	a := b.fresh(nil)
	for i := range 2*maxItems + 9 {
		a.Snapshot = snapIn(fmt.Sprintf("env%d", i%5), i%partitions, fmt.Sprint("key", i))
		batch = append(batch, a)
	}
	n := len(batch)
	batch = append(batch, batch[0], b.fresh(snapIn("env0", 0, "key0")), Acceptance{}, Acceptance{Snapshot: &run.Snapshot{}})
	foreign := snap(1, "")
	foreign.ID = run.MintID(idClock, 900)
	bad := b.fresh(snap(1, ""))
	bad.Floor = -1
	batch = append(batch, b.fresh(foreign), bad)
	for i, out := range b.Accept(t.Context(), batch) {
		want := AcceptedNew
		switch {
		case i == n:
			want = AlreadyThere
		case i == n+1:
			want = BoundTo
		case i > n+1:
			want = 0
		}
		if out.State != want || (out.Err != nil) != (want == 0) {
			t.Fatalf("run %d: %+v, want %s", i, out, want)
		}
	}
	if got := b.Accept(t.Context(), nil); len(got) != 0 {
		t.Fatalf("no runs: %+v", got)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Waiters of the claim are told, whatever ended it.
func TestAcceptAnnounces(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	sub := b.raw.Subscribe(t.Context(), b.names.Wake())
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, holder := range []Holder{{}, {ID: newID(1), AcceptedAt: 5, Until: b.now() + hour}} {
		s, mine := snap(1, fmt.Sprint(i)), claim.NewToken()
		b.claim(s, mine)
		b.claim(s, claim.NewToken()) // waits
		b.accept(Acceptance{Snapshot: s, Token: mine, Holder: holder})
		msg, err := sub.ReceiveMessage(t.Context())
		if err != nil || msg.Payload != s.Hash.String() {
			t.Fatalf("%v %v", msg, err)
		}
	}
}

// A run's interval begins when it is accepted, not when its key was claimed: what was
// merged, reset or answered in between lies before it.
func TestAcceptedWhenAccepted(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s, token := snap(1, "key"), claim.NewToken()
	claimed := b.claim(s, token)
	a := b.fresh(s) // since: Redis's time after the claim
	a.Token = token
	if got := b.want(a, AcceptedNew); got.AcceptedAt < a.Since || got.AcceptedAt <= claimed.AcceptedAt {
		t.Fatalf("claimed at %d, accepted at %d, which was before %d", claimed.AcceptedAt, got.AcceptedAt, a.Since)
	}
}
