package httpapi

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/watch"
)

// Engine is what the public routes need of the engine. It is safe for
// concurrent use.
type Engine interface {
	// Trigger accepts a trigger. Errors: run.ErrInvalid, run.ErrOverloaded,
	// run.ErrUnavailable, run.ErrClaimTimeout, run.ErrClosed, and the context's.
	Trigger(ctx context.Context, t run.Trigger) (run.Result, error)
	// Run reads a run of the environment by any of its ids. Errors:
	// run.ErrNotFound, run.ErrUnavailable, and the context's.
	Run(ctx context.Context, environment string, id run.ID) (run.Run, error)
	// Children reads the newest runs that were triggered in a run, which is named by
	// any of its ids; partial says that there may be more.
	Children(ctx context.Context, environment string, names ...run.ID) (children []run.Run, partial bool, err error)
	// List reads a part of the environment's runs, the newest first.
	List(ctx context.Context, environment string, f runstore.Filter, p runstore.Page) (fallback.Page, error)

	// The changes of a run, wherever it is. Errors: as Run, run.ErrInvalid, and
	// run.ErrConflict where the run's status does not allow the change.
	Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error)
	AddTags(ctx context.Context, environment string, id run.ID, tags []string) (r run.Run, added int, err error)
	SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error)
	Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error)
	// Replay triggers again what a run did, as edit changes it. Errors: those of
	// Run, edit and Trigger.
	Replay(ctx context.Context, environment string, id run.ID, edit func(*run.Trigger) error) (run.Result, error)
	// Reset ends the interval of an idempotency key. Errors: run.ErrInvalid,
	// run.ErrNotFound when no run holds it, run.ErrUnavailable.
	Reset(ctx context.Context, r run.ResetRequest) (run.ID, error)
	// SpendToken takes a token that may be used once for one use, both by their
	// SHA-256, until a time. Errors: run.ErrConflict when it was used for another
	// use; run.ErrUnavailable.
	SpendToken(ctx context.Context, environment string, token, use [32]byte, until time.Time) error
	// BindToken notes which batch such a token has opened, and TokenOpened asks.
	BindToken(ctx context.Context, environment string, token [32]byte, batch string) error
	TokenOpened(ctx context.Context, environment string, token [32]byte, batch string) (bool, error)

	// Watcher tells what became of runs since a client looked last.
	Watcher() *watch.Hub

	// CreateBatch opens a batch, or answers the one of the request's key; cached
	// says that it is complete.
	CreateBatch(ctx context.Context, r run.BatchRequest) (h runstore.BatchHeader, cached bool, err error)
	// BatchHeader and Batch read a batch, without and with what its items were
	// answered with. Errors: run.ErrNotFound, run.ErrUnavailable.
	BatchHeader(ctx context.Context, environment, batch string) (runstore.BatchHeader, error)
	Batch(ctx context.Context, environment, batch string) (runstore.Batch, error)
	// TriggerItems triggers items of one batch and gives them their places. An
	// error beside verdicts means that the items are to be sent again.
	TriggerItems(ctx context.Context, items []run.Trigger) ([]run.BatchResult, error)
	// SealBatch closes a batch if all of its places are taken.
	SealBatch(ctx context.Context, environment, batch string) (taken int, sealed bool, err error)
}

