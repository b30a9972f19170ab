// Httpservice is an HTTP service with an engine in it: whoever posts an order's invoice,
// however often, gets the id of one run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

const (
	organisation = "acme"
	environment  = "prod"
)

// Handler serves the engine's runs.
func Handler(engine *mollifier.Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{order}/invoice", func(w http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, run.MaxPayload))
		if err != nil {
			http.Error(w, "the body is too large, or was cut off", http.StatusBadRequest)
			return
		}
		result, err := engine.Trigger(r.Context(), run.Trigger{
			Organisation: organisation, Environment: environment, Task: "send-invoice",
			Payload: payload, IdempotencyKey: r.PathValue("order"),
			RequestKey: r.Header.Get("Idempotency-Key"), // equal on each retry of one request
		})
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusAccepted, map[string]any{"run": result.ID(), "cached": result.Cached()})
	})
	mux.HandleFunc("GET /runs/{run}", func(w http.ResponseWriter, r *http.Request) {
		id, err := run.ParseID(r.PathValue("run"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		found, err := engine.Run(r.Context(), environment, id)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, map[string]any{"run": found.ID, "status": found.Status})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := engine.Ready(r.Context()); err != nil {
			refuse(w, err)
		}
	})
	return mux
}

// refuse says what the caller can do about an error: correct it, or come again.
func refuse(w http.ResponseWriter, err error) {
	var (
		invalid *run.InvalidError
		refused *run.RefusedError
	)
	switch {
	case errors.As(err, &invalid):
		answer(w, http.StatusBadRequest, map[string]any{"field": invalid.Field, "rule": invalid.Rule})
	case errors.Is(err, run.ErrNotFound):
		answer(w, http.StatusNotFound, map[string]any{"error": "no such run"})
	case errors.As(err, &refused):
		pause := max(refused.RetryAfter, time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(pause.Seconds()))))
		status := http.StatusServiceUnavailable
		if errors.Is(err, run.ErrQuota) {
			status = http.StatusTooManyRequests
		}
		answer(w, status, map[string]any{"error": "come again"})
	default: // the caller has left
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Debug("the caller has left", "error", err)
	}
}

func main() {
	if err := serve(); err != nil {
		slog.Error("httpservice", "error", err)
		os.Exit(1)
	}
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	engine, err := mollifier.New(ctx, mollifier.Config{
		Redis: os.Getenv("REDIS_URL"), Postgres: os.Getenv("DATABASE_URL"), Migrate: true, Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: Handler(engine), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// The intake first: then the engine has only to answer what it has taken.
	return errors.Join(err, server.Shutdown(end), engine.Close(end))
}
