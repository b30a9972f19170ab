package buffer

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

// What has broken buffers that decode: it all comes back byte for byte, through
// accept, lease, patch, return and ack. The scripts never look into it, so null
// tags, empty lists and any depth mean nothing to them (cases 119 to 121).
func TestTorture(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	payloads := [][]byte{
		nil,
		{},
		[]byte("null"), []byte(`""`), []byte(`{"tags":null,"a":[],"o":{}}`),
		[]byte(`{"n":12345678901234567,"m":1700000000000123,"f":1e400,"z":-0.0,"d":0.1e-9}`),
		[]byte(`"\u0000\"\\\b \u2028"`), []byte("\"\U0001F600\u0007\""), []byte(`{"a":1,"a":2}`),
		[]byte("]]' .. redis.call('FLUSHALL') .. '"), []byte("*1\r\n$8\r\nFLUSHALL\r\n"),
		bytes.Repeat([]byte("["), 20_000), every, bytes.Repeat(every, 4096), []byte("\xff\xfe\x00"), []byte("1|b|x|1|2|-|-|e"),
	}
	for i, payload := range payloads {
		s := snap(1, fmt.Sprint("key", i))
		s.Trigger.Payload, s.Trigger.Metadata, s.Trigger.Context = payload, payload, payload
		s.PayloadHash = run.DigestPayload(s.Trigger.PayloadType, payload)
		b.buffered(s)
		token := NewToken()
		same := func(where string, e Entry) {
			t.Helper()
			got := e.Snapshot.Trigger
			for _, part := range [][]byte{got.Payload, got.Metadata, got.Context} {
				if !bytes.Equal(part, payload) || (part == nil) != (payload == nil) {
					t.Fatalf("payload %d, %s: %.60q became %.60q", i, where, payload, part)
				}
			}
			if e.Snapshot.PayloadHash != s.PayloadHash || e.Snapshot.Hash != s.Hash {
				t.Fatalf("payload %d, %s: digests", i, where)
			}
			for _, p := range e.Patches {
				if !bytes.Equal(p.Metadata.Bytes, payload) || (p.Metadata.Bytes == nil) != (payload == nil) {
					t.Fatalf("payload %d, %s: the patch is %.60q", i, where, p.Metadata.Bytes)
				}
			}
		}
		patch(t, b, ref(s), run.Patch{Metadata: &run.Metadata{Bytes: payload, Type: "x"}})
		leases := b.lease(1, 1, token)
		same("lease", leases[0].Entry)
		b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(s), Token: token, Count: true}}), HeldDone)
		same("lease again", b.lease(1, 1, NewToken())[0].Entry)
		later := b.ack(Ack{Ref: ref(s)})
		if len(later.Later) != 1 || !bytes.Equal(later.Later[0].Metadata.Bytes, payload) {
			t.Fatalf("payload %d: %+v", i, later)
		}
		b.ack(Ack{Ref: ref(s), Ver: 1})
		e, _ := b.get(ref(s))
		same("grace", e)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Whatever a customer writes, no name in Redis shows it, and no value but the
