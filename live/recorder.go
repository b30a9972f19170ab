package live

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/fleet"
	"github.com/e0ff5a15/mollifier/gate"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/telemetry"
)

// Engine is what a recorder watches: [mollifier.Engine] is one. Only Announce does I/O.
type Engine interface {
	Stats() mollifier.Stats
	Refusals() []telemetry.Refused
	GateStats() gate.Stats
	Tripped(limit int) (list []gate.Tripped, total int)
	Pressure() string
	PostgresLoad() gate.Load
	Available() (redis, postgres bool)
	Levels() drain.Levels
	DrainStats() (stats drain.Stats, rate float64)
	Draining() (drains, paused bool)
	Drained(after uint64) []drain.Recent
	Overrides() *override.State
	Announce(ctx context.Context, word string) ([]fleet.Word, error)
}

var _ Engine = (*mollifier.Engine)(nil)

// Config is what a recorder works with. Engine is required.
type Config struct {
	Engine Engine
	// Name and Version tell this node from the others on the page.
	Name, Version string
	// Environment says what people call an environment, "" if that is not known, and
	// whether its organisation is enrolled; Organisation what an organisation is called.
	// Nil knows no names, and takes all for enrolled. They are asked once a second, so
	// they should answer from memory.
	Environment  func(id string) (name string, enrolled bool)
	Organisation func(id string) (name string)
	// Logger receives what goes wrong. Nil discards it.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

const (
	every = time.Second
	// kept is how many samples there are: five minutes.
	kept = 300
	// listed is how many environments, and organisations, the page names.
	listed = 20
)

// Recorder watches one node. Its methods are safe for concurrent use.
type Recorder struct {
	Config
	began time.Time

	mu      sync.Mutex
	samples history[sample]
	events  history[event]
	last    reading // what the next sample is compared with
	latest  state
	others  []peer
	board   board
}

// board is whether the other nodes are known.
type board struct {
	Known bool `json:"known"`
	// Silent is how long Redis has not told them, in milliseconds.
	Silent int64 `json:"silentMs"`
	heard  time.Time
}

// New returns a recorder that has seen nothing yet: see [Recorder.Run].
func New(cfg Config) *Recorder {
	if cfg.Environment == nil {
		cfg.Environment = func(string) (string, bool) { return "", true }
	}
	if cfg.Organisation == nil {
		cfg.Organisation = func(string) string { return "" }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Recorder{Config: cfg, began: cfg.Now()}
	r.samples.most, r.events.most = kept, kept
	r.last = r.read(r.began)
	r.latest = r.state(r.last)
	return r
}

// Run watches until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.look()
			r.announce(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// reading is what the engine says at one moment.
type reading struct {
	at       time.Time
	stats    mollifier.Stats
	refused  []telemetry.Refused
	gate     gate.Stats
	tripped  []gate.Tripped
	trips    int
	pressure string
	load     gate.Load
	redis    bool
	postgres bool
	levels   drain.Levels
	drained  drain.Stats
	rate     float64
	drains   bool
	paused   bool
	override *override.State
	odd      uint64 // the last oddity that was told
}

func (r *Recorder) read(now time.Time) reading {
	e := r.Engine
	m := reading{at: now, stats: e.Stats(), refused: e.Refusals(), gate: e.GateStats(), pressure: e.Pressure(), load: e.PostgresLoad(), levels: e.Levels()}
	m.tripped, m.trips = e.Tripped(listed)
	m.redis, m.postgres = e.Available()
	m.drained, m.rate = e.DrainStats()
	m.drains, m.paused = e.Draining()
	m.override = e.Overrides()
	return m
}

// look takes one sample.
func (r *Recorder) look() {
	now := r.read(r.Now())
	odd := r.Engine.Drained(r.last.odd)
	r.mu.Lock()
	defer r.mu.Unlock()
	now.odd = r.last.odd
	if len(odd) > 0 {
		now.odd = odd[len(odd)-1].Seq
	}
	r.samples.add(sampleOf(r.last, now))
	before := r.latest
	r.latest = r.state(now)
	r.latest.since(before, now.at)
	r.happened(before, odd)
	r.last = now
}

// word is what this node tells the others.
type word struct {
	Name      string  `json:"name"`
	Version   string  `json:"version"`
	UpSeconds int64   `json:"upSeconds"`
	Level     string  `json:"level"` // of the headline
	Triggers  float64 `json:"triggers"`
	Mollified float64 `json:"mollified"`
	Refused   float64 `json:"refused"`
	Drained   float64 `json:"drained"`
	LatencyMS float64 `json:"latencyMs"`
	Tripped   int     `json:"tripped"`
	Drains    bool    `json:"drains"`
	Redis     bool    `json:"redis"`
	Postgres  bool    `json:"postgres"`
}

// peer is a node as the page shows it.
type peer struct {
	ID    string `json:"id"`
	AgeMS int64  `json:"ageMs"` // of its word; 0 of this node
	Self  bool   `json:"self"`
	word
}

// NameMost is how many characters of a node's name others show.
const NameMost = 64

func (r *Recorder) word() word {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wordLocked()
}

func (r *Recorder) wordLocked() word {
	s, _ := r.samples.newest()
	return word{
		Name: r.Name, Version: r.Version, UpSeconds: int64(r.Now().Sub(r.began).Seconds()),
		Level: r.latest.Headline.Level, Triggers: s.Triggers, Mollified: s.Mollified, Refused: s.Refused,
		Drained: s.Drained, LatencyMS: s.LatencyMS, Tripped: r.latest.Trips,
		Drains: r.latest.Drain.Drains, Redis: r.latest.Redis, Postgres: r.latest.Postgres.Available,
	}
}

// announce exchanges words with the other nodes. While Redis gives no answer, what
// was heard last stays, and grows old.
func (r *Recorder) announce(ctx context.Context) {
	text, err := json.Marshal(r.word())
	if err != nil {
		r.Logger.Error("a node's word can not be written", slog.Any("error", err))
		return
	}
	words, err := r.Engine.Announce(ctx, string(text))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return
	}
	r.board.Known, r.board.heard = true, r.Now()
	heard := make([]peer, 0, len(words))
	for _, w := range words {
		heard = append(heard, peerOf(w))
	}
	r.nodesChanged(heard)
	r.others = heard
}

// peerOf reads another node's word. One of a version that says it otherwise is shown
// by what can be read of it.
func peerOf(w fleet.Word) peer {
	p := peer{ID: w.Node, AgeMS: w.Age.Milliseconds()}
	if err := json.Unmarshal([]byte(w.Text), &p.word); err != nil {
		p.word = word{Name: "a node that speaks otherwise"}
	}
	name := []rune(strings.ToValidUTF8(p.Name, "?"))
	p.Name = string(name[:min(len(name), NameMost)])
	return p
}
