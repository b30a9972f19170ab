package claim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

func TestClaimAbsent(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	before := b.now()
	r := b.want(k.op(Claim, mine), Claimed)
	after := b.now()
	within(t, r.AcceptedAt, before, after)
	f := fields(b.get(k))
	if want := fields(pending(mine, r.AcceptedAt, 0, "-")); len(f) != 6 || f[1] != "p" || f[2] != want[2] || f[3] != want[3] || f[5] != "-" {
		t.Fatalf("record %q", b.get(k))
	}
	within(t, instant(t, f[4]), before+10*second, after+10*second)
	if d := b.lives(k); d < 60*time.Second || d > 70*time.Second {
		t.Fatalf("record lives %s", d)
	}
}

// Case 136: a repeated claim does not wait for itself.
func TestClaimOwnTokenAgain(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	at := b.now()
	for _, deadline := range []run.Instant{at + 2*second, at - 2*second} { // live, and over but not taken
		b.put(k, pending(mine, at-5*second, deadline, "cw"))
		if r := b.want(k.op(Claim, mine), Claimed); r.AcceptedAt != at-5*second {
			t.Fatalf("accepted at %d, want %d", r.AcceptedAt, at-5*second)
		}
		f := fields(b.get(k))
		if instant(t, f[4]) < at+10*second || f[5] != "cw" {
			t.Fatalf("record %q", b.get(k))
		}
	}
}

// A claim that a flight left behind is entered again by a later one, perhaps after an
// outage. What is accepted under it begins now: else its run would hold the key for
// less than its time to live, or would be over when it is made.
func TestClaimEnteredAgain(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	at := b.now()
	op := k.op(Claim, mine)
	op.Anew = true
	for _, acc := range []run.Instant{at - 5*second, at + hour} {
		b.put(k, pending(mine, acc, at+2*second, "cw"))
		r := b.want(op, Claimed)
		if r.AcceptedAt < max(acc, at) || r.AcceptedAt > max(acc, b.now()) {
			t.Fatalf("accepted at %d, was %d", r.AcceptedAt, acc)
		}
		if f := fields(b.get(k)); instant(t, f[3]) != r.AcceptedAt || f[5] != "cw" {
			t.Fatalf("record %q", b.get(k))
		}
	}
}

func TestClaimForeignPending(t *testing.T) {
	t.Parallel()
	b, k, theirs := onShared(t), keyOf("a"), NewToken()
	at := b.now()
	for flags, want := range map[string]string{"-": "w", "w": "w", "c": "cw", "cw": "cw", "wc": "wc"} {
		record := pending(theirs, at, at+5*second, flags)
		b.put(k, record)
		for range 2 {
			r := b.want(k.op(Claim, NewToken()), Pending)
			if r.Wait <= 0 || r.Wait > 5*time.Second {
				t.Fatalf("wait %s", r.Wait)
			}
			if got := b.get(k); got != strings.TrimSuffix(record, "|"+flags)+"|"+want {
				t.Fatalf("record %q after flags %q", got, flags)
			}
		}
		if d := b.lives(k); d > time.Minute || d < 50*time.Second {
			t.Fatalf("a waiter changed the record's life: %s", d)
		}
	}
}

// The clock of Redis steps back by an hour: no claim lives longer for it.
func TestClaimDeadlineFarAhead(t *testing.T) {
	t.Parallel()
	b, k, theirs := onShared(t), keyOf("a"), NewToken()
	at := b.now() + hour
	b.put(k, pending(theirs, at, at+10*second, "c"))
	if r := b.want(k.op(Claim, NewToken()), Pending); r.Wait != MaxTTL {
		t.Fatalf("wait %s, want %s", r.Wait, MaxTTL)
	}
	f := fields(b.get(k))
	within(t, instant(t, f[4]), b.now()+20*second, b.now()+30*second)
	if f[5] != "cw" || instant(t, f[3]) != at {
		t.Fatalf("record %q", b.get(k))
	}
}

