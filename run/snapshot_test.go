package run

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func fullSnapshot() Snapshot {
	trigger := full()
	key := trigger.Key()
	s := NewSnapshot(MintID(time.Unix(1_700_000_000, 0), 9), key, key.Hash(), trigger)
	s.Accept(1_700_000_000_123_456)
	s.Lineage = Lineage{Ancestor: MintID(time.Unix(1_600_000_000, 0), 3), Distance: 4}
	return s
}

func encoded(t testing.TB, s Snapshot) []byte {
	t.Helper()
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every field that a trigger has must survive; a new one without a place in the
// stored form is lost here, and fails.
func TestSnapshotRoundTrip(t *testing.T) {
	t.Parallel()
	want := fullSnapshot()
	everyField(t, "Snapshot", reflect.ValueOf(want))
	b := encoded(t, want)
	got, err := DecodeSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back:\n%+v\nwritten:\n%+v", got, want)
	}
	if again := encoded(t, got); !bytes.Equal(again, b) {
		t.Errorf("written again:\n%q\nat first:\n%q", again, b)
	}
	after, err := want.Append([]byte("before"))
	if err != nil || !bytes.Equal(after, append([]byte("before"), b...)) {
		t.Errorf("appended: %q, %v", after, err)
	}
}

// The least snapshot, one key of each kind, and each field left out in turn.
func TestSnapshotRoundTripWithout(t *testing.T) {
	t.Parallel()
	check := func(what string, trigger Trigger) {
		key := trigger.Key()
		var hash Hash
		if !key.IsZero() {
			hash = key.Hash()
		}
		want := NewSnapshot(MintID(time.Unix(1, 0), 0), key, hash, trigger)
		got, err := DecodeSnapshot(encoded(t, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("without %s: %v, read back:\n%+v\nwritten:\n%+v", what, err, got, want)
		}
	}
	check("anything", Trigger{Organisation: "o", Environment: "e", Task: "t"})
	check("keys but the request's", Trigger{Organisation: "o", Environment: "e", Task: "t", RequestKey: "q"})
	check("keys but the batch's", Trigger{Organisation: "o", Environment: "e", Task: "t", BatchItem: BatchItem{Batch: "b"}})
	for i := range reflect.TypeFor[Trigger]().NumField() {
		trigger := full()
		reflect.ValueOf(&trigger).Elem().Field(i).SetZero()
		check(reflect.TypeFor[Trigger]().Field(i).Name, trigger)
	}
}

// The customer's bytes come back as they were, whatever they are.
func TestSnapshotKeepsBytes(t *testing.T) {
	t.Parallel()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for what, payload := range map[string][]byte{
		"nil": nil, "empty": {}, "every byte": all,
		"quotes":       []byte(`"\"'\\\"` + "`"),
		"controls":     []byte("\x00\x01\x08\x0b\x1f\x7f\r\n\t\u2028\u2029"),
		"astral":       []byte(`"👩‍👩‍👧‍👦 𝒳 \ud83d\ude00"`),
		"half a pair":  []byte(`"\ud83d"`),
		"big numbers":  []byte(`[9007199254740993, 18446744073709551616, 1e400, -0, 1.0, 0.1000]`),
		"empties":      []byte(`{"a":[],"b":{},"c":"","d":null}`),
		"null":         []byte(`null`),
		"spaces":       []byte(" { \"a\" :\n1 } \n"),
		"twice":        []byte(`{"a":1,"a":2}`),
		"markup":       []byte(`"<script>&amp;</script>"`),
		"depth":        []byte(strings.Repeat(`[{"a":`, 5000) + "1" + strings.Repeat("}]", 5000)),
		"no JSON":      []byte(`{"a":`),
		"a version":    {snapshotVersion},
		"no UTF-8":     []byte("\xff\xfe\xed\xa0\x80"),
		"the largest":  bytes.Repeat([]byte("x"), MaxPayload),
		"one of 127":   bytes.Repeat([]byte("x"), 126),
		"one of 128":   bytes.Repeat([]byte("x"), 127),
		"byte by byte": []byte("x"),
	} {
		want := fullSnapshot()
		want.Trigger.Payload, want.Trigger.Metadata, want.Trigger.Context = payload, payload, payload
		want.PayloadHash = DigestPayload(want.Trigger.PayloadType, payload)
		got, err := DecodeSnapshot(encoded(t, want))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for part, b := range map[string][]byte{"payload": got.Trigger.Payload, "metadata": got.Trigger.Metadata, "context": got.Trigger.Context} {
			if !bytes.Equal(b, payload) || (b == nil) != (payload == nil) {
				t.Errorf("%s: the %s came back as %.60q", what, part, b)
			}
		}
		if got.PayloadHash != want.PayloadHash {
			t.Errorf("%s: another digest", what)
		}
	}
}

// Texts may hold anything but what Validate refuses.
func TestSnapshotKeepsTexts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`a"b\c`, "a:b{}", "\x01\x1f\x7f", "👍🏽", "\u2028", "<&>", " a ", strings.Repeat("€", 2048)} {
		want := fullSnapshot()
		want.Trigger.IdempotencyKey, want.Trigger.Tags, want.Trigger.KeyOptions.Key = text, []string{text}, text
		want.Key = want.Trigger.Key()
		want.Hash = want.Key.Hash()
		if got, err := DecodeSnapshot(encoded(t, want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.20q: %v, read back %+v", text, err, got)
		}
	}
}

