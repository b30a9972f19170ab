package run

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMintIDCarriesPartitionAndTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2031, 5, 6, 7, 8, 9, 123_456_789, time.UTC)
	for p := range MaxPartitions {
		id := MintID(at, p)
		if got, ok := id.Partition(); !ok || got != p {
			t.Fatalf("partition of %s = %d, %t; want %d", id, got, ok, p)
		}
		if got, ok := id.Time(); !ok || !got.Equal(at.Truncate(time.Millisecond)) {
			t.Fatalf("time of %s = %v, %t", id, got, ok)
		}
		if text := id.String(); len(text) != 32 || !strings.HasPrefix(text, "run_") || strings.ToLower(text) != text {
			t.Fatalf("form of %s", text)
		}
		if parsed, err := ParseID(id.String()); err != nil || parsed != id {
			t.Fatalf("ParseID(%s) = %v, %v", id, parsed, err)
		}
	}
}

func TestIDsSortByTime(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0)
	var minted []string
	for i := range 2000 {
		minted = append(minted, MintID(at.Add(time.Duration(i)*time.Millisecond), i*7%MaxPartitions).String())
	}
	if !slices.IsSorted(minted) {
		t.Error("ids of later milliseconds sort before earlier ones")
	}
}

func TestMintIDNeverRepeats(t *testing.T) {
	t.Parallel()
	at, seen := time.Unix(1_700_000_000, 0), map[ID]bool{}
	for range 10_000 {
		id := MintID(at, 5)
		if seen[id] {
			t.Fatalf("%s was minted twice", id)
		}
		seen[id] = true
	}
}

func TestMintIDRefusesPartitions(t *testing.T) {
	t.Parallel()
	for _, p := range []int{-1, MaxPartitions} {
		mustPanic(t, "a partition out of range", func() { MintID(time.Unix(0, 0), p) })
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", what)
		}
	}()
	f()
}

func TestParseID(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a", "run_1", "imported-RUN_7", strings.Repeat("x", 128)} {
		if id, err := ParseID(text); err != nil || id.String() != text || id.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v", text, id, err)
		}
	}
	for _, text := range []string{"", strings.Repeat("x", 129), "a b", "a\x00", "run_é", "a/b", "a.b", "a:b", "{a}", "a\n", "\xff"} {
		if id, err := ParseID(text); !errors.Is(err, ErrBadID) || !id.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v; want ErrBadID", text, id, err)
		}
	}
}

// Ids that look as if they had been minted, but can not have been, carry
// neither time nor partition.
func TestForeignIDs(t *testing.T) {
	t.Parallel()
	minted := MintID(time.Unix(1_700_000_000, 0), 3).String()
	for what, text := range map[string]string{
		"imported":          "imported",
		"upper case":        "run_" + strings.ToUpper(minted[4:]),
		"too short":         minted[:31],
		"too long":          minted + "0",
		"other prefix":      "rum_" + minted[4:],
		"not a digit":       minted[:20] + "u" + minted[21:],
		"no partition":      minted[:14] + "il" + minted[16:],
		"time out of range": "run_8" + minted[5:],
	} {
		id, err := ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := id.Partition(); ok {
			t.Errorf("%s: %s has partition %d", what, id, p)
		}
		if at, ok := id.Time(); ok {
			t.Errorf("%s: %s has time %v", what, id, at)
		}
	}
}

func TestIDText(t *testing.T) {
	t.Parallel()
	if b, err := json.Marshal(struct{ ID ID }{}); err == nil {
		t.Errorf("the zero id was written: %s", b)
	}
	want := MintID(time.Unix(1, 0), 1)
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got ID
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%s read as %v, %v", b, got, err)
	}
	if err := json.Unmarshal([]byte(`""`), &got); !errors.Is(err, ErrBadID) || got != want {
		t.Errorf("empty text read as %v, %v", got, err)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("run_")
	f.Add(MintID(time.Unix(1_700_000_000, 0), 1023).String())
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if (err == nil) == id.IsZero() {
			t.Fatalf("ParseID(%q) = %v, %v", text, id, err)
		}
		_, hasPartition := id.Partition()
		_, hasTime := id.Time()
		if hasPartition != hasTime {
			t.Fatalf("%q: partition %t, time %t", text, hasPartition, hasTime)
		}
	})
}

func TestInstant(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_999, time.FixedZone("", 3600))
	i := InstantOf(at)
	if got := i.Time(); !got.Equal(at.Truncate(time.Microsecond)) || got.Location() != time.UTC {
		t.Errorf("Time() = %v", got)
	}
	if got := i.Add(1500 * time.Nanosecond); got != i+1 {
		t.Errorf("Add cut to %d microseconds", got-i)
	}
}

// FirstID separates what was minted before an instant from what was minted since.
func TestFirstID(t *testing.T) {
	t.Parallel()
	if got := FirstID(time.Time{}).String(); got != "run_0000000000000000000000000000" {
		t.Errorf("before time began: %s", got)
	}
	at := time.UnixMilli(1_800_000_000_123)
	for _, partition := range []int{0, 1, MaxPartitions - 1} {
		if MintID(at.Add(-time.Millisecond), partition).String() >= FirstID(at).String() || MintID(at, partition).String() < FirstID(at).String() {
			t.Errorf("partition %d is on the wrong side", partition)
		}
	}
}
