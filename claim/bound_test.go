package claim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

func TestClaimBound(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now() // accepted since this node is there: before, another may have been without Redis
	for status, queued := range map[string]bool{"q": true, "r": false, "l": false, "m": false, "z": false} {
		k, id := keyOf(strings.Repeat("a", int(status[0]))), newID()
		record := bound(id, now, now+hour)
		b.put(k, record)
		if err := b.raw.Persist(t.Context(), b.redisKey(k)).Err(); err != nil {
			t.Fatal(err)
		}
		b.buffer(k, id, status, now+hour)
		want := Reply{State: Bound, Run: id, AcceptedAt: now, Until: now + hour, Queued: queued}
		for range 2 {
			if got := b.one(k.op(Claim, NewToken())); got != want {
				t.Fatalf("status %s: %+v, want %+v", status, got, want)
			}
		}
		other := k.op(Claim, NewToken())
		other.Observed = newID()
		b.want(other, Bound)
		// To all other verbs it is somebody else's.
		mine := NewToken()
		b.want(k.publish(mine, id, now, now+hour, false), Lost)
		b.want(k.op(Release, mine), Lost)
		b.want(k.op(Renew, mine), Lost)
		if got := b.get(k); got != record || b.lives(k) != -1 {
			t.Fatalf("record %q, lives %s", got, b.lives(k))
		}
		// The run was seen to have lost its key.
		seen := k.op(Claim, mine)
		seen.Observed = id
		if r := b.want(seen, Claimed); r.AcceptedAt <= now {
			t.Fatalf("accepted at %d", r.AcceptedAt)
		}
		if d := b.lives(k); d < time.Minute {
			t.Fatalf("a claim lives %s", d)
		}
	}
}

// Cases 22 to 24: a binding whose interval is over or whose entry is gone does
// not hold the key, whatever else is still there.
func TestBoundGivesWay(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	for name, c := range map[string]struct {
		acc, until run.Instant
		entry      bool
	}{
		"over":                  {now - hour, now - 1, true},
		"over, entry gone":      {now - hour, now - 1, false},
		"entry gone":            {now - hour, now + hour, false},
		"entry gone, far ahead": {now + hour, now + 2*hour, false},
	} {
		k, id := keyOf(name), newID()
		b.put(k, bound(id, c.acc, c.until))
		if c.entry {
			b.buffer(k, id, "q", c.until)
		}
		r := b.want(k.op(Claim, NewToken()), Claimed)
		if r.AcceptedAt <= c.acc || r.AcceptedAt < now {
			t.Errorf("%s: accepted at %d after %d", name, r.AcceptedAt, c.acc)
		}
		if name := b.names.Entry(k.partition, envTag, id); b.raw.Exists(t.Context(), name).Val() == 1 != c.entry {
			t.Errorf("%s: the claim touched the entry", name)
		}
	}
	k, id := keyOf("another type"), newID()
	b.put(k, bound(id, now, now+hour))
	b.raw.RPush(t.Context(), b.names.Entry(k.partition, envTag, id), "x")
	if r := b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0]; !errors.Is(r.Err, run.ErrUnknownVersion) {
		t.Errorf("%+v", r)
	}
}

func TestResetBound(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	cut := now - 10*second
	for name, c := range map[string]struct {
		acc, until run.Instant
		entry      bool
		cleared    bool
		after      string // "" for unchanged
		ends       run.Instant
	}{
		"below":             {cut - 1, now + hour, true, true, floor(cut), cut},
		"below, over":       {cut - second, now - second, true, false, floor(cut), cut},
		"below, long over":  {cut - second, cut - 5, true, false, floor(cut), cut - 5},
		"below, entry gone": {cut - 1, now + hour, false, false, floor(cut), 0},
		"at":                {cut, now + hour, true, false, "", now + hour},
		"above":             {cut + 1, now + hour, true, false, "", now + hour},
	} {
		k, id := keyOf(name), newID()
		record := bound(id, c.acc, c.until)
		b.put(k, record)
		if c.entry {
			b.buffer(k, id, "l", c.until)
		}
		if at, err := b.Clock(t.Context(), k.partition, k.hash); err != nil || at <= c.acc || at < now {
			t.Errorf("%s: clock %d, %v", name, at, err)
		}
		for i := range 2 {
			cleared, err := b.Reset(t.Context(), k.partition, k.hash, cut)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.cleared && i == 0; want != (cleared == Cleared{Run: id}) || !want && cleared != (Cleared{}) {
				t.Errorf("%s: reset %d cleared %+v", name, i, cleared)
			}
			want := c.after
			if want == "" {
				want = record
			}
			if got := b.get(k); got != want {
				t.Errorf("%s: record %q, want %q", name, got, want)
			}
		}
		fields := b.raw.HGetAll(t.Context(), b.names.Entry(k.partition, envTag, id)).Val()
		if !c.entry && len(fields) != 0 {
			t.Errorf("%s: the reset made an entry: %v", name, fields)
		}
		if c.entry && instant(t, fields["until"]) != c.ends {
			t.Errorf("%s: the entry's interval ends at %s, want %d", name, fields["until"], c.ends)
		}
	}
}

// An unknown form of a binding is not taken for anything.
func TestUnreadableBound(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for i, record := range []string{
		"1|b|", "1|b|run_x|1|2", "1|b|run_x|1|2|-|-", "1|b|run_x|1|2|-|-|", "1|b|run_x|1|2|-|-|e:f", "1|b|run_x|1|2|-|-|e|f",
		"1|b||1|2|-|-|e", "1|b|run_x|1|x|-|-|e", "2|b|run_x|1|2|-|-|e", "1|b|run_x|99999999999999999|2|-|-|e",
	} {
		k := keyOf(strings.Repeat("x", i+1))
		b.put(k, record)
		if r := b.Do(t.Context(), []Op{k.op(Claim, NewToken())})[0]; !errors.Is(r.Err, run.ErrUnknownVersion) {
			t.Errorf("%q: %+v", record, r)
		}
		if got := b.get(k); got != record {
			t.Errorf("%q became %q", record, got)
		}
	}
}
