// Webhook takes in webhooks: senders repeat them when they do not hear an answer in time,
// and send thousands at once after an outage of theirs. The key is derived from what the
// sender says of an event, so a repeat is the same run, on any node.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
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

// maxBody is the most that is read of a webhook.
const maxBody = 1 << 20

// Intake takes the webhooks of senders, at /hooks/{sender}.
type Intake struct {
	Engine *mollifier.Engine
	// Secrets are the keys of the senders' signatures, by sender.
	Secrets map[string][]byte
}

// ServeHTTP answers 202 once the run is kept, so that the sender need not come again, and
// 503 with Retry-After when it has to.
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sender := r.PathValue("sender")
	secret, known := in.Secrets[sender]
	if !known {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is over 1 MiB, or was cut off", http.StatusBadRequest)
		return
	}
	// Before anything is stored: only who signs may take up keys.
	if !signed(secret, body, r.Header.Get("X-Signature-256")) {
		http.Error(w, "the signature does not match", http.StatusUnauthorized)
		return
	}
	result, err := in.Engine.Trigger(r.Context(), run.Trigger{
		Organisation: "acme", Environment: "prod", Task: "webhook-" + sender,
		Payload: body, PayloadType: r.Header.Get("Content-Type"),
		IdempotencyKey: Key(sender, r.Header.Get("X-Event-Id"), body),
		KeyTTL:         7 * 24 * time.Hour, // senders give up after days
	})
	var (
		invalid *run.InvalidError
		refused *run.RefusedError
	)
	switch {
	case err == nil:
		w.Header().Set("X-Run-Id", result.ID().String())
		w.WriteHeader(http.StatusAccepted)
	case errors.As(err, &invalid):
		http.Error(w, invalid.Error(), http.StatusBadRequest) // the sender need not come again
	case errors.As(err, &refused):
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(refused.RetryAfter, time.Second).Seconds()))))
		http.Error(w, "come again", http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusServiceUnavailable) // the sender has left
	}
}

// Key is the identity of an event: what the sender calls it, or else its body. The two
// kinds can not meet, nor can two senders.
func Key(sender, event string, body []byte) string {
	if event != "" {
		return sender + "/event/" + event
	}
	sum := sha256.Sum256(body)
	return sender + "/body/" + hex.EncodeToString(sum[:])
}

func signed(secret, body []byte, signature string) bool {
	given, err := hex.DecodeString(signature)
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return err == nil && hmac.Equal(given, mac.Sum(nil))
}

// Handler is the intake with its path.
func (in *Intake) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/{sender}", in)
	return mux
}

func main() {
	if err := serve(); err != nil {
		slog.Error("webhook", "error", err)
		os.Exit(1)
	}
}

func serve() error {
	secret := os.Getenv("SHOP_SECRET")
	if secret == "" {
		return errors.New("SHOP_SECRET is not set")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	engine, err := mollifier.New(ctx, mollifier.Config{
		Redis: os.Getenv("REDIS_URL"), Postgres: os.Getenv("DATABASE_URL"), Migrate: true, Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	in := &Intake{Engine: engine, Secrets: map[string][]byte{"shop": []byte(secret)}}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: in.Handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(end), engine.Close(end))
}
