package claim

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/run"
)

// twin is a naive model of one key. It has no clock: what is over is said so
// by the test, which writes the same into Redis, and acceptance times of
// claims are taken from Redis and checked for order.
type twin struct {
	state byte // 0 absent, p, r, b, f
	token Token
	acc   run.Instant // of the claim or run; the floor itself for f
	over  bool
	flags string
	run   run.ID
	entry byte // b: the status of the entry, 0 if it is gone
}

func (w *twin) least() run.Instant {
	switch w.state {
	case 'p', 'r', 'b':
		return w.acc + 1
	case 'f':
		return w.acc
	}
	return 0
}

// do returns the expected state; announced says whether waiters are woken.
// accepted is Redis's answer to a claim that the model, too, must grant.
func (w *twin) do(op Op, accepted run.Instant) (state State, announced bool) {
	mine := w.state == 'p' && w.token == op.Token
	switch op.Verb {
	case Claim:
		switch {
		case mine:
			if w.over = false; w.acc < op.Floor || op.Anew {
				w.acc = accepted
			}
			return Claimed, false
		case w.state == 'p' && !w.over:
			if !strings.Contains(w.flags, "w") {
				w.flags += "w"
			}
			return Pending, false
		case w.state == 'r' && !w.over && w.run != op.Observed:
			return Resolved, false
		case w.state == 'b' && !w.over && w.run != op.Observed && w.entry != 0:
			return Bound, false
		}
		*w = twin{state: 'p', token: op.Token, acc: accepted}
		return Claimed, false
	case Publish:
		woken := strings.Contains(w.flags, "w")
		switch {
		case mine && op.Found && strings.Contains(w.flags, "c"):
			*w = twin{state: 'f', acc: w.acc + 1}
			return Lost, woken
		case mine:
			*w = twin{state: 'r', run: op.Run, acc: op.AcceptedAt}
			return Done, woken
		case w.state == 'r' && w.run == op.Run:
			return Done, false
		}
	case Release:
		woken := strings.Contains(w.flags, "w")
		switch {
		case mine:
			*w = twin{state: 'f', acc: w.acc + 1}
			return Done, woken
		case w.state == 'f':
			return Done, false
		}
	case Renew:
		if mine {
			w.over = false
			return Done, false
		}
	}
	return Lost, false
}

func (w *twin) reset(cut run.Instant) (announced bool, cleared Cleared) {
	switch {
	case w.state == 'p' && w.acc >= cut:
		if !strings.Contains(w.flags, "c") {
			w.flags += "c"
		}
		return false, cleared
	case (w.state == 'r' || w.state == 'b' || w.state == 'f') && w.acc >= cut:
		return false, cleared
	}
	announced = w.state == 'p' && strings.Contains(w.flags, "w")
	if w.state == 'b' && w.entry != 0 && !w.over {
		cleared.Run = w.run
	}
	if w.state == 'r' && !w.over {
		cleared = Cleared{Run: w.run, Published: true}
	}
	*w = twin{state: 'f', acc: cut}
	return announced, cleared
}

// matches compares the model with the record in Redis.
func (w *twin) matches(record string, now run.Instant) error {
	if w.state == 0 {
		if record != "" {
			return fmt.Errorf("record %q, want none", record)
		}
		return nil
	}
	var want string
	f := fields(record)
	switch w.state {
	case 'f':
		want = floor(w.acc)
	case 'r', 'b':
		want = fmt.Sprintf("1|%c|%s|%d|", w.state, w.run, w.acc)
		if !strings.HasPrefix(record, want) {
			return fmt.Errorf("record %q, want %q...", record, want)
		}
		return nil
	case 'p':
		if len(f) != 6 {
			return fmt.Errorf("record %q", record)
		}
		var deadline run.Instant
		if _, err := fmt.Sscan(f[4], &deadline); err != nil || w.over != (deadline <= now) {
			return fmt.Errorf("record %q, over should be %t", record, w.over)
		}
		for _, flag := range "wc" {
			if strings.ContainsRune(f[5], flag) != strings.ContainsRune(w.flags, flag) {
				return fmt.Errorf("record %q, want flags %q", record, w.flags)
			}
		}
		want = pending(w.token, w.acc, deadline, f[5])
	}
	if record != want {
		return fmt.Errorf("record %q, want %q", record, want)
	}
	return nil
}

