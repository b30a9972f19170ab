package fallback

import (
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

func FuzzParseRecord(f *testing.F) {
	for _, text := range []string{
		"", "1|p|t|1|2|-", "1|f|7", "1|r|run_1|5|9|-|-", "1|b|run_1|5|9|-|-|env", "2|x", "1|r|run_1|5|9", "1|b|run_1|x|9|-|-|env", "1|r||5|9|-|-", "1",
	} {
		f.Add(text, "q")
	}
	f.Fuzz(func(t *testing.T, text, status string) {
		r, ok := parseRecord(text, status, "env")
		if !ok && r != (Record{}) || r.Queued && r.Run.IsZero() || r.Run.IsZero() && r.Until != 0 {
			t.Errorf("%q: %+v %v", text, r, ok)
		}
	})
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	id, _ := run.ParseID("run_1")
	for _, c := range []struct {
		text, status string
		want         Record
		ok           bool
	}{
		{"", "", Record{}, true},
		{"1|p|t|1|2|-", "", Record{}, true},
		{"1|f|7", "", Record{}, true},
		{"1|r|run_1|5|9|-|-", "", Record{Run: id, AcceptedAt: 5, Until: 9}, true},
		{"1|b|run_1|5|9|-|-|env", "q", Record{Run: id, AcceptedAt: 5, Until: 9, Queued: true}, true},
		{"1|b|run_1|5|9|-|-|env", "r", Record{Run: id, AcceptedAt: 5, Until: 9}, true},
		{"1|b|run_1|5|9|-|-|env", "", Record{}, true},    // its entry is gone
		{"1|b|run_1|5|9|-|-|other", "q", Record{}, true}, // another environment's
		{"2|b|run_1|5|9|-|-|env", "q", Record{}, false},  // of a later build
		{"1|z|run_1|5|9|-|-|env", "q", Record{}, false},  // of a state that is not known
		{"1|r|run_1|5|-9|-|-", "", Record{}, false},      // no instant
		{"1|r|run 1|5|9|-|-", "", Record{}, false},       // no run
	} {
		if got, ok := parseRecord(c.text, c.status, "env"); got != c.want || ok != c.ok {
			t.Errorf("%q: %+v %v", c.text, got, ok)
		}
	}
}