// Whatever the record holds, the next acceptance lies after it.
func TestAcceptanceRises(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	id := newID()
	now := b.now()
	past := now - hour
	for name, c := range map[string]struct {
		record   string
		observed run.ID
		least    run.Instant // 0: the clock decides
	}{
		"pending, over":                {pending(NewToken(), past, now-1, "w"), run.ID{}, 0},
		"pending, over, far ahead":     {pending(NewToken(), now+hour, now-1, "-"), run.ID{}, now + hour + 1},
		"resolved, over":               {resolved(id, past, now-1), run.ID{}, 0},
		"resolved, over, far ahead":    {resolved(id, now+hour, now-1), run.ID{}, now + hour + 1},
		"resolved, observed":           {resolved(id, past, now+hour), id, 0},
		"resolved, observed far ahead": {resolved(id, now+2*hour, now+9*hour), id, now + 2*hour + 1},
		"floor":                        {floor(past), run.ID{}, 0},
		"floor far ahead":              {floor(now + hour), run.ID{}, now + hour},
	} {
		k := keyOf(name)
		b.put(k, c.record)
		op := k.op(Claim, NewToken())
		op.Observed = c.observed
		r := b.want(op, Claimed)
		if c.least == 0 {
			within(t, r.AcceptedAt, now, b.now())
		} else if r.AcceptedAt != c.least {
			t.Errorf("%s: accepted at %d, want %d", name, r.AcceptedAt, c.least)
		}
		if f := fields(b.get(k)); instant(t, f[4]) > b.now()+10*second || f[5] != "-" {
			t.Errorf("%s: record %q", name, b.get(k))
		}
		if d := b.lives(k); c.least > 0 && (d < 61*time.Minute-10*time.Second || d > 62*time.Minute) {
			t.Errorf("%s: a record ahead of the clock lives %s", name, d)
		}
		// It goes on rising from there, through a release.
		b.want(k.op(Release, op.Token), Done)
		if f := fields(b.get(k)); f[1] != "f" || instant(t, f[2]) != r.AcceptedAt+1 {
			t.Errorf("%s: record %q", name, b.get(k))
		}
		if d := b.lives(k); c.least > 0 && d < 60*time.Minute {
			t.Errorf("%s: a floor ahead of the clock lives %s", name, d)
		}
		if next := b.want(k.op(Claim, NewToken()), Claimed); next.AcceptedAt <= r.AcceptedAt {
			t.Errorf("%s: accepted at %d after %d", name, next.AcceptedAt, r.AcceptedAt)
		}
	}
}

func TestClaimResolved(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	claimed := b.want(k.op(Claim, mine), Claimed)
	op := k.publish(mine, newID(), claimed.AcceptedAt, claimed.AcceptedAt+hour, false)
	op.RequestHash = run.DigestRequest("env", "task", "request")
	b.want(op, Done)
	if d := b.lives(k); d <= 55*time.Second || d > 60*time.Second {
		t.Fatalf("record lives %s", d)
	}
	want := Reply{
		State: Resolved, Run: op.Run, AcceptedAt: op.AcceptedAt, Until: op.Until,
		PayloadHash: op.PayloadHash, RequestHash: op.RequestHash,
	}
	before := b.get(k)
	for _, observed := range []run.ID{{}, newID()} {
		again := k.op(Claim, NewToken())
		again.Observed = observed
		if got := b.one(again); got != want {
			t.Fatalf("reply %+v, want %+v", got, want)
		}
	}
	if b.get(k) != before {
		t.Fatalf("a look changed the record to %q", b.get(k))
	}
}

// Case 15: a key of a second does not shorten the claim, nor does the record's
// Redis TTL end the interval.
func TestShortKeyLeavesClaimWhole(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	now := b.now()
	b.put(k, resolved(newID(), now-2*second, now-second))
	b.want(k.op(Claim, mine), Claimed)
	if r := b.want(k.op(Claim, NewToken()), Pending); r.Wait < 8*time.Second {
		t.Fatalf("claim after a short key ends in %s", r.Wait)
	}
	b.want(k.publish(mine, newID(), now, now+1, false), Done) // over when it is published
	if d := b.lives(k); d < 55*time.Second {
		t.Fatalf("the floor lives %s", d)
	}
	b.want(k.op(Claim, NewToken()), Claimed)
}