// Random batches against the model: replies, records and announcements.
func TestTwin(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	listener := b.raw.Subscribe(t.Context(), b.names.Wake())
	defer func() { _ = listener.Close() }()
	if _, err := listener.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ids [3]run.ID
	for i := range ids {
		ids[i] = newID()
	}
	round := 0

	rapid.Check(t, func(rt *rapid.T) {
		round++
		keys := make([]key, 3)
		twins := make([]*twin, len(keys))
		for i := range keys {
			keys[i] = keyOf(fmt.Sprintf("%d.%d", round, i))
			keys[i].partition = i
			twins[i] = &twin{}
		}
		token := rapid.Custom(func(t *rapid.T) Token { return Token{byte(rapid.IntRange(1, 3).Draw(t, "token"))} })
		id := rapid.SampledFrom(ids[:])
		ahead := b.now() + hour
		var woken []string

		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 8).Draw(rt, "step") {
			default:
				var ops []Op
				var at []int
				for range rapid.IntRange(1, 6).Draw(rt, "ops") {
					i := rapid.IntRange(0, len(keys)-1).Draw(rt, "key")
					verb := rapid.SampledFrom(order[:]).Draw(rt, "verb")
					op := keys[i].op(verb, token.Draw(rt, "token"))
					switch verb {
					case Publish:
						now := b.now()
						op = keys[i].publish(op.Token, id.Draw(rt, "run"), now, now+hour, rapid.Bool().Draw(rt, "found"))
					case Claim:
						if rapid.Bool().Draw(rt, "saw a run") {
							op.Observed = id.Draw(rt, "observed")
						}
						if rapid.IntRange(0, 3).Draw(rt, "was stale") == 0 {
							op.Floor = rapid.SampledFrom([]run.Instant{1, b.now(), ahead + 7}).Draw(rt, "floor")
						}
						op.Anew = rapid.IntRange(0, 3).Draw(rt, "enters again") == 0
					}
					ops, at = append(ops, op), append(at, i)
				}
				before := b.now()
				replies := b.Do(t.Context(), ops)
				for _, verb := range order {
					for j, op := range ops {
						if op.Verb != verb {
							continue
						}
						r, w := replies[j], twins[at[j]]
						if r.Err != nil {
							rt.Fatal(r.Err)
						}
						old := *w
						state, announced := w.do(op, r.AcceptedAt)
						if r.State != state {
							rt.Fatalf("%s: %s, want %s", op.Verb, r.State, state)
						}
						if announced {
							woken = append(woken, op.Hash.String())
						}
						switch {
						case state == Claimed && old.state == 'p' && old.token == op.Token && (old.acc < op.Floor || op.Anew):
							if r.AcceptedAt < max(before, old.acc, op.Floor) || r.AcceptedAt > max(b.now(), old.acc, op.Floor) {
								rt.Fatalf("taken anew at %d, floor %d, was %d", r.AcceptedAt, op.Floor, old.acc)
							}
						case state == Claimed && old.state == 'p' && old.token == op.Token:
							if r.AcceptedAt != old.acc {
								rt.Fatalf("claimed again at %d, was %d", r.AcceptedAt, old.acc)
							}
						case state == Claimed:
							if r.AcceptedAt < max(before, old.least(), op.Floor) || r.AcceptedAt > max(b.now(), old.least(), op.Floor) {
								rt.Fatalf("claimed at %d over %+v", r.AcceptedAt, old)
							}
						case state == Bound && r.Queued != (w.entry == 'q'):
							rt.Fatalf("bound %+v, entry %c", r, w.entry)
						case (state == Resolved || state == Bound) && (r.Run != w.run || r.AcceptedAt != w.acc):
							rt.Fatalf("resolved %+v, want %+v", r, w)
						}
					}
				}
			case 5:
				i := rapid.IntRange(0, len(keys)-1).Draw(rt, "key")
				cut := max(twins[i].acc, 5) + run.Instant(rapid.IntRange(-1, 1).Draw(rt, "cut"))
				if rapid.Bool().Draw(rt, "far") {
					cut = ahead
				}
				cleared, err := b.Reset(t.Context(), keys[i].partition, keys[i].hash, cut)
				if err != nil {
					rt.Fatal(err)
				}
				announced, want := twins[i].reset(cut)
				if cleared != want {
					rt.Fatalf("reset cleared %+v, want %+v", cleared, want)
				}
				if announced {
					woken = append(woken, keys[i].hash.String())
				}
			case 7: // a run is accepted into the buffer
				i := rapid.IntRange(0, len(keys)-1).Draw(rt, "key")
				at := max(b.now(), twins[i].least())
				*twins[i] = twin{state: 'b', acc: at, run: newID(), entry: 'q'}
				b.buffer(keys[i], twins[i].run, "q", at+hour)
				b.put(keys[i], bound(twins[i].run, at, at+hour))
			case 8: // it is leased, or vanishes
				i := rapid.IntRange(0, len(keys)-1).Draw(rt, "key")
				if w := twins[i]; w.entry != 0 && rapid.Bool().Draw(rt, "leased") {
					w.entry = 'l'
					b.buffer(keys[i], w.run, "l", w.acc+hour)
				} else if w.entry != 0 {
					w.entry = 0
					b.raw.Del(t.Context(), b.names.Entry(keys[i].partition, envTag, w.run))
				}
			case 6: // time passes
				i := rapid.IntRange(0, len(keys)-1).Draw(rt, "key")
				if f := fields(b.get(keys[i])); f[0] != "" && f[1] != "f" {
					f[4] = "3"
					b.put(keys[i], strings.Join(f, "|"))
					twins[i].over = true
				}
			}
			for i, w := range twins {
				if err := w.matches(b.get(keys[i]), b.now()); err != nil {
					rt.Fatalf("key %d: %v", i, err)
				}
			}
		}

		// Exactly the announcements that the model made, in order. A batch
		// executes by verb, as the model did.
		if err := b.raw.Publish(t.Context(), b.names.Wake(), "end").Err(); err != nil {
			rt.Fatal(err)
		}
		var heard []string
		for {
			msg, err := listener.ReceiveMessage(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			if msg.Payload == "end" {
				break
			}
			heard = append(heard, msg.Payload)
		}
		// On a cluster what is published on another server may be heard after the end.
		if fmt.Sprint(heard) != fmt.Sprint(woken) && !stacktest.OnCluster() {
			rt.Fatalf("announced %v, want %v", heard, woken)
		}
	})
}

