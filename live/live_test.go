package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/fleet"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/telemetry"
)

// engine is an engine that says what a test wants: a real one can not be brought
// into each state at will. The page is tried on a real one in cmd/node.
type engine struct {
	stats    mollifier.Stats
	refused  []telemetry.Refused
	tripped  []gate.Tripped
	trips    int
	pressure string
	load     gate.Load
	redis    bool
	postgres bool
	levels   drain.Levels
	drained  drain.Stats
	paused   bool
	odd      []drain.Recent
	words    []fleet.Word
	said     []string
	override override.State
}

func (e *engine) Overrides() *override.State { return &e.override }

func (e *engine) Stats() mollifier.Stats        { return e.stats }
func (e *engine) Refusals() []telemetry.Refused { return e.refused }
func (e *engine) GateStats() gate.Stats {
	return gate.Stats{Decided: []gate.Decided{{Outcome: gate.Mollify, Reason: gate.ReasonRate, Enrolled: true, Count: 7}}}
}

func (e *engine) Tripped(int) ([]gate.Tripped, int)   { return e.tripped, max(e.trips, len(e.tripped)) }
func (e *engine) Pressure() string                    { return e.pressure }
func (e *engine) PostgresLoad() gate.Load             { return e.load }
func (e *engine) Available() (bool, bool)             { return e.redis, e.postgres }
func (e *engine) Levels() drain.Levels                { return e.levels }
func (e *engine) DrainStats() (drain.Stats, float64)  { return e.drained, 0 }
func (e *engine) Draining() (bool, bool)              { return true, e.paused }
func (e *engine) Drained(after uint64) []drain.Recent { return e.odd[after:] }
func (e *engine) Announce(_ context.Context, word string) ([]fleet.Word, error) {
	e.said = append(e.said, word)
	if !e.redis {
		return nil, errors.New("away")
	}
	return e.words, nil
}

// watched is a recorder on a clock that the test moves.
type watched struct {
	*Recorder
	engine *engine
	now    time.Time
}

func newWatched() *watched {
	w := &watched{engine: &engine{redis: true, postgres: true}, now: time.UnixMilli(1_800_000_000_000)}
	w.Recorder = New(Config{
		Engine: w.engine, Name: "node-1", Version: "v1", Now: func() time.Time { return w.now },
		Environment: func(id string) (string, bool) {
			return map[string]string{"env_1": "acme/prod"}[id], id != "env_shadow"
		},
		Organisation: func(id string) string { return map[string]string{"org_1": "acme"}[id] },
	})
	return w
}

// second lets one pass.
func (w *watched) second() sample {
	w.now = w.now.Add(time.Second)
	w.look()
	s, _ := w.samples.newest()
	return s
}

func (w *watched) said() (texts []string) {
	for _, e := range w.events.all {
		texts = append(texts, e.Text)
	}
	return texts
}

