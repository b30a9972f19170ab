package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// script makes a history of one key from lines of "call return what who ...".
func script(t *testing.T, text string, end *End) []Op {
	t.Helper()
	var ops []Op
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var call, ret float64
		if _, err := fmt.Sscan(f[0]+" "+f[1], &call, &ret); err != nil {
			t.Fatal(err)
		}
		op := Op{
			N: int64(len(ops) + 1), Kind: Kind(f[2]), Outcome: OK, HTTP: 200, Node: "node0",
			Call: int64(call * 1e9), Return: int64(ret * 1e9),
		}
		rest := f[3:]
		switch op.Kind {
		case Trigger, Reset:
			op.Key, op.TTL = "k", int64(2*time.Second)
		}
		for _, word := range rest {
			switch word {
			case "unknown":
				op.Outcome, op.HTTP, op.Problem = Unknown, 503, "unavailable"
			case "none":
				op.Outcome, op.HTTP = No, 404
			case "cached":
				op.Cached = true
			case "provisional":
				op.Identity = word
			case "FAILED", "COMPLETED", "QUEUED", "EXECUTING":
				op.Arg, op.Status = word, word
			default:
				if token, is := strings.CutPrefix(word, "token="); is {
					op.Token = token
				} else {
					op.Run = word
				}
			}
		}
		if op.Kind == Take {
			op.Runs, op.Run = []string{op.Run}, ""
		}
		ops = append(ops, op)
		if _, there := end.Rows[op.Run]; op.Run != "" && !there && !end.Loses {
			end.Rows[op.Run] = Row{Status: "COMPLETED"}
		}
	}
	return ops
}