// Cases 12 and 13: who lost the claim changes nothing.
func TestLateOwner(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	late, id := NewToken(), newID()
	for name, record := range map[string]string{
		"another's claim": pending(NewToken(), now, now+5*second, "cw"),
		"over":            pending(NewToken(), now-9*second, now-1, "-"),
		"another's run":   resolved(newID(), now, now+hour),
		"a longer id":     resolved(must(run.ParseID(id.String()+"x")), now, now+hour),
		"absent":          "",
		"floor":           floor(now),
	} {
		k := keyOf(name)
		if record != "" {
			b.put(k, record)
		}
		for _, found := range []bool{false, true} {
			b.want(k.publish(late, id, now, now+hour, found), Lost)
		}
		b.want(k.op(Renew, late), Lost)
		release := Lost
		if name == "floor" {
			release = Done // so that a repeated release answers as the first
		}
		b.want(k.op(Release, late), release)
		if got := b.get(k); got != record {
			t.Errorf("%s: record became %q", name, got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// An owner whose deadline has passed, but whom nobody replaced, is the owner.
func TestLateButNotReplaced(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	mine := NewToken()
	over := pending(mine, now-20*second, now-10*second, "-")
	k := keyOf("publish")
	b.put(k, over)
	b.want(k.publish(mine, newID(), now, now+hour, false), Done)
	k = keyOf("renew")
	b.put(k, over)
	b.want(k.op(Renew, mine), Done)
	b.want(k.op(Claim, NewToken()), Pending)
	k = keyOf("release it")
	b.put(k, over)
	b.want(k.op(Release, mine), Done)
	if got := b.get(k); got != floor(now-20*second+1) {
		t.Fatalf("record %q", got)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	b, k, mine := onShared(t), keyOf("a"), NewToken()
	now := b.now()
	b.put(k, pending(mine, now-second, now+second, "cw"))
	b.want(k.op(Renew, mine), Done)
	f := fields(b.get(k))
	within(t, instant(t, f[4]), now+10*second, b.now()+10*second)
	if instant(t, f[3]) != now-second || f[5] != "cw" {
		t.Fatalf("record %q", b.get(k))
	}
	if d := b.lives(k); d < 65*time.Second {
		t.Fatalf("record lives %s", d)
	}
}

// A reset below a claim: what the owner created stands, what it found does not.
func TestRecheck(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	id := newID()
	for _, found := range []bool{false, true} {
		k, mine := keyOf(map[bool]string{false: "created", true: "found"}[found]), NewToken()
		cut, err := b.Clock(t.Context(), k.partition, k.hash)
		if err != nil {
			t.Fatal(err)
		}
		at := b.want(k.op(Claim, mine), Claimed).AcceptedAt
		if at < cut {
			t.Fatalf("accepted at %d after a cut at %d", at, cut)
		}
		for range 2 {
			if _, err := b.Reset(t.Context(), k.partition, k.hash, cut); err != nil {
				t.Fatal(err)
			}
			if f := fields(b.get(k)); f[5] != "c" {
				t.Fatalf("record %q", b.get(k))
			}
		}
		op := k.publish(mine, id, at, at+hour, found)
		if found {
			b.want(op, Lost)
			b.want(op, Lost)
			if got := b.get(k); got != floor(at+1) {
				t.Fatalf("record %q", got)
			}
			continue
		}
		b.want(op, Done)
		b.want(op, Done)
		if r := b.want(k.op(Claim, NewToken()), Resolved); r.Run != id {
			t.Fatalf("resolved to %s, want %s", r.Run, id)
		}
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	cut := now - 10*second
	mine := NewToken()
	for name, c := range map[string]struct{ before, after string }{
		"absent":              {"", floor(cut)},
		"floor below":         {floor(cut - 1), floor(cut)},
		"floor above":         {floor(cut + 1), floor(cut + 1)},
		"pending below":       {pending(mine, cut-1, now+5*second, "w"), floor(cut)},
		"pending below, over": {pending(mine, cut-1, cut, "-"), floor(cut)},
		"pending at":          {pending(mine, cut, now+5*second, "-"), pending(mine, cut, now+5*second, "c")},
		"pending above":       {pending(mine, cut+1, now+5*second, "w"), pending(mine, cut+1, now+5*second, "wc")},
		"pending flagged":     {pending(mine, cut+1, now+5*second, "cw"), pending(mine, cut+1, now+5*second, "cw")},
		"resolved below":      {resolved(newID(), cut-1, now+hour), floor(cut)},
	} {
		k := keyOf(name)
		if c.before != "" {
			b.put(k, c.before)
		}
		for i := range 2 {
			if _, err := b.Reset(t.Context(), k.partition, k.hash, cut); err != nil {
				t.Fatal(err)
			}
			if got := b.get(k); got != c.after {
				t.Errorf("%s: record %q after reset %d, want %q", name, got, i+1, c.after)
			}
		}
		if d := b.lives(k); d < 50*time.Second {
			t.Errorf("%s: record lives %s", name, d)
		}
		at, err := b.Clock(t.Context(), k.partition, k.hash)
		if err != nil {
			t.Fatal(err)
		}
		within(t, at, now, b.now())
	}
	// What was accepted at or after the cut keeps the key.
	for _, acc := range []run.Instant{cut, cut + 1} {
		k, record := keyOf("resolved above"), resolved(newID(), acc, now+hour)
		b.put(k, record)
		if _, err := b.Reset(t.Context(), k.partition, k.hash, cut); err != nil {
			t.Fatal(err)
		}
		if got := b.get(k); got != record {
			t.Errorf("record %q", got)
		}
	}
	// Case 20: the owner of a claim that a reset ended publishes in vain.
	k := keyOf("pending below")
	b.want(k.publish(mine, newID(), now, now+hour, false), Lost)
	// A cut ahead of the clock is kept.
	k = keyOf("ahead")
	if _, err := b.Reset(t.Context(), k.partition, k.hash, now+hour); err != nil {
		t.Fatal(err)
	}
	if r := b.want(k.op(Claim, mine), Claimed); r.AcceptedAt != now+hour {
		t.Fatalf("accepted at %d, want %d", r.AcceptedAt, now+hour)
	}
	if d := b.lives(k); d < 60*time.Minute {
		t.Fatalf("record lives %s", d)
	}
	for _, bad := range []run.Instant{0, -1, redisdb.MaxInstant + 1} {
		if _, err := b.Reset(t.Context(), k.partition, k.hash, bad); err == nil {
			t.Errorf("cut %d accepted", bad)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	ahead := b.now() + hour
	for name, c := range map[string]struct {
		record string
		want   run.Instant
	}{
		"absent":   {"", 0},
		"pending":  {pending(NewToken(), ahead, ahead, "-"), ahead + 1},
		"resolved": {resolved(newID(), ahead, ahead), ahead + 1},
		"floor":    {floor(ahead), ahead + 1},
		"past":     {floor(5), 0},
	} {
		k := keyOf(name)
		if c.record != "" {
			b.put(k, c.record)
		}
		before := b.now()
		at, err := b.Clock(t.Context(), k.partition, k.hash)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == 0 {
			within(t, at, before, b.now())
		} else if at != c.want {
			t.Errorf("%s: %d, want %d", name, at, c.want)
		}
		if got := b.get(k); got != c.record {
			t.Errorf("%s: the clock wrote %q", name, got)
		}
	}
}

// An unknown record is neither overwritten nor taken for an absent one, and
// its neighbours in the batch are served.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	token := NewToken()
	for i, record := range []string{
		"2|p|t|1|2|-", "1|b|run_x|1|2", "1", "", "x", "1|f|", "1|f|12x", "1|f|-5", "1|p|t|1|2", "1|p|t|1|2|z",
		"1|p|t|1.5|2|-", "1|r|id|x|2|-|-", "1|r||1|2|-|-", "1|f|99999999999999999999", "1|f|" + strings.Repeat("9", 400),
		"1|p|t|9007199254740993|2|-",
	} {
		k, other := keyOf(strings.Repeat("x", i+1)), keyOf(strings.Repeat("y", i+1))
		for _, verb := range order {
			b.put(k, record)
			op := k.op(verb, token)
			if verb == Publish {
				op = k.publish(token, newID(), now, now+hour, false)
			}
			neighbour := other.op(verb, token)
			if verb == Publish {
				neighbour = other.publish(token, newID(), now, now+hour, false)
			}
			replies := b.Do(t.Context(), []Op{op, neighbour})
			if replies[1].Err != nil {
				t.Errorf("%q: neighbour of %s: %v", record, verb, replies[1].Err)
			}
			// Some are read far enough to know that they are not my claim.
			if replies[0].Err == nil && (verb == Claim || replies[0].State == Done && verb != Release) {
				t.Errorf("%q: %s answered %s", record, verb, replies[0].State)
			}
			if verb == Claim && !errors.Is(replies[0].Err, run.ErrUnknownVersion) {
				t.Errorf("%q: %s: %v", record, verb, replies[0].Err)
			}
			if got := b.get(k); got != record {
				t.Errorf("%q: %s wrote %q", record, verb, got)
			}
		}
	}
	for _, record := range []string{"2|p|t|1|2|-", "1|b|run_x|1|2", "", "1|f|"} {
		k := keyOf("reset")
		b.put(k, record)
		if _, err := b.Reset(t.Context(), k.partition, k.hash, now); !errors.Is(err, run.ErrUnknownVersion) {
			t.Errorf("%q: reset: %v", record, err)
		}
		if _, err := b.Clock(t.Context(), k.partition, k.hash); !errors.Is(err, run.ErrUnknownVersion) {
			t.Errorf("%q: clock: %v", record, err)
		}
		if got := b.get(k); got != record {
			t.Errorf("%q: reset wrote %q", record, got)
		}
	}
	if s := b.db.Breaker(); s != redisdb.BreakerClosed {
		t.Errorf("breaker %s", s)
	}
}

// A key of another type is somebody else's: it is left alone.
func TestForeignType(t *testing.T) {
	t.Parallel()
	b, k, other := onShared(t), keyOf("a"), keyOf("other")
	if err := b.raw.RPush(t.Context(), b.redisKey(k), "x").Err(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		replies := b.Do(t.Context(), []Op{k.op(Claim, NewToken()), other.op(Claim, Token{1})})
		if !errors.Is(replies[0].Err, run.ErrUnknownVersion) || replies[1].State != Claimed {
			t.Fatalf("replies %+v", replies)
		}
		if _, err := b.Reset(t.Context(), k.partition, k.hash, 5); err == nil {
			t.Fatal("reset of a list")
		}
	}
	if n := b.raw.LLen(t.Context(), b.redisKey(k)).Val(); n != 1 {
		t.Fatal("the list is gone")
	}
	if s := b.db.Breaker(); s != redisdb.BreakerClosed {
		t.Fatalf("breaker %s: an answer is no outage", s)
	}
}

// Whoever writes a record that lies ahead of the clock keeps it as much longer.
func TestAheadOfTheClockIsKept(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	ahead, mine := b.now()+hour, NewToken()
	for name, write := range map[string]func(k key){
		"renew":   func(k key) { b.want(k.op(Renew, mine), Done) },
		"release": func(k key) { b.want(k.op(Release, mine), Done) },
		"recheck": func(k key) { b.want(k.publish(mine, newID(), ahead, ahead+hour, true), Lost) },
		"reset": func(k key) {
			if _, err := b.Reset(t.Context(), k.partition, k.hash, ahead+5*second); err != nil {
				t.Fatal(err)
			}
		},
	} {
		k := keyOf(name)
		b.put(k, pending(mine, ahead, ahead, "c"))
		write(k)
		if d := b.lives(k); d < 60*time.Minute || d > 62*time.Minute {
			t.Errorf("%s: the record lives %s", name, d)
		}
		b.put(k, pending(mine, ahead+1000*hour, ahead, "c"))
		write(k)
		if d := b.lives(k); d > 62*time.Minute && name != "reset" {
			t.Errorf("%s: the record lives %s", name, d)
		}
	}
}