func TestDecodeSnapshotRefuses(t *testing.T) {
	t.Parallel()
	b := encoded(t, fullSnapshot())
	for n := range b {
		if s, err := DecodeSnapshot(b[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were read as %+v", n, len(b), s)
		}
	}
	if _, err := DecodeSnapshot(append(bytes.Clone(b), 0)); err == nil {
		t.Error("bytes after the end were read over")
	}
	for _, version := range []byte{0, snapshotVersion + 1, '{', 255} {
		other := bytes.Clone(b)
		other[0] = version
		if _, err := DecodeSnapshot(other); !errors.Is(err, ErrUnknownVersion) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	for what, b := range map[string][]byte{
		"no record":       nil,
		"no header":       {snapshotVersion, 0, 0, 0, 0},
		"empty header":    {snapshotVersion, 1, 0, 0, 0},
		"header: null id": append([]byte{snapshotVersion, 3}, "{}\x00\x00\x00"...),
		"header: bad id":  append([]byte{snapshotVersion, 13}, `{"id":"a b"}`+"\x00\x00\x00"...),
		"length overflow": {snapshotVersion, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1},
		"length too long": {snapshotVersion, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1},
	} {
		if s, err := DecodeSnapshot(b); err == nil || errors.Is(err, ErrUnknownVersion) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
}

// What could not be read again is not written.
func TestAppendRefusesNoID(t *testing.T) {
	t.Parallel()
	s := fullSnapshot()
	s.ID = ID{}
	if b, err := s.Append(nil); !errors.Is(err, ErrBadID) {
		t.Errorf("written: %q, %v", b, err)
	}
}

func TestNewSnapshotFixesDefaults(t *testing.T) {
	t.Parallel()
	trigger := Trigger{Environment: "e", Task: "t", Payload: []byte("x")}
	s := NewSnapshot(ID{}, Key{}, Hash{}, trigger)
	if got := s.Trigger; got.PayloadType != DefaultPayloadType || got.MetadataType != DefaultPayloadType ||
		got.Queue != "task/t" || got.TriggerFunction != FunctionTrigger {
		t.Errorf("defaults: %+v", got)
	}
	if s.PayloadHash != DigestPayload(DefaultPayloadType, trigger.Payload) || !s.RequestHash.IsZero() {
		t.Error("digests do not follow from the trigger")
	}
	trigger.ResumeParent = true
	if s := NewSnapshot(ID{}, Key{}, Hash{}, trigger); s.Trigger.TriggerFunction != FunctionTrigger {
		t.Error("without a parent there is nobody to wait")
	}
	trigger.ParentRun = ID{"run_1"}
	if s := NewSnapshot(ID{}, Key{}, Hash{}, trigger); s.Trigger.TriggerFunction != FunctionTriggerAndWait {
		t.Error("a waiting parent makes it triggerAndWait")
	}
}

func TestAccept(t *testing.T) {
	t.Parallel()
	s := fullSnapshot()
	if s.KeyUntil != s.AcceptedAt.Add(time.Hour) {
		t.Errorf("the interval is [%d, %d)", s.AcceptedAt, s.KeyUntil)
	}
	if s.Accept(0); s.AcceptedAt != 0 || s.KeyUntil != 0 {
		t.Errorf("taken back: [%d, %d)", s.AcceptedAt, s.KeyUntil)
	}
	keyless := NewSnapshot(ID{}, Key{}, Hash{}, Trigger{Task: "t"})
	if keyless.Accept(7); keyless.AcceptedAt != 7 || keyless.KeyUntil != 0 {
		t.Errorf("without a key: [%d, %d)", keyless.AcceptedAt, keyless.KeyUntil)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	s := fullSnapshot()
	b, err := s.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{snapshotVersion, 3, '{', '}', 0, 0, 0})
	f.Add([]byte{snapshotVersion + 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSnapshot(b)
		if err != nil {
			if !s.ID.IsZero() {
				t.Fatalf("an error with a snapshot: %+v", s)
			}
			return
		}
		once := encoded(t, s)
		again, err := DecodeSnapshot(once)
		if err != nil {
			t.Fatalf("%q is not read again: %v", once, err)
		}
		if twice := encoded(t, again); !bytes.Equal(once, twice) {
			t.Fatalf("written twice: %q, then %q", once, twice)
		}
	})
}