// Each trigger of a second has one outcome, and the refused come on top.
func TestSample(t *testing.T) {
	t.Parallel()
	w := newWatched()
	w.engine.stats = mollifier.Stats{
		Triggers: 1000, Settles: 100, Mollified: 300,
		RedisCalls: 4, SettleCalls: 3, CheckCalls: 2, LookCalls: 1, AcceptCalls: 10,
	}
	// The overloaded ones are not taken in; of the others who is refused shares no run.
	w.engine.refused = []telemetry.Refused{
		{Reason: "invalid", Count: 9},
		{Reason: "overloaded", Count: 50},
		{Reason: "over_quota", Count: 20},
		{Reason: "unavailable", Count: 3},
		{Reason: "claim_timeout", Count: 4},
		{Reason: "closed", Count: 1},
	}
	w.engine.drained.Materialised = 80
	w.engine.load = gate.Load{Calls: 3, Latency: 12_345 * time.Microsecond, Slowest: 50 * time.Millisecond}
	w.engine.levels = drain.Levels{Total: drain.Level{Entries: 220, Oldest: 3 * time.Second}}
	want := sample{
		At: w.now.Add(time.Second).UnixMilli(), Triggers: 1000, Passed: 100, Mollified: 300, Shared: 572, Refused: 78, Calls: 20,
		refusals: refusals{Overloaded: 50, OverQuota: 20, Unavailable: 7, Otherwise: 1},
		Drained:  80, LatencyMS: 12.35, SlowestMS: 50, Entries: 220, OldestMS: 3000,
	}
	if s := w.second(); s != want {
		t.Errorf("%+v, want\n%+v", s, want)
	}
	if c := w.latest.Counts; c.Refused != 78 || len(c.Refusals) != 6 || c.Refusals[0] != (refusal{"invalid", 9}) {
		t.Errorf("%+v", c)
	}
	if s := w.second(); s.Refused != 0 || s.OverQuota != 0 || s.Triggers != 0 || s.Shared != 0 || s.Drained != 0 {
		t.Errorf("a second without anything: %+v", s)
	}
	w.engine.stats.Settles += 5 // of triggers that were counted before
	if s := w.second(); s.Passed != 5 || s.Shared != 0 {
		t.Errorf("late settles: %+v", s)
	}
}

// The headline says the worst thing that is true, and has no figures that change by
// the second.
func TestHeadline(t *testing.T) {
	t.Parallel()
	tripped := func(id string) gate.Tripped {
		return gate.Tripped{Environment: id, State: gate.State{Tripped: true, Hold: time.Second, Count: 900}, Window: 200 * time.Millisecond, Threshold: 100}
	}
	for name, c := range map[string]struct {
		change func(*engine)
		level  string
		text   string
	}{
		"calm":     {func(*engine) {}, calm, "Calm"},
		"draining": {func(e *engine) { e.levels.Total.Entries = 5 }, storm, "is drained"},
		"one":      {func(e *engine) { e.tripped = []gate.Tripped{tripped("env_1")} }, storm, "acme/prod storms and is mollified."},
		"unknown":  {func(e *engine) { e.tripped = []gate.Tripped{tripped("env_9")} }, storm, "env_9 storms and is mollified."},
		"shadow":   {func(e *engine) { e.tripped = []gate.Tripped{tripped("env_shadow")} }, storm, "would be mollified"},
		"forced": {func(e *engine) {
			e.tripped = []gate.Tripped{tripped("env_1")}
			e.tripped[0].Force = gate.ForcePass
		}, storm, "forced to pass"},
		"many":     {func(e *engine) { e.tripped, e.trips = []gate.Tripped{tripped("env_1")}, 31 }, storm, "31 environments storm. The most: acme/prod"},
		"pressure": {func(e *engine) { e.pressure = "pressure_latency"; e.tripped = []gate.Tripped{tripped("env_1")} }, trouble, "pressure_latency"},
		"redis":    {func(e *engine) { e.redis = false }, trouble, "Redis does not answer"},
		"postgres": {func(e *engine) { e.postgres = false }, trouble, "diverted into the buffer"},
		"both":     {func(e *engine) { e.redis, e.postgres = false, false }, trouble, "Neither"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched()
			c.change(w.engine)
			w.second()
			if h := w.latest.Headline; h.Level != c.level || !strings.Contains(h.Text, c.text) {
				t.Errorf("%+v", h)
			}
		})
	}
}