// Config is what the public handler works with.
type Config struct {
	// Engine and Tenants are required.
	Engine  Engine
	Tenants Tenants
	// Ready reports why this node should get no traffic, nil if it should:
	// while at least one store works and the node is not stopping. It should
	// answer from memory. Nil means always ready.
	Ready func(ctx context.Context) error
	// Version is the build's, for the description of the interface.
	Version string
	// Packets keep large payloads and outputs; nil for none.
	Packets Packets
	// PublicURL is how clients reach this API from outside, without a slash at its
	// end, for URLs in answers. Default: as the request did.
	PublicURL string
	// RateLimit bounds each environment's requests to this node.
	RateLimit RateLimit
	// Origins are those whose pages may use the API from a browser, as
	// "https://app.example"; "*" is every one. Default none.
	Origins []string
	// Logger receives what goes wrong inside. Nil discards it.
	Logger *slog.Logger
	// Telemetry measures and traces requests. Nil does not.
	Telemetry *telemetry.HTTP
	// Triggered is told of each answered trigger: its status, and how long it took.
	// It must be quick and safe for concurrent use. Nil: nobody is told.
	Triggered func(status int, took time.Duration)
	// Full says beforehand whether a trigger of an environment would be refused for want of
	// a place: then its body is not even read. Nil: it is found out later.
	Full func(environment string) error
	// Timeout bounds the work on one request, and must be below the server's
	// WriteTimeout, or the caller gets no answer at all. Default 20 s.
	Timeout time.Duration
	// Poll is how long a long poll waits for something new, before Timeout begins.
	// Default 20 s.
	Poll time.Duration
	// MaxBytes is how many bytes of request bodies may be held at once, from
	// their arrival to their answer; over it they are refused with 503. One body
	// alone is always taken. Default 256 MiB.
	MaxBytes int64
	// Now is the clock that delays are counted from and keys are shown by.
	// Default time.Now.
	Now func() time.Time
}

type api struct {
	Config
}

// New returns the public handler.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 20 * time.Second
	}
	a := &api{cfg}
	s := newRouter(cfg.Logger, cfg.Timeout, cfg.MaxBytes)
	s.tenants, s.telemetry, s.triggered = cfg.Tenants, cfg.Telemetry, cfg.Triggered
	s.limits = limits{RateLimit: cfg.RateLimit, now: cfg.Now}
	s.route(a.operations())
	s.outer = crossOrigin(cfg.Origins, s.outer)
	return s
}

func newRouter(logger *slog.Logger, timeout time.Duration, maxBytes int64) *router {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if timeout <= 0 {
		timeout = 20 * time.Second
	}
	if maxBytes <= 0 {
		maxBytes = 256 << 20
	}
	s := &router{log: logger, timeout: timeout, bodies: budget{most: maxBytes}, limits: limits{now: time.Now}}
	s.outer = http.HandlerFunc(s.find)
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// operations is the one list of public routes: the mux and the description of
// the interface are both made from it. Each file that answers routes names them.
func (a *api) operations() []operation {
	return slices.Concat(
		a.triggerOperations(), a.runOperations(), a.changeOperations(), a.keyOperations(),
		a.batchOperations(), a.tokenOperations(), a.packetOperations(), a.realtimeOperations(),
		a.probeOperations(),
	)
}

// Limits bound what a client may make a server wait for and hold. A zero field
// takes its default; a negative duration means no limit.
type Limits struct {
	ReadHeaderTimeout time.Duration // default 5 s
	ReadTimeout       time.Duration // the whole request; default 15 s
	WriteTimeout      time.Duration // from the end of the request's header; default 30 s
	IdleTimeout       time.Duration // between requests of a connection; default 60 s
	MaxHeaderBytes    int           // default 16 KiB
}

// AdminLimits suit the admin handler: profiles take as long as they are asked to.
func AdminLimits() Limits { return Limits{WriteTimeout: -1} }

// NewServer returns a server for the handler with every limit set. The caller
// sets Addr, or serves a listener, and shuts it down, which ends the long polls of
// a handler of this package. Nil logger discards what
// the server can not tell anyone else; addresses are never logged.
func NewServer(handler http.Handler, limits Limits, logger *slog.Logger) *http.Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	or := func(d, otherwise time.Duration) time.Duration {
		if d == 0 {
			return otherwise
		}
		return d
	}
	if limits.MaxHeaderBytes <= 0 {
		limits.MaxHeaderBytes = 16 << 10
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: or(limits.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:       or(limits.ReadTimeout, 15*time.Second),
		WriteTimeout:      or(limits.WriteTimeout, 30*time.Second),
		IdleTimeout:       or(limits.IdleTimeout, 60*time.Second),
		MaxHeaderBytes:    limits.MaxHeaderBytes,
		ErrorLog:          log.New(serverLog{logger}, "", 0),
	}
	if s, ok := handler.(*router); ok {
		server.RegisterOnShutdown(s.end)
	}
	return server
}