// entry does (case 4).
func TestNoCustomerTextInNames(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for i, text := range []string{"marker", "marker:a", "{marker}", "marker|1|b", "mar\nker-marker", "märker marker", strings.Repeat("marker", 30)} {
		s := snapIn("marker "+text, i%partitions, text)
		s.Trigger.Task, s.Trigger.Tags, s.Trigger.Organisation = text, []string{text}, text
		s.Key = s.Trigger.Key()
		s.Hash = s.Key.Hash()
		b.buffered(s)
		token := NewToken()
		leases := must(b.Lease(t.Context(), i%partitions, s.Trigger.Environment, 9, token, 3600e9))
		if len(leases) != 1 || leases[0].Err != nil {
			t.Fatalf("%q: %+v", text, leases)
		}
		if i%2 == 0 {
			b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(s), Token: token}}), HeldDone)
		}
		if e, found := b.get(ref(s)); !found || e.Snapshot.Trigger.Task != text {
			t.Fatalf("%q: %+v", text, e)
		}
		if _, found := b.get(Ref{env, s.ID}); found {
			t.Fatal("found under another environment")
		}
	}
	for _, name := range stacktest.Keys(b.t, b.raw, b.prefix+"*") {
		if strings.Contains(name, "marker") {
			t.Errorf("the name %q shows a customer's text", name)
		}
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// Reading is total, whatever Redis answers.
func FuzzParseAccepted(f *testing.F) {
	id := newID(1).String()
	for _, text := range []string{
		"", "n1|2", "n1", "a5|0", "n|", "h", "hx", "w5", "w", "s", "f", "s1", "?",
		"bq1|b|" + id + "|1|2|-|-|e", "bl1|b|" + id + "|1|2|-|-|e", "bx1|b|" + id + "|1|2|-|-|e", "r1|r|" + id + "|1|2|-|-", "r1|r|||||",
	} {
		f.Add(text)
	}
	s := snap(1, "key")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range []Acceptance{{Snapshot: s}, {Snapshot: s, Holder: Holder{ID: newID(2), Until: 5}}} {
			out := parseAccepted(text, &a)
			if (out.Err == nil) == (out.State == 0) {
				t.Fatalf("%q: %+v", text, out)
			}
			if named := out.State >= AcceptedNew && out.State <= HeldBy || out.State == Resolved; named == out.Run.IsZero() {
				t.Fatalf("%q: %+v", text, out)
			}
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	s := snap(1, "key")
	body := must(s.Append(nil))
	stored := append(make([]byte, nonceLen), must((&run.Patch{Ver: 1, Delay: 3}).Append(nil))...)
	f.Add(body, "q", "5", "9", "1", "0", stored)
	f.Add(body, "m", "", "", "", "", []byte{})
	f.Add([]byte{2}, "z", "-1", "x", "99999999999", "x", []byte{1})
	f.Fuzz(func(t *testing.T, body []byte, status, acc, until, ver, n string, stored []byte) {
		e, err := parseEntry([]any{
			"v", "1", "s", string(body), "st", status, "acc", acc, "until", until, "ver", ver, "n", n, "p1", string(stored),
		}, 7)
		if err != nil {
			return
		}
		if e.Snapshot.ID.IsZero() || int(e.Ver) != len(e.Patches) || e.Ver > 1 || e.Status.String() == "no status" ||
			e.Snapshot.AcceptedAt > redisdb.MaxInstant {
			t.Fatalf("%+v", e)
		}
	})
}

func TestParsersAreTotal(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		nil, "x", int64(1),
		[]any{},
		[]any{"v"},
		[]any{"v", int64(1)},
		[]any{nil, nil},
		[]any{"v", "2", "st", "q"},
		[]any{"", int64(1), int64(1), int64(1), []any{}, "tag"},
		[]any{"1|x", int64(1), int64(1), int64(1), []any{}},
		[]any{"", int64(1), "1", int64(1), []any{}},
		[]any{"", int64(1), int64(1), int64(1), "x"},
	} {
		if _, err := parseEntry(v, 0); err == nil {
			t.Errorf("entry %v", v)
		}
		if _, ok := parsePartition(v); ok {
			t.Errorf("partition %v", v)
		}
		if a := parseAcked(answer{value: v}, 0); a.Err == nil {
			t.Errorf("acked %v", v)
		}
		if r := heldReply(answer{value: v}); r.Err == nil {
			t.Errorf("held %v", v)
		}
		if _, ok := parseStale(v, 0); ok {
			t.Errorf("stale %v", v)
		}
	}
	// An environment that can not be read is left out; its neighbours are not.
	p, ok := parsePartition([]any{
		"2|20", int64(1), int64(0), int64(0),
		[]any{},
		"e", `{"org":"o","env":"e"}`, "1|10", int64(1), newID(1).String(), "5",
		"f", `{`, "1|10", int64(1), newID(1).String(), "5",
		"g", `{"org":"o","env":"other"}`, "1|10", int64(1), "", "",
	})
	if !ok || len(p.Heads) != 1 || p.Heads[0].Environment != "e" {
		t.Fatalf("%+v", p)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	for field, cfg := range map[string]Config{
		"Fence":         {Fence: Grace / 4},
		"MaxEntries":    {MaxEntries: -1},
		"MaxBytes":      {MaxBytes: -1},
		"MaxPatches":    {MaxPatches: 10_000},
		"MaxEntryBytes": {MaxEntryBytes: 1 << 40},
	} {
		if _, err := New(b.db, cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := New(b.db, Config{Fence: Grace/4 - 1}); err != nil {
		t.Error(err)
	}
	if _, err := New(nil, Config{}); err == nil {
		t.Error("without a Redis")
	}
	if got := NewToken().String(); got != "lease token" || strings.Contains(fmt.Sprint(Holding{Token: NewToken()}), "[") {
		t.Errorf("a token shows itself: %q", got)
	}
}
