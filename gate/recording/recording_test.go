package recording

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// away is a Redis that is never asked: nobody reports.
type away struct{}

func (away) Run(context.Context, []redisdb.Call) []redisdb.Result { panic("asked") }
func (away) Available() bool                                      { return false }
func (away) Names() redisdb.Names                                 { return redisdb.Names{} }

// recorded is a gate whose decisions are recorded.
func recorded(t testing.TB, node string, a gate.Algorithm, l gate.Limits, enrolled bool) (*gate.Gate, *Recorder) {
	t.Helper()
	r := NewRecorder(node, a, 1<<20)
	cfg := gate.Defaults()
	cfg.Limits, cfg.Algorithm, cfg.Shadow = l, a, true
	cfg.Enrolled = func(string) bool { return enrolled }
	cfg.Record, cfg.Now = r.Record, func() time.Time { return began }
	g, err := gate.New(cfg, away{})
	if err != nil {
		t.Fatal(err)
	}
	return g, r
}

func trigger(environment string) *run.Snapshot {
	return &run.Snapshot{Trigger: run.Trigger{Organisation: "org", Environment: environment, Task: "task"}}
}

// through is lines written and read again.
func through(t testing.TB, lines []Line) (back []Line) {
	t.Helper()
	var b bytes.Buffer
	for i := range lines {
		if err := lines[i].Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := Read(&b, func(l Line) { back = append(back, l) }); err != nil {
		t.Fatal(err)
	}
	return back
}

// Whatever comes at the begins of slots, a gate that counts alone decides as the replay
// of its recording does, under the limits that it was recorded with and under others.
func TestReplayIsTheGate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a := rapid.SampledFrom([]gate.Algorithm{gate.FixedWindow, gate.GCRA}).Draw(rt, "algorithm")
		limits := func(name string) gate.Limits {
			ms := func(least, most int, of string) time.Duration {
				return time.Duration(rapid.IntRange(least, most).Draw(rt, name+of)) * time.Millisecond
			}
			return gate.Limits{Window: ms(200, 900, " window"), Threshold: rapid.IntRange(1, 12).Draw(rt, name+" threshold"), Hold: ms(1, 900, " hold")}
		}
		was, other := limits("recorded"), limits("other")
		enrolled := rapid.Bool().Draw(rt, "enrolled")
		g, r := recorded(t, "node", a, was, enrolled)
		twin, _ := recorded(t, "twin", a, other, enrolled)
		force := gate.ForceNone
		want, would := map[string]int{}, map[string]int{}
		now := began
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(Slot * time.Duration(rapid.IntRange(0, 40).Draw(rt, "passes")))
			environment := rapid.SampledFrom([]string{"env_1", "env_2"}).Draw(rt, "environment")
			if rapid.IntRange(0, 9).Draw(rt, "override") == 0 {
				force = rapid.SampledFrom([]gate.Force{gate.ForceNone, gate.ForcePass, gate.ForceMollify}).Draw(rt, "force")
				all := map[string]gate.Override{"env_1": {Force: force}}
				g.Replace(all)
				twin.Replace(all)
			}
			for range rapid.IntRange(1, 15).Draw(rt, "n") {
				if g.Decide(trigger(environment), now).Outcome != gate.Pass {
					want[environment]++
				}
				if twin.Decide(trigger(environment), now).Outcome != gate.Pass {
					would[environment]++
				}
			}
		}
		lines, _ := r.Lines(0)
		lines = through(t, lines)
		for _, c := range []struct {
			name string
			cfg  Config
			want map[string]int
		}{
			{"as recorded", Config{}, want},
			{"otherwise", Config{Window: other.Window, Threshold: other.Threshold, Hold: other.Hold}, would},
		} {
			// Twice the same lines are the same recording.
			report, err := Replay(c.cfg, slices.Concat(lines, lines))
			if err != nil {
				rt.Fatal(err)
			}
			for _, e := range report.Environments {
				if e.Replayed.Mollified != c.want[e.Environment] || e.Recorded.Mollified != want[e.Environment] || e.Enrolled != enrolled {
					rt.Fatalf("%s, %s: replayed %d, want %d; recorded %d, want %d", c.name, e.Environment,
						e.Replayed.Mollified, c.want[e.Environment], e.Recorded.Mollified, want[e.Environment])
				}
				sum := Column{}
				for _, column := range e.Columns {
					sum.Triggers += column.Triggers
					sum.Mollified += column.Mollified
					sum.Recorded += column.Recorded
				}
				if sum != (Column{e.Triggers, e.Replayed.Mollified, e.Recorded.Mollified}) {
					rt.Fatalf("the columns are %+v, the whole %d, %d, %d", sum, e.Triggers, e.Replayed.Mollified, e.Recorded.Mollified)
				}
				if a == gate.FixedWindow {
					never, err := Replay(Config{Window: c.cfg.Window, Threshold: e.Peak, Environment: e.Environment}, slices.Clone(lines))
					if err != nil {
						rt.Fatal(err)
					}
					if trips := never.Environments[0].Replayed.Trips; len(trips) > 0 {
						rt.Fatalf("a threshold of the peak, %d, trips: %+v", e.Peak, trips)
					}
				}
			}
		}
	})
}

