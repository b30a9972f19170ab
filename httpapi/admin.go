package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// Worker is what the admin routes need of the engine: how runs leave the
// queue. It is safe for concurrent use.
type Worker interface {
	// Take hands out runs that may start now, each to one caller only.
	Take(ctx context.Context, r run.TakeRequest) ([]run.Run, error)
	// Finish moves a run to the status that its worker reports. Errors:
	// run.ErrInvalid, run.ErrNotFound, run.ErrConflict, run.ErrUnavailable.
	Finish(ctx context.Context, environment string, id run.ID, f run.Finish) (run.Run, error)
}

// AdminConfig is what the admin handler works with.
type AdminConfig struct {
	Worker    Worker    // required
	Overrides Overrides // required
	Explainer Explainer // required
	Buffer    Buffer    // required
	// Authenticate returns the name of whom an admin token belongs to. Required.
	Authenticate func(bearer string) (name string, ok bool)
	// Environment returns the id of the environment that a text names: an id, or
	// organisation/name. Errors: run.ErrNotFound, run.ErrUnavailable. Nil takes every
	// text for an id.
	Environment func(ctx context.Context, text string) (id string, err error)
	// Node is this node's name.
	Node string
	// Logger, Timeout and Now are as in [Config].
	Logger  *slog.Logger
	Timeout time.Duration
	Now     func() time.Time
}

// maxTake bounds one call of take: the answer holds whole payloads.
const maxTake = 100

type admin struct{ AdminConfig }

// NewAdmin returns the admin handler: profiles, the door for workers, and what
// operators change at run time. Only the latter asks for a credential, so it must
// listen where only the operator reaches it; requests that a browser sends on behalf
// of another site are refused.
func NewAdmin(cfg AdminConfig) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Environment == nil {
		cfg.Environment = func(_ context.Context, text string) (string, error) { return text, nil }
	}
	a := &admin{cfg}
	s := newRouter(cfg.Logger, cfg.Timeout, 0)
	s.route(append([]operation{
		{
			method: http.MethodPost, path: "/admin/v1/runs/take", open: true, do: a.take,
			id: "takeRuns", summary: "Take runs to work on", answer: reflect.TypeFor[takeAnswer](),
		},
		{
			method: http.MethodPost, path: "/admin/v1/environments/{env}/runs/{id}/finish", open: true, write: true, do: a.finish,
			id: "finishRun", summary: "Report a run's status",
			request: reflect.TypeFor[finishBody](), answer: reflect.TypeFor[workView](),
		},
	}, slices.Concat(a.overrideOperations(), a.explainOperations(), a.bufferOperations())...))
	s.mux.HandleFunc("/debug/pprof/", pprof.Index)
	s.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	s.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	s.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	s.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return http.NewCrossOriginProtection().Handler(s)
}

// workView is a run as its worker needs it: the view that its owner has, and
// the payload's own bytes with their type. The bytes are text where they are
// valid UTF-8, else base64; without a payload there is neither.
type workView struct {
	runView       `json:",inline"`
	Environment   string  `json:"environment"`
	Organisation  string  `json:"organisation"`
	PayloadType   string  `json:"payloadType"`
	PayloadText   *string `json:"payloadText,omitzero"`
	PayloadBase64 []byte  `json:"payloadBase64,omitzero"`
}

type takeAnswer struct {
	Runs []workView `json:"runs"`
}

// finishBody is what a worker reports. Output follows the rule of a trigger's
// payload: under application/json, the default, any JSON value, kept as its
// text; under every other type a string, kept as its own bytes.
type finishBody struct {
	Status     field[string]  `json:"status"`
	Output     jsontext.Value `json:"output"`
	OutputType field[string]  `json:"outputType"`
	Error      field[failure] `json:"error"`
}

type failure struct {
	Message    field[string] `json:"message"`
	Name       field[string] `json:"name"`
	StackTrace field[string] `json:"stackTrace"`
}

// take answers POST /admin/v1/runs/take?n=.
func (a *admin) take(ctx context.Context, c *call) (reply, error) {
	n := 1
	if text := c.URL.Query().Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxTake {
			return reply{}, malformed("n", "from 1 to "+strconv.Itoa(maxTake))
		}
	}
	runs, err := a.Worker.Take(ctx, run.TakeRequest{Most: n})
	if err != nil {
		return reply{}, err
	}
	out := takeAnswer{Runs: []workView{}}
	for i := range runs {
		out.Runs = append(out.Runs, a.view(&runs[i]))
	}
	return answer(out)
}

// finish answers POST /admin/v1/environments/{env}/runs/{id}/finish.
func (a *admin) finish(ctx context.Context, c *call) (reply, error) {
	id, err := run.ParseID(c.PathValue("id"))
	if err != nil {
		return reply{}, errNoRun
	}
	raw, err := c.readBody()
	if err != nil {
		return reply{}, err
	}
	body, err := decodeBody[finishBody](raw)
	if err != nil {
		return reply{}, err
	}
	f, err := body.finish()
	if err != nil {
		return reply{}, err
	}
	r, err := a.Worker.Finish(ctx, c.PathValue("env"), id, f)
	if err != nil {
		return reply{}, err
	}
	return answer(a.view(&r))
}

func (b *finishBody) finish() (run.Finish, error) {
	f := run.Finish{Status: run.Status(b.Status.value), OutputType: b.OutputType.value}
	if !f.Status.Valid() {
		return f, malformed("status", "must be one of the statuses of a run")
	}
	var err error
	if f.Output, err = storedPayload("output", b.Output, f.OutputType); err != nil {
		return f, err
	}
	if b.Error.set {
		e := b.Error.value
		if !e.Message.set {
			return f, malformed("error.message", "must be a string")
		}
		f.Failure = &run.Failure{Message: e.Message.value, Name: e.Name.value, StackTrace: e.StackTrace.value}
	}
	return f, nil
}

func (a *admin) view(r *run.Run) workView {
	t := &r.Trigger
	v := workView{
		runView: viewRun(r, a.Now()), Environment: t.Environment, Organisation: t.Organisation, PayloadType: t.PayloadType,
	}
	switch {
	case t.Payload == nil:
	case utf8.Valid(t.Payload):
		text := string(t.Payload)
		v.PayloadText = &text
	default:
		v.PayloadBase64 = t.Payload
	}
	return v
}
