package claim

import (
	"testing"

	"github.com/e0ff5a15/mollifier/run"
)

// Reading a reply is total, and what is read as resolved is written back as
// it was.
func FuzzParseReply(f *testing.F) {
	op := Op{Run: newID(), AcceptedAt: 5, Until: 9, PayloadHash: run.Digest{1}}
	for _, text := range []string{
		"", "c", "c12", "c-1", "w5", "d", "l", "?", "1|r|", "1|r|a|1|2|-|-", "1|r|a|1|2|-|-|", "1|r|a|+1|2|-|-",
		"1|r|a|9007199254740993|2|-|-", "1|b|a|1|2|-|-|e|q", "1|b|a|1|2|-|-|e|l", "1|b|a|1|2|-|-|e", "1|b|a|1|2|-|-||q",
		string(appendResolved(nil, &op)),
	} {
		for _, verb := range order {
			f.Add(uint8(verb), text)
		}
	}
	f.Fuzz(func(t *testing.T, verb uint8, text string) {
		r := parseReply(Verb(verb), text)
		if (r.Err == nil) == (r.State == 0) {
			t.Fatalf("%q: state %s and error %v", text, r.State, r.Err)
		}
		if (r.State == Resolved || r.State == Bound) && r.Run.IsZero() {
			t.Fatalf("%q: no run", text)
		}
		if r.State != Resolved {
			return
		}
		back := Op{Run: r.Run, AcceptedAt: r.AcceptedAt, Until: r.Until, PayloadHash: r.PayloadHash, RequestHash: r.RequestHash}
		if again, ok := parseResolved(string(appendResolved(nil, &back))); !ok || again != r {
			t.Fatalf("%q: read again as %+v", text, again)
		}
	})
}