// steady are n triggers at an instant, of the given node.
func steady(node string, at time.Duration, n, mollified uint32) Line {
	return Line{
		At: began.Add(at.Truncate(time.Second)), Node: node, Seq: uint64(at), Organisation: "org_1", Environment: "env_1", Name: "acme/prod", Enrolled: true,
		Limits: gate.Limits{Window: 200 * time.Millisecond, Threshold: 100, Hold: 500 * time.Millisecond},
		Slots:  []Counts{{Slot: uint8(at % time.Second / Slot), Triggers: n, Mollified: mollified}},
	}
}

// Nodes are counted together, as Redis does; a trip has its begin, its end and what was
// mollified in it.
func TestReplayOfAFleet(t *testing.T) {
	t.Parallel()
	lines := []Line{
		steady("b", 50*time.Millisecond, 80, 0), steady("a", 20*time.Millisecond, 80, 0), // 160 in a window
		steady("a", 3*time.Second, 90, 0),
		steady("b", 10*time.Second, 150, 50),
	}
	report, err := Replay(Config{}, slices.Clone(lines))
	if err != nil {
		t.Fatal(err)
	}
	e := report.Environments[0]
	want := []Trip{
		{began.Add(50 * time.Millisecond), began.Add(550 * time.Millisecond), 60},
		{began.Add(10 * time.Second), began.Add(10500 * time.Millisecond), 50},
	}
	if !reflect.DeepEqual(e.Replayed.Trips, want) || e.Replayed.Tripped != time.Second || e.Peak != 160 || !slices.Equal(report.Nodes, []string{"a", "b"}) {
		t.Errorf("%+v of %v", e, report.Nodes)
	}
	if !reflect.DeepEqual(e.Recorded.Trips, want[1:]) {
		t.Errorf("recorded %+v", e.Recorded)
	}
	for name, c := range map[string]struct {
		cfg       Config
		mollified int
	}{
		"threshold": {Config{Threshold: 150}, 10},
		"window":    {Config{Window: time.Hour}, 60 + 90 + 150},
		"from":      {Config{From: began.Add(time.Second)}, 50},
		"until":     {Config{Until: began.Add(time.Second)}, 60},
		"name":      {Config{Environment: "acme/prod"}, 110},
	} {
		report, err := Replay(c.cfg, slices.Clone(lines))
		if err != nil || report.Environments[0].Replayed.Mollified != c.mollified {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	for name, cfg := range map[string]Config{"nothing": {Environment: "env_2"}, "Threshold": {Window: time.Millisecond, Threshold: 5000}} {
		if _, err := Replay(cfg, slices.Clone(lines)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an override or Postgres's trouble decided stays, and counts.
func TestReplayKeepsWhatWasGiven(t *testing.T) {
	t.Parallel()
	line := steady("a", 0, 150, 150)
	line.Slots[0].Given = true
	after := steady("a", 100*time.Millisecond, 10, 10)
	line.Slots = append(line.Slots, after.Slots...)
	report, err := Replay(Config{Threshold: 1000}, []Line{line})
	if err != nil {
		t.Fatal(err)
	}
	if e := report.Environments[0]; e.Replayed.Mollified != 150 || len(e.Replayed.Trips) != 0 || e.Given != 150 || e.Peak != 160 {
		t.Errorf("%+v", e)
	}
}

// A second is closed by the next one, by other limits, and by the clock; the oldest go
// when there is no room; a reader gets each once.
func TestRecorderKeepsTheNewest(t *testing.T) {
	t.Parallel()
	r := NewRecorder("node", gate.FixedWindow, 3000)
	tell := func(environment string, at time.Duration, threshold int) {
		r.Record(gate.Counted{
			Organisation: "org", Environment: environment, At: began.Add(at), ByRate: true, Enrolled: true,
			Limits: gate.Limits{Window: time.Second, Threshold: threshold, Hold: time.Second},
		})
	}
	tell("a", 0, 1)
	tell("a", 15*time.Millisecond, 1)
	tell("a", 5*time.Millisecond, 1)   // overtaken
	tell("a", 500*time.Millisecond, 2) // other limits
	tell("a", time.Second, 2)
	if len(r.kept) != 2 {
		t.Errorf("%d lines are closed", len(r.kept))
	}
	r.close(began.Add(1500*time.Millisecond), false)
	if len(r.kept) != 2 {
		t.Error("the second of now was closed")
	}
	r.close(began.Add(2*time.Second), false)
	lines, next := r.Lines(0)
	if len(lines) != 3 || next != 3 || !slices.Equal(lines[0].Slots, []Counts{{0, false, 2, 0}, {1, false, 1, 0}}) || lines[1].Limits.Threshold != 2 {
		t.Fatalf("%+v", lines)
	}
	tell("a", time.Second, 2) // of a second that was closed
	if more, after := r.Lines(next); len(more) != 1 || after != 4 || more[0].Seq != 3 {
		t.Errorf("%+v", more)
	}
	for i := range 100 {
		tell("a", time.Duration(10+i)*time.Second, 2)
	}
	lines, next = r.Lines(0)
	if r.bytes > r.most || len(lines) < 2 || next != 4+100 || !lines[len(lines)-1].At.Equal(began.Add(109*time.Second)) {
		t.Errorf("%d bytes, %d lines, next %d", r.bytes, len(lines), next)
	}
	for i := range stripes * mostOpen * 2 {
		tell(fmt.Sprint(i), time.Hour, 2)
	}
	if r.Left() == 0 {
		t.Error("there is no bound on what is open")
	}
}

// What can not be a recording is refused with the line and the field; half a last line
// is what a crash leaves.
func TestReadNamesTheLine(t *testing.T) {
	t.Parallel()
	l := steady("node", 0, 3, 1)
	var b strings.Builder
	if err := l.Write(&b); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	n := 0
	if err := Read(strings.NewReader(good+"\n"+good[:len(good)-5]), func(got Line) {
		n++
		if !reflect.DeepEqual(got, l) {
			t.Errorf("%+v, want %+v", got, l)
		}
	}); err != nil || n != 1 {
		t.Errorf("%d lines, %v", n, err)
	}
	for field, change := range map[string][2]string{
		"v: must be 1": {`"v":1`, `"v":2`}, "at": {"05Z", "05.5Z"}, "algorithm": {`"fixed"`, `"other"`}, "window": {`"200ms"`, `"x"`},
		"hold": {`"500ms"`, `""`}, "Threshold": {`"threshold":100`, `"threshold":0`}, "slots": {"[0,3,1]", "[100,3,1]"},
		"more are mollified": {"[0,3,1]", "[0,3,4]"}, "longer": {"org_1", strings.Repeat("x", longestLine)},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%s: nothing to change", field)
		}
		if err := Read(strings.NewReader(good+text), func(Line) {}); err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	l := steady("node", 0, 3, 1)
	var b bytes.Buffer
	_ = l.Write(&b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = Read(bytes.NewReader(text), func(l Line) {
			var again bytes.Buffer
			if err := l.Write(&again); err != nil {
				t.Fatalf("%+v: %v", l, err)
			}
		})
	})
}

// The picture is well-formed whatever people call things, and says the figures.
func TestPicture(t *testing.T) {
	t.Parallel()
	var lines []Line
	for i := range drawn + 2 {
		l := steady("a", time.Duration(i)*100*time.Millisecond, 150+uint32(i), 50)
		l.Environment, l.Name = fmt.Sprint("env_", i), fmt.Sprintf("<%d>&\"'", i)
		lines = append(lines, l)
	}
	report, err := Replay(Config{Threshold: 120}, lines)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.Picture(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"2 more environments are not shown", "&lt;13&gt;", "threshold 120: tripped once, 43 mollified (recorded: 50)", "prefers-color-scheme: dark"} {
		if !strings.Contains(text, want) {
			t.Errorf("not in the picture: %s", want)
		}
	}
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r := NewRecorder("node", gate.FixedWindow, 1<<20)
	c := gate.Counted{Organisation: "org", Environment: "env_1", At: began, ByRate: true}
	b.ReportAllocs()
	for b.Loop() {
		r.Record(c)
	}
}
