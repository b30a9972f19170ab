package main

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/drain"
	"github.com/e0ff5a15/mollifier/httpapi"
	"github.com/e0ff5a15/mollifier/live"
	"github.com/e0ff5a15/mollifier/ring"
)

// statsPath answers the engine's counters.
const statsPath = "/admin/v1/stats"

// adminHandler is the wire's admin handler and the counters of this process.
func (n *node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", httpapi.NewAdmin(httpapi.AdminConfig{
		Worker: n.engine, Overrides: n.engine, Explainer: n.engine, Buffer: n.engine, Logger: n.log, Node: n.set.engine.Node,
		Authenticate: adminTokens{n.set.adminTokens}.authenticate, Environment: n.tenants.Lookup,
	}))
	mux.HandleFunc("GET "+statsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(readStats(n.engine)); err != nil {
			n.log.Debug("counters were not delivered", slog.Any("error", err))
		}
	})
	mux.HandleFunc("GET "+gateRecordPath, n.serveGateRecord)
	page := n.live.Handler()
	for _, path := range []string{"GET /{$}", "GET /live/", "GET " + live.DataPath} {
		mux.Handle(path, page)
	}
	mux.Handle("GET "+metricsPath, n.observed.page)
	// The command line may hold store passwords and the secret key.
	mux.Handle("/debug/pprof/cmdline", http.NotFoundHandler())
	if n.admin.loopback() {
		return byAddress(mux)
	}
	return mux
}

// stats is the answer of statsPath: the engine's counters, and below them those
// of the gate, the buffer's levels and the drain. What counts is of this node;
// the levels are the deployment's, as a node that drains sees them.
type stats struct {
	mollifier.Stats
	Gate   gateStats   `json:"gate"`
	Buffer bufferStats `json:"buffer"`
	Drain  drainStats  `json:"drain"`
	Ring   ring.Stats  `json:"ring"`
}

type gateStats struct {
	Decisions    []decided `json:"decisions"`
	Environments int       `json:"environments"`
	Trips        uint64    `json:"trips"`
	Pressure     string    `json:"pressure,omitempty"`
}

type decided struct {
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason"`
	Enrolled bool   `json:"enrolled"`
	Count    uint64 `json:"count"`
}

type bufferStats struct {
	level
	Organisations map[string]level `json:"organisations"`
	Stale         int              `json:"stale"`
	Dead          int              `json:"dead"`
	AgeMS         int64            `json:"ageMs"` // of what is told here; negative: not yet known
}

type level struct {
	Entries  int64 `json:"entries"`
	Bytes    int64 `json:"bytes"`
	OldestMS int64 `json:"oldestMs"`
}

type drainStats struct {
	drain.Stats
	Rate float64 `json:"rate"` // entries a second of late; 0: not known
}

func readStats(e *mollifier.Engine) stats {
	g, levels := e.GateStats(), e.Levels()
	out := stats{
		Stats: e.Stats(),
		Gate:  gateStats{Decisions: []decided{}, Environments: g.Environments, Trips: g.Trips, Pressure: e.Pressure()},
		Buffer: bufferStats{
			level: levelOf(levels.Total), Organisations: map[string]level{},
			Stale: levels.Stale, Dead: levels.Dead, AgeMS: levels.Age.Milliseconds(),
		},
	}
	for _, d := range g.Decided {
		out.Gate.Decisions = append(out.Gate.Decisions, decided{d.Outcome.String(), d.Reason.String(), d.Enrolled, d.Count})
	}
	for organisation, l := range levels.Organisations {
		out.Buffer.Organisations[organisation] = levelOf(l)
	}
	out.Drain.Stats, out.Drain.Rate = e.DrainStats()
	out.Ring = e.RingStats()
	return out
}

func levelOf(l drain.Level) level { return level{l.Entries, l.Bytes, l.Oldest.Milliseconds()} }
