package httpapi

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/e0ff5a15/mollifier/fallback"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
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
	// List reads a part of the environment's runs, the newest first.
	List(ctx context.Context, environment string, f runstore.Filter, p runstore.Page) (fallback.Page, error)

	// The changes of a run, wherever it is. Errors: as Run, run.ErrInvalid, and
	// run.ErrConflict where the run's status does not allow the change.
	Cancel(ctx context.Context, environment string, id run.ID, reason string) (run.Run, error)
	AddTags(ctx context.Context, environment string, id run.ID, tags []string) (r run.Run, added int, err error)
	SetMetadata(ctx context.Context, environment string, id run.ID, c run.MetadataChange) (run.Run, error)
	Reschedule(ctx context.Context, environment string, id run.ID, until time.Time) (run.Run, error)
	// Replay triggers again what a run did. Errors: those of Run and Trigger.
	Replay(ctx context.Context, environment string, id run.ID) (run.Result, error)
	// Reset ends the interval of an idempotency key. Errors: run.ErrInvalid,
	// run.ErrNotFound when no run holds it, run.ErrUnavailable.
	Reset(ctx context.Context, organisation, environment, task, idempotencyKey string) (run.ID, error)
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
	// Logger receives what goes wrong inside. Nil discards it.
	Logger *slog.Logger
	// Timeout bounds the work on one request, and must be below the server's
	// WriteTimeout, or the caller gets no answer at all. Default 20 s.
	Timeout time.Duration
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
	a := &api{cfg}
	s := newRouter(cfg.Logger, cfg.Timeout, cfg.MaxBytes)
	s.tenants = cfg.Tenants
	s.route(a.operations())
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
	return &router{log: logger, timeout: timeout, bodies: budget{most: maxBytes}}
}

// operations is the one list of public routes: the mux and the description of
// the interface are both made from it.
func (a *api) operations() []operation {
	return []operation{
		{
			method: http.MethodPost, path: "/api/v1/tasks/{taskId}/trigger", write: true, do: a.trigger,
			id: "trigger", summary: "Trigger a task",
			request: reflect.TypeFor[triggerBody](), answer: reflect.TypeFor[triggerAnswer](),
			requestHeader: []string{headerKey, headerKeyTTL, headerRequestKey, headerTraceParent, headerTraceState},
			answerHeader:  []string{headerToken, headerClaims},
		},
		{
			method: http.MethodGet, path: "/api/v3/runs/{runId}", do: a.retrieve,
			id: "retrieveRun", summary: "Read a run",
			answer: reflect.TypeFor[runView](), answerHeader: []string{headerAlias},
		},
		{
			method: http.MethodGet, path: "/api/v1/runs", do: a.list,
			id: "listRuns", summary: "List runs", answer: reflect.TypeFor[listAnswer](), answerHeader: []string{headerPartial},
		},
		{
			method: http.MethodPost, path: "/api/v2/runs/{runId}/cancel", do: a.cancel,
			id: "cancelRun", summary: "Cancel a run", answer: reflect.TypeFor[idAnswer](),
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/replay", do: a.replay,
			id: "replayRun", summary: "Trigger again what a run did", answer: reflect.TypeFor[idAnswer](),
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/reschedule", write: true, do: a.reschedule,
			id: "rescheduleRun", summary: "Move the delay of a run",
			request: reflect.TypeFor[rescheduleBody](), answer: reflect.TypeFor[runView](), answerHeader: []string{headerAlias},
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/tags", write: true, do: a.addTags,
			id: "addTags", summary: "Add tags to a run",
			request: reflect.TypeFor[tagsBody](), answer: reflect.TypeFor[messageAnswer](),
		},
		{
			method: http.MethodPut, path: "/api/v1/runs/{runId}/metadata", write: true, do: a.setMetadata,
			id: "setMetadata", summary: "Replace or change a run's metadata",
			request: reflect.TypeFor[metadataBody](), answer: reflect.TypeFor[metadataAnswer](),
		},
		{
			method: http.MethodPost, path: "/api/v1/idempotencyKeys/{key}/reset", write: true, do: a.resetKey,
			id: "resetKey", summary: "End the interval of an idempotency key",
			request: reflect.TypeFor[resetBody](), answer: reflect.TypeFor[idAnswer](),
		},
		{
			method: http.MethodGet, path: "/livez", open: true, do: alive,
			id: "livez", summary: "The process answers", answer: reflect.TypeFor[statusAnswer](),
		},
		{
			method: http.MethodGet, path: "/readyz", open: true, do: a.ready,
			id: "readyz", summary: "The node should get traffic", answer: reflect.TypeFor[statusAnswer](),
		},
	}
}

// statusAnswer is what the probes answer.
type statusAnswer struct {
	Status string `json:"status"`
}

func alive(context.Context, *call) (reply, error) { return answer(statusAnswer{"alive"}) }

func (a *api) ready(ctx context.Context, _ *call) (reply, error) {
	if a.Ready != nil {
		if err := a.Ready(ctx); err != nil {
			return reply{}, newProblem(http.StatusServiceUnavailable, "not-ready", "Not ready").with("Retry-After", "1")
		}
	}
	return answer(statusAnswer{"ready"})
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
// sets Addr, or serves a listener, and shuts it down. Nil logger discards what
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
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: or(limits.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:       or(limits.ReadTimeout, 15*time.Second),
		WriteTimeout:      or(limits.WriteTimeout, 30*time.Second),
		IdleTimeout:       or(limits.IdleTimeout, 60*time.Second),
		MaxHeaderBytes:    limits.MaxHeaderBytes,
		ErrorLog:          log.New(serverLog{logger}, "", 0),
	}
}
