package main

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/e0ff5a15/mollifier/httpapi"
)

// statsPath answers the engine's counters.
const statsPath = "/admin/v1/stats"

// adminHandler is the wire's admin handler and the counters of this process.
func (n *node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", httpapi.NewAdmin(httpapi.AdminConfig{Worker: n.engine, Logger: n.log}))
	mux.HandleFunc("GET "+statsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(n.engine.Stats()); err != nil {
			n.log.Debug("counters were not delivered", slog.Any("error", err))
		}
	})
	// The command line may hold store passwords and the secret key.
	mux.Handle("/debug/pprof/cmdline", http.NotFoundHandler())
	return mux
}
