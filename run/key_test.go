package run

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

var errNotKey = errors.New("not an encoded key")

// decodeKey reads what Key.Encode wrote. That it can be written proves that the
// encoding is injective.
func decodeKey(b []byte) (Key, error) {
	if len(b) < 2 || b[0] != keyVersion {
		return Key{}, errNotKey
	}
	k := Key{Kind: Kind(b[1])}
	b = b[2:]
	for _, part := range []*string{&k.Environment, &k.Task, &k.Text} {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return Key{}, errNotKey
		}
		*part, b = string(b[used:used+int(n)]), b[used+int(n):]
	}
	if len(b) > 0 {
		return Key{}, errNotKey
	}
	return k, nil
}

func FuzzKeyEncode(f *testing.F) {
	f.Add(byte('k'), "env", "a:b", "c", byte('k'), "env", "a", "b:c")
	f.Add(byte('k'), "e", "t", "x", byte('q'), "e", "t", "x")
	f.Add(byte('k'), "", "\x01\x01", "", byte('k'), "\x01", "\x01", "")
	f.Add(byte('b'), "e", "t", strings.Repeat("é", 300), byte('b'), "e", "t\x00", "")
	f.Fuzz(func(t *testing.T, kind1 byte, env1, task1, text1 string, kind2 byte, env2, task2, text2 string) {
		a, b := Key{Kind(kind1), env1, task1, text1}, Key{Kind(kind2), env2, task2, text2}
		ea, eb := a.Encode(nil), b.Encode([]byte("before"))
		if (a == b) != bytes.Equal(ea, eb[len("before"):]) || (a == b) != (a.Hash() == b.Hash()) {
			t.Fatalf("%+v and %+v", a, b)
		}
		if got, err := decodeKey(ea); err != nil || got != a {
			t.Fatalf("%+v reads back as %+v, %v", a, got, err)
		}
	})
}

// Case 4: text of a customer's must not move the border between the parts.
func TestKeysNeverMeet(t *testing.T) {
	t.Parallel()
	seen := map[Hash]Key{}
	for _, kind := range []Kind{KindIdempotency, KindRequest, KindBatchItem} {
		for _, k := range []Key{
			{kind, "e", "a:b", "c"},
			{kind, "e", "a", "b:c"},
			{kind, "e:a", "b", "c"},
			{kind, "e", "a\x00b", "c"},
			{kind, "e", "a", "\x00bc"},
			{kind, "e", "{a}", "c"},
			{kind, "e", "a", "c"},
			{kind, "a", "e", "c"},
			{kind, "e", "", "ac"},
			{kind, "", "e", "ac"},
			{kind, "e", "a", "C"},
			{kind, "e", "a", "c "},
			{kind, "e", "a", "👍🏽"},
			{kind, "e", "a", "👍"},
			{kind, "e", "a", "e\u0301"},
			{kind, "e", "a", "\u00e9"},
			{kind, "e", "a", strings.Repeat("x", 2048)},
			{kind, "e", "a", strings.Repeat("x", 2047)},
		} {
			if other, ok := seen[k.Hash()]; ok {
				t.Errorf("%+v and %+v are one key", k, other)
			}
			seen[k.Hash()] = k
		}
	}
}

// The encoding is stored: it may never change under one version byte.
func TestKeyEncodingIsStable(t *testing.T) {
	t.Parallel()
	k := Key{KindIdempotency, "env", "task", "key"}
	if got := string(k.Encode(nil)); got != "\x01k\x03env\x04task\x03key" {
		t.Errorf("encoding %q", got)
	}
	if got := k.Hash().String(); got != "F55DDKa-ybqKjNVGXgn6N_1OtvqpcxTqyUCU5dJjss4" {
		t.Errorf("hash %s", got)
	}
	if got := DigestPayload("application/json", []byte(`{"a":1}`)).String(); got != "qDgRsCV3Y_9Xj9im0VwXUQ" {
		t.Errorf("payload digest %s", got)
	}
	if got := DigestRequest("env", "task", "q").String(); got != "M6K5FpqAu1e6M36VIczi0Q" {
		t.Errorf("request digest %s", got)
	}
}

func TestTriggerKey(t *testing.T) {
	t.Parallel()
	trigger := Trigger{Environment: "e", Task: "t"}
	if k := trigger.Key(); !k.IsZero() {
		t.Errorf("a trigger without identity has key %+v", k)
	}
	trigger.RequestKey = "q"
	if k := trigger.Key(); k != (Key{KindRequest, "e", "t", "q"}) || trigger.IdentityTTL() != RequestKeyTTL {
		t.Errorf("request key: %+v", k)
	}
	trigger.BatchItem = BatchItem{Batch: "b", Index: 3}
	if k := trigger.Key(); k != (Key{KindBatchItem, "e", "t", "b#3"}) || trigger.IdentityTTL() != RequestKeyTTL {
		t.Errorf("batch item: %+v", k)
	}
	trigger.IdempotencyKey = "k"
	if k := trigger.Key(); k != (Key{KindIdempotency, "e", "t", "k"}) || trigger.IdentityTTL() != DefaultKeyTTL {
		t.Errorf("idempotency key: %+v", k)
	}
	trigger.KeyTTL = MinKeyTTL
	if got := trigger.IdentityTTL(); got != MinKeyTTL {
		t.Errorf("TTL %v", got)
	}
	// An index is digits, so a batch whose name ends in what looks like an index is another place.
	a, b := BatchItem{Batch: "b#1", Index: 2}, BatchItem{Batch: "b", Index: 12}
	if a.key() == b.key() {
		t.Error("two places in batches are one key")
	}
}

func TestHashText(t *testing.T) {
	t.Parallel()
	h := Key{KindRequest, "e", "t", "x"}.Hash()
	text := h.String()
	if got, ok := ParseHash(text); !ok || got != h || len(text) != 43 {
		t.Errorf("ParseHash(%q) = %v, %t", text, got, ok)
	}
	for _, bad := range []string{"", text[:42], text + "A", text[:42] + "=", text[:42] + "\n", strings.Repeat("/", 43), text[:42] + "B"} {
		if got, ok := ParseHash(bad); ok && bad != text {
			t.Errorf("ParseHash(%q) = %v", bad, got)
		}
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	distinct := map[Digest]string{}
	for what, d := range map[string]Digest{
		"json":      DigestPayload("application/json", []byte("x")),
		"text":      DigestPayload("text/plain", []byte("x")),
		"shifted":   DigestPayload("text/plainx", nil),
		"nothing":   DigestPayload("", nil),
		"request":   DigestRequest("e", "t", "x"),
		"other env": DigestRequest("f", "t", "x"),
		"other":     DigestRequest("e", "t", "y"),
	} {
		if other, ok := distinct[d]; ok || d.IsZero() {
			t.Errorf("%s and %q have one digest", what, other)
		}
		distinct[d] = what
		if got, ok := ParseDigest(d.String()); !ok || got != d || len(d.String()) != 22 {
			t.Errorf("%s: ParseDigest(%q) = %v, %t", what, d, got, ok)
		}
	}
	none := DigestRequest("e", "t", "")
	if got, ok := ParseDigest(none.String()); !none.IsZero() || none.String() != "-" || !ok || !got.IsZero() {
		t.Errorf("no digest is written %q and read %v, %t", none, got, ok)
	}
	for _, bad := range []string{"", "--", "A", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("A", 21) + "B"} {
		if got, ok := ParseDigest(bad); ok {
			t.Errorf("ParseDigest(%q) = %v", bad, got)
		}
	}
}