// What happened is told once each: the beginning, the end, and what the drain met.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWatched()
	w.second()
	w.engine.tripped = []gate.Tripped{{Environment: "env_1", State: gate.State{Tripped: true}}}
	w.second()
	if e := w.latest.Environments[0]; e.Name != "acme/prod" || e.ForMS != 0 {
		t.Errorf("%+v", e)
	}
	w.second()
	if e := w.latest.Environments[0]; e.ForMS != 1000 {
		t.Errorf("tripped for %d ms", e.ForMS)
	}
	w.engine.tripped, w.engine.redis, w.engine.pressure, w.engine.paused = nil, false, "pressure_pool", true
	w.second()
	w.engine.redis, w.engine.pressure, w.engine.paused = true, "", false
	id, other := run.MintID(w.now, 1), run.MintID(w.now, 2)
	w.engine.odd = []drain.Recent{
		{Seq: 1, What: drain.OddAlias, Run: id, Canonical: other, Environment: "env_1"},
		{Seq: 2, What: drain.OddFailed, Run: other, Environment: "env_2"},
	}
	w.second()
	w.engine.odd = append(w.engine.odd, drain.Recent{Seq: 3, What: drain.OddUnreadable, Run: other, Environment: "env_2"})
	w.second()
	want := []string{
		"acme/prod storms and is mollified.",
		"Redis does not answer.", "The drain of this node pauses.", "Postgres is in trouble: pressure_pool. Every environment is mollified.",
		"acme/prod storms no more.",
		"Redis answers again.", "The drain of this node goes on.", "Postgres is out of trouble.",
		"A buffered run of acme/prod became an alias: its key had another run.",
		"A buffered run of env_2 was refused by Postgres and has failed.",
		"A buffered run of env_2 can not be read by this version, and was put aside.",
	}
	if got := w.said(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e := w.events.all[8]; e.Run != id.String() || e.Canonical != other.String() || e.What != "alias" {
		t.Errorf("%+v", e)
	}
	for i := range 40 {
		w.engine.tripped = append(w.engine.tripped, gate.Tripped{Environment: fmt.Sprint("env_", i)})
	}
	w.second()
	got := w.said()[len(want):]
	if len(got) != namedAtOnce+1 || got[namedAtOnce] != "30 more environments: the same." {
		t.Errorf("of many: %v", got)
	}
}

// What operators have put in force is told in words, with who did it and why.
func TestOverrides(t *testing.T) {
	t.Parallel()
	w := newWatched()
	by := override.Author{Name: "ann", Reason: "a launch"}
	w.engine.override.Overrides = []override.Override{
		{Kind: override.KindDrain, By: by},
		{Environment: "env_1", Kind: override.KindGate, Gate: override.Gate{Threshold: 500, Window: 100 * time.Millisecond}, By: by, Ends: w.now.Add(time.Minute)},
		{Environment: "env_2", Kind: override.KindGate, Gate: override.Gate{Force: "mollify"}, By: by},
	}
	for range listed {
		w.engine.override.Overrides = append(w.engine.override.Overrides, override.Override{Kind: override.KindDrain})
	}
	ends := w.now.Add(time.Minute).UnixMilli()
	w.second()
	want := []overridden{
		{Kind: "drain", What: "not drained", By: "ann", Reason: "a launch"},
		{Environment: "env_1", Name: "acme/prod", Kind: "gate", What: "threshold 500, window 100ms", Ends: ends, By: "ann", Reason: "a launch"},
		{Environment: "env_2", Kind: "gate", What: "forced to mollify", By: "ann", Reason: "a launch"},
	}
	s := w.latest
	if len(s.Overrides) != listed || s.Overridden != listed+3 || !slices.Equal(s.Overrides[:3], want) {
		t.Errorf("%+v of %d", s.Overrides, s.Overridden)
	}
}