// Every script, twice with the same arguments, in every state of the record:
// the same answer, and the same record but for the deadline.
func TestTwice(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	now := b.now()
	mine, theirs, id := NewToken(), NewToken(), newID()
	records := []string{
		"", floor(now - hour), floor(now + hour), resolved(id, now, now+hour), resolved(id, now-hour, now-1),
		resolved(newID(), now, now+hour),
		bound(id, now, now+hour), bound(id, now-hour, now-1), bound(newID(), now, now+hour),
	}
	b.buffer(keyOf("twice"), id, "q", now+hour)
	for _, token := range []Token{mine, theirs} {
		for _, flags := range []string{"-", "w", "c", "cw"} {
			records = append(records, pending(token, now, now+5*second, flags), pending(token, now-hour, now-1, flags))
		}
	}
	for i, record := range records {
		k := keyOf("twice")
		observed, floored := k.op(Claim, mine), k.op(Claim, mine)
		observed.Observed, floored.Floor = id, now+2*hour
		for _, op := range []Op{
			k.op(Claim, mine), observed, floored, k.op(Release, mine), k.op(Renew, mine),
			k.publish(mine, id, now, now+hour, false), k.publish(mine, id, now, now+hour, true),
		} {
			if record == "" {
				b.raw.Del(t.Context(), b.redisKey(k))
			} else {
				b.put(k, record)
			}
			first := b.one(op)
			after := fields(b.get(k))
			second := b.one(op)
			again := fields(b.get(k))
			if after[0] != "" && after[1] == "p" {
				after[4], again[4] = "", ""
			}
			first.Wait, second.Wait = 0, 0
			if first != second || fmt.Sprint(after) != fmt.Sprint(again) {
				t.Errorf("record %d, %s found=%t: %+v %v, then %+v %v", i, op.Verb, op.Found, first, after, second, again)
			}
		}
		// A reset names what it has cleared once.
		for _, cut := range []run.Instant{1, now, now + 1, now + 2*hour} {
			if record == "" {
				b.raw.Del(t.Context(), b.redisKey(k))
			} else {
				b.put(k, record)
			}
			if _, err := b.Reset(t.Context(), k.partition, k.hash, cut); err != nil {
				t.Fatal(err)
			}
			after := b.get(k)
			cleared, err := b.Reset(t.Context(), k.partition, k.hash, cut)
			if again := b.get(k); err != nil || cleared != (Cleared{}) || again != after {
				t.Errorf("record %d, reset at %d: %q, then %q, %+v, %v", i, cut, after, again, cleared, err)
			}
		}
	}
}