// What is legal, and for each rule a history that breaks it.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, history string
		rows          map[string]Row
		loses, apart  bool
		want          string // kinds of violations
	}{
		{name: "one run for all", history: `
			0 1 trigger A
			0.5 1 trigger A cached
			1.5 1.6 trigger A cached`},
		{name: "a second run while the first holds", want: "illegal", history: `
			0 0.1 trigger A
			0.2 0.3 trigger B`},
		{name: "a new run after the end of the interval", history: `
			0 0.1 trigger A
			2.05 2.2 trigger B`},
		{name: "too early", want: "illegal", history: `
			0 0.1 trigger A
			1.8 1.9 trigger B`},
		{name: "too long", want: "illegal", history: `
			0 0.1 trigger A
			4.2 4.3 trigger A cached`},
		{name: "a reset", history: `
			0 0.1 trigger A
			0.2 0.3 reset
			0.4 0.5 trigger B`},
		{name: "a reset that is not honoured", want: "illegal", history: `
			0 0.1 trigger A
			0.2 0.3 reset
			0.4 0.5 trigger A cached`},
		{name: "a reset under way", history: `
			0 0.1 trigger A
			0.2 0.8 reset
			0.3 0.4 trigger A cached
			0.5 0.6 trigger B`},
		{name: "a reset that found none and cut one", history: `
			0 0.1 trigger A
			0.2 0.3 reset none
			0.4 0.5 trigger B`},
		{name: "a reset of unknown outcome", history: `
			0 0.1 trigger A
			0.2 0.3 reset unknown
			0.4 0.5 trigger A cached
			0.6 0.7 trigger B`},
		{name: "the old run comes back", want: "illegal", history: `
			0 0.1 trigger A
			0.2 0.3 reset
			0.4 0.5 trigger B
			0.6 0.7 reset
			0.8 0.9 trigger A cached`},
		{name: "a failed run frees its key", history: `
			0 0.1 trigger A
			0.2 0.3 finish A FAILED
			0.4 0.5 trigger B`},
		{name: "a failed run is answered", want: "illegal", history: `
			0 0.1 trigger A
			0.2 0.3 finish A FAILED
			0.4 0.5 trigger A cached`},
		{name: "a failed run is answered by who says that Postgres was not asked", history: `
			0 0.1 trigger A
			0.2 0.3 finish A FAILED
			0.4 0.5 trigger A cached provisional`},
		{name: "nobody heard of the run", rows: map[string]Row{"A": {Token: "a", Status: "COMPLETED"}}, history: `
			0 0.1 trigger unknown token=a
			0.2 0.3 trigger A cached`},
		{name: "nobody heard of the run, and another one was made", want: "illegal", rows: map[string]Row{"A": {Token: "a", Status: "COMPLETED"}}, history: `
			0 0.1 trigger unknown token=a
			0.2 0.3 trigger A cached
			0.4 0.5 trigger B`},
		{name: "two names of one run", rows: map[string]Row{"B": {Kind: 1, AliasOf: "A", Status: "ALIAS"}}, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B
			0.4 0.5 trigger A cached`},
		{name: "a buffered run whose key was given away by who could not ask Redis", rows: map[string]Row{"A": {Kind: 1, AliasOf: "C", Status: "ALIAS"}}, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B provisional
			0.4 0.5 finish B FAILED
			0.6 0.7 trigger C
			0.8 0.9 trigger A cached`},
		{name: "the same, by who says that everybody was asked", want: "illegal", rows: map[string]Row{"A": {Kind: 1, AliasOf: "C", Status: "ALIAS"}}, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B
			0.4 0.5 finish B FAILED
			0.6 0.7 trigger C`},
		{name: "a run in Postgres whose key is given away", want: "illegal", history: `
			0 0.1 trigger A
			0.2 0.3 trigger B provisional`},
		{name: "a buffered run became another name of one that failed, and is answered", want: "illegal", rows: map[string]Row{"A": {Kind: 1, AliasOf: "B", Status: "ALIAS"}}, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B provisional
			0.4 0.5 finish B FAILED
			0.6 0.7 trigger A cached`},
		{name: "two stores that know nothing of each other", apart: true, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B provisional
			0.4 0.5 trigger A cached provisional
			0.6 0.7 trigger A cached`},
		{name: "the same, by who says that everybody was asked", apart: true, want: "illegal", history: `
			0 0.1 trigger A
			0.2 0.3 trigger B provisional
			0.4 0.5 trigger C`},
		{name: "lost, where that may be", loses: true, rows: map[string]Row{"B": {Status: "COMPLETED"}}, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B`},
		{name: "new to two callers", want: "identity", history: `
			0 0.1 trigger A
			0.2 0.3 trigger A`},
		{name: "handed out twice", want: "execution", history: `
			0 0.1 trigger A
			0.2 0.3 take A
			0.4 0.5 take A`},
		{name: "an alias is handed out", want: "execution", rows: map[string]Row{"B": {Kind: 1, AliasOf: "A", Status: "ALIAS"}}, history: `
			0 0.1 trigger A
			0.2 0.3 trigger B
			0.4 0.5 take B`},
		{name: "not visible", want: "invisible", history: `
			0 0.1 trigger A
			0.11 0.12 get A none`},
		{name: "not yet acknowledged", history: `
			0 0.1 trigger A
			0.05 0.12 get A none`},
		{name: "backwards", want: "backwards", history: `
			0 0.1 trigger A
			0.2 0.3 get A EXECUTING
			0.4 0.5 get A QUEUED`},
		{name: "a trigger that made two runs", want: "duplicate", rows: map[string]Row{
			"A": {Token: "a", Status: "COMPLETED"}, "B": {Token: "a", Status: "COMPLETED"},
		}, history: `
			0 0.1 trigger A token=a`},
		{name: "a 503 without a fault", want: "5xx", history: `
			0 0.1 trigger unknown`},
		{name: "a change is lost", want: "change", rows: map[string]Row{"A": {Status: "COMPLETED", Bumps: 1}}, history: `
			0 0.1 trigger A
			0.2 0.3 bump A
			0.4 0.5 bump A`},
		{name: "a change is made twice", want: "change", rows: map[string]Row{"A": {Status: "COMPLETED", Bumps: 2}}, history: `
			0 0.1 trigger A
			0.2 0.3 bump A`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			end := &End{Rows: map[string]Row{}, Loses: c.loses, Apart: c.apart}
			for id, row := range c.rows {
				end.Rows[id] = row
			}
			ops := script(t, c.history, end)
			faults := []Window{{0, int64(time.Minute)}}
			if c.want == "5xx" {
				faults = nil
			}
			v := Judge(ops, end, faults, faults, 0, 0, time.Minute, nil)
			var kinds []string
			for _, found := range v.Violations {
				kinds = append(kinds, found.Kind)
			}
			slices.Sort(kinds)
			if got := strings.Join(slices.Compact(kinds), " "); got != c.want {
				t.Errorf("got %q, want %q: %v", got, c.want, v.Violations)
			}
		})
	}
}

// What was acknowledged and is nowhere is lost, and counted where that may be.
func TestLost(t *testing.T) {
	t.Parallel()
	for _, loses := range []bool{false, true} {
		op := Op{Kind: Trigger, Outcome: OK, HTTP: 200, Run: "A", Return: 1}
		v := Judge([]Op{op}, &End{Rows: map[string]Row{}, Loses: loses}, nil, nil, 0, 0, time.Minute, nil)
		if found := len(v.Violations) > 0; found == loses || (v.Lost == 1) != loses {
			t.Errorf("loses=%t: %v, %d lost", loses, v.Violations, v.Lost)
		}
	}
}