// The others are shown by their word and its age; while Redis is away it grows old.
// A word of another version, or of anybody, breaks nothing.
func TestNodes(t *testing.T) {
	t.Parallel()
	w := newWatched()
	if v := w.view(0, 0); len(v.Nodes) != 1 || !v.Nodes[0].Self || v.Board.Known {
		t.Errorf("before anything was heard: %+v", v.Nodes)
	}
	w.engine.words = []fleet.Word{
		{Node: "b", Text: `{"name":"node-2","triggers":12.5,"newer":[1]}`, Age: 400 * time.Millisecond},
		{Node: "c", Text: `{"name":` + `"` + strings.Repeat("é", 500) + `"}`},
		{Node: "d", Text: "2|otherwise"},
	}
	w.announce(t.Context())
	w.engine.redis = false
	w.now = w.now.Add(3 * time.Second)
	w.announce(t.Context())
	v := w.view(0, 0)
	if len(v.Nodes) != 4 || v.Nodes[1].Name != "node-2" || v.Nodes[1].Triggers != 12.5 || v.Nodes[1].AgeMS != 3400 ||
		len([]rune(v.Nodes[2].Name)) != NameMost || v.Nodes[3].Name == "" || v.Board.Silent != 3000 {
		t.Errorf("%+v %+v", v.Nodes, v.Board)
	}
	if len(w.engine.said) != 2 || len(w.engine.said[0]) > fleet.MaxWord || !strings.Contains(w.engine.said[0], `"name":"node-1"`) {
		t.Errorf("this node said %q", w.engine.said)
	}
	w.engine.redis, w.engine.words = true, nil
	w.announce(t.Context())
	if got := strings.Join(w.said(), " "); !strings.Contains(got, "Node node-2 is here.") || !strings.Contains(got, "Node node-2 is gone.") {
		t.Errorf("said %s", got)
	}
}

// A long name, in a script of wide letters, still makes a word that the board takes.
func TestWordFits(t *testing.T) {
	t.Parallel()
	w := newWatched()
	w.Name, w.Version = strings.Repeat("\u2028", NameMost), strings.Repeat("v", 200)
	w.announce(t.Context())
	if n := len(w.engine.said[0]); n > fleet.MaxWord {
		t.Errorf("a word of %d bytes", n)
	}
}

// A page gets what is new since it asked last, all of it once the node is another, and
// five minutes at most.
func TestOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	w := newWatched()
	for range kept + 20 {
		w.second()
	}
	for _, c := range []struct{ after, want int64 }{{0, kept}, {kept + 18, 2}, {kept + 20, 0}, {kept + 21, kept}, {-1, kept}, {5, kept}} {
		v := w.view(c.after, c.after)
		if int64(len(v.Samples)) != c.want || v.SampleAt != kept+20 {
			t.Errorf("after %d: %d samples up to %d", c.after, len(v.Samples), v.SampleAt)
		}
	}
	if v := w.view(kept+19, 0); v.Samples[0].At != w.now.UnixMilli() {
		t.Errorf("the newest is of %d", v.Samples[0].At)
	}
}

// What is served: the page under a policy that lets it ask its own node only, its files
// once for each version, and the data.
func TestHandler(t *testing.T) {
	t.Parallel()
	w := newWatched()
	w.engine.levels.Organisations = map[string]drain.Level{"org_1": {Entries: 1}, `<b>"`: {Entries: 2}}
	w.second()
	serve := func(path, tag string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		req.Header.Set("If-None-Match", tag)
		w.Handler().ServeHTTP(rec, req)
		return rec
	}
	for path, kind := range map[string]string{
		"/": "text/html", "/live/live.css": "text/css", "/live/live.js": "text/javascript",
		"/live/chart.js": "text/javascript", "/live/operate.js": "text/javascript", "/live/icon.svg": "image/svg+xml",
	} {
		rec := serve(path, "")
		if rec.Code != http.StatusOK || !strings.HasPrefix(rec.Header().Get("Content-Type"), kind) ||
			rec.Header().Get("Content-Security-Policy") != policy || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, rec.Code, rec.Header())
		}
		if again := serve(path, rec.Header().Get("Etag")); again.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, again.Code)
		}
	}
	if rec := serve("/live/none", ""); rec.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", rec.Code)
	}
	rec := serve(DataPath+"?samples=x&events=99999999999999999999", "")
	var v struct {
		Samples []sample
		State   state
		Events  []event
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusOK || len(v.Samples) != 1 {
		t.Fatalf("%d, %v: %s", rec.Code, err, rec.Body)
	}
	if o := v.State.Buffer.Organisations; len(o) != 2 || o[0].ID != `<b>"` || o[1].Name != "acme" {
		t.Errorf("%+v", o)
	}
	if strings.Contains(rec.Body.String(), "<") {
		t.Error("the data holds markup as it is")
	}
}
