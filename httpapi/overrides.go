package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

// Overrides is what the admin routes need to change a deployment while it runs. It is
// safe for concurrent use. Errors of all: run.ErrInvalid, run.ErrUnavailable; those
// that end an override: run.ErrNotFound where there is none.
type Overrides interface {
	SetGate(ctx context.Context, o override.Override) (version int64, err error)
	ClearGate(ctx context.Context, environment string, by override.Author) (version int64, err error)
	PauseDrain(ctx context.Context, o override.Override) (version int64, err error)
	ResumeDrain(ctx context.Context, environment string, by override.Author) (version int64, err error)
	// Overrides is what is in force on this node, from memory.
	Overrides() *override.State
	Audit(ctx context.Context, environment string, before int64, limit int) ([]override.Entry, error)
}

func (a *admin) overrideOperations() []operation {
	const gatePath = "/admin/v1/environments/{env}/gate"
	changed := reflect.TypeFor[changedAnswer]()
	return []operation{
		{
			method: http.MethodGet, path: "/admin/v1/overrides", open: true, do: a.listOverrides,
			id: "listOverrides", summary: "What is overridden, as this node goes by it", answer: reflect.TypeFor[OverridesAnswer](),
		},
		{
			method: http.MethodPost, path: gatePath, open: true, write: true, do: a.change(a.setGate),
			id: "setGate", summary: "Override the gate for an environment, on all nodes",
			request: reflect.TypeFor[gateBody](), answer: changed,
		},
		{
			method: http.MethodDelete, path: gatePath, open: true, do: a.change(a.clearGate),
			id: "clearGate", summary: "Remove the override", answer: changed,
		},
		{
			method: http.MethodPost, path: "/admin/v1/drain/pause", open: true, maybe: true, do: a.change(a.pauseDrain),
			id: "pauseDrain", summary: "Keep all runs in the buffer", request: reflect.TypeFor[pauseBody](), answer: changed,
		},
		{
			method: http.MethodPost, path: "/admin/v1/drain/resume", open: true, do: a.change(a.resumeDrain),
			id: "resumeDrain", summary: "End that pause", answer: changed,
		},
		{
			method: http.MethodPost, path: "/admin/v1/environments/{env}/drain/pause", open: true, maybe: true, do: a.change(a.pauseDrain),
			id: "pauseEnvironment", summary: "Keep an environment's runs in the buffer", request: reflect.TypeFor[pauseBody](), answer: changed,
		},
		{
			method: http.MethodPost, path: "/admin/v1/environments/{env}/drain/resume", open: true, do: a.change(a.resumeDrain),
			id: "resumeEnvironment", summary: "End that pause", answer: changed,
		},
		{
			method: http.MethodGet, path: "/admin/v1/audit", open: true, do: a.change(a.audit),
			id: "audit", summary: "What was changed at run time, the newest first", answer: reflect.TypeFor[auditAnswer](),
		},
	}
}

// change asks for the credential of who may change a deployment. Who that is, with the
// reason that the query gives, goes into the audit.
func (a *admin) change(do func(context.Context, *call, override.Author) (reply, error)) func(context.Context, *call) (reply, error) {
	return func(ctx context.Context, c *call) (reply, error) {
		header := c.Header.Values("Authorization")
		if len(header) == 0 {
			return reply{}, unauthorized("No authorization header: this needs the admin token")
		}
		scheme, credential, _ := strings.Cut(header[0], " ")
		if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") {
			return reply{}, unauthorized("Invalid or missing admin token")
		}
		name, ok := a.Authenticate(strings.TrimSpace(credential))
		if !ok {
			return reply{}, unauthorized("Invalid or missing admin token")
		}
		return do(ctx, c, override.Author{Name: name, Reason: c.URL.Query().Get("reason")})
	}
}

// about is the environment that a path names, by id or as organisation/name; "" if it
// names none.
func (a *admin) about(ctx context.Context, c *call) (string, error) {
	text := c.PathValue("env")
	if text == "" {
		return "", nil
	}
	return a.environment(ctx, text)
}

func (a *admin) environment(ctx context.Context, text string) (string, error) {
	id, err := a.Environment(ctx, text)
	if errors.Is(err, run.ErrNotFound) {
		return "", newProblem(http.StatusNotFound, "no-such-environment", "No such environment: give its id, or organisation/name").with("X-Should-Retry", "false")
	}
	return id, err
}

// gateBody is an override. What is absent stays as it is configured.
type gateBody struct {
	Window    field[string] `json:"window"`
	Threshold integer       `json:"threshold"`
	Hold      field[string] `json:"hold"`
	Force     field[string] `json:"force"`
	For       field[string] `json:"for"`
}

type pauseBody struct {
	For field[string] `json:"for"`
}

type changedAnswer struct {
	Environment string `json:"environment"`
	Version     int64  `json:"version"`
}

// setGate answers POST /admin/v1/environments/{env}/gate.
func (a *admin) setGate(ctx context.Context, c *call, by override.Author) (reply, error) {
	body, err := readJSON[gateBody](c)
	if err != nil {
		return reply{}, err
	}
	o := override.Override{By: by}
	if o.Environment, err = a.about(ctx, c); err != nil {
		return reply{}, err
	}
	if o.Gate.Window, err = spanOf("window", body.Window, time.Millisecond, time.Hour); err != nil {
		return reply{}, err
	}
	if o.Gate.Hold, err = spanOf("hold", body.Hold, time.Millisecond, time.Hour); err != nil {
		return reply{}, err
	}
	if body.Threshold.set && (body.Threshold.value < 1 || body.Threshold.value > 1_000_000) {
		return reply{}, malformed("threshold", "from 1 to 1000000")
	}
	o.Gate.Threshold = int(body.Threshold.value)
	switch f := body.Force.value; f {
	case "", "none":
	case "pass", "mollify":
		o.Gate.Force = f
	default:
		return reply{}, malformed("force", "one of none, pass, mollify")
	}
	if o.For, err = endOf(body.For); err != nil {
		return reply{}, err
	}
	return changedOf(o.Environment)(a.Overrides.SetGate(ctx, o))
}

// clearGate answers DELETE /admin/v1/environments/{env}/gate.
func (a *admin) clearGate(ctx context.Context, c *call, by override.Author) (reply, error) {
	environment, err := a.about(ctx, c)
	if err != nil {
		return reply{}, err
	}
	return changedOf(environment)(a.Overrides.ClearGate(ctx, environment, by))
}

// pauseDrain answers POST .../drain/pause.
func (a *admin) pauseDrain(ctx context.Context, c *call, by override.Author) (reply, error) {
	o := override.Override{By: by}
	var err error
	if c.ContentLength != 0 {
		body, err := readJSON[pauseBody](c)
		if err != nil {
			return reply{}, err
		}
		if o.For, err = endOf(body.For); err != nil {
			return reply{}, err
		}
	}
	if o.Environment, err = a.about(ctx, c); err != nil {
		return reply{}, err
	}
	return changedOf(o.Environment)(a.Overrides.PauseDrain(ctx, o))
}

// resumeDrain answers POST .../drain/resume.
func (a *admin) resumeDrain(ctx context.Context, c *call, by override.Author) (reply, error) {
	environment, err := a.about(ctx, c)
	if err != nil {
		return reply{}, err
	}
	return changedOf(environment)(a.Overrides.ResumeDrain(ctx, environment, by))
}

func changedOf(environment string) func(version int64, err error) (reply, error) {
	return func(version int64, err error) (reply, error) {
		if errors.Is(err, run.ErrNotFound) {
			return reply{}, newProblem(http.StatusNotFound, "no-override", "Nothing of this kind is overridden").with("X-Should-Retry", "false")
		}
		if err != nil {
			return reply{}, err
		}
		return answer(changedAnswer{environment, version})
	}
}

// OverrideView is an override, as operators see it. Durations are written as in flags; what is absent stays
// as it is configured.
type OverrideView struct {
	Environment string    `json:"environment"`
	Kind        string    `json:"kind"`
	Window      string    `json:"window,omitzero"`
	Threshold   int       `json:"threshold,omitzero"`
	Hold        string    `json:"hold,omitzero"`
	Force       string    `json:"force,omitzero"`
	Paused      bool      `json:"paused,omitzero"`
	Ends        time.Time `json:"ends,omitzero"`
	SetAt       time.Time `json:"setAt"`
	By          string    `json:"by"`
	Reason      string    `json:"reason,omitzero"`
}

// OverridesAnswer is what /admin/v1/overrides answers.
type OverridesAnswer struct {
	// Node and Version say who goes by this, and how new it is.
	Node      string         `json:"node"`
	Version   int64          `json:"version"`
	Overrides []OverrideView `json:"overrides"`
}

// listOverrides answers GET /admin/v1/overrides.
func (a *admin) listOverrides(context.Context, *call) (reply, error) {
	s := a.Overrides.Overrides()
	out := OverridesAnswer{Node: a.Node, Version: s.Version, Overrides: make([]OverrideView, 0, len(s.Overrides))}
	for i := range s.Overrides {
		out.Overrides = append(out.Overrides, viewOverride(&s.Overrides[i]))
	}
	return answer(out)
}

func viewOverride(o *override.Override) OverrideView {
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	return OverrideView{
		Environment: o.Environment, Kind: string(o.Kind), Window: text(o.Gate.Window), Threshold: o.Gate.Threshold,
		Hold: text(o.Gate.Hold), Force: o.Gate.Force, Paused: o.Kind == override.KindDrain,
		Ends: o.Ends.UTC().Truncate(time.Second), SetAt: o.SetAt.UTC(), By: o.By.Name, Reason: o.By.Reason,
	}
}

type auditView struct {
	ID          int64          `json:"id"`
	At          time.Time      `json:"at"`
	By          string         `json:"by"`
	Node        string         `json:"node"`
	Action      string         `json:"action"`
	Environment string         `json:"environment"`
	Reason      string         `json:"reason,omitzero"`
	Detail      jsontext.Value `json:"detail"`
}

type auditAnswer struct {
	Entries []auditView `json:"entries"`
}

// audit answers GET /admin/v1/audit?environment=&before=&limit=.
func (a *admin) audit(ctx context.Context, c *call, _ override.Author) (reply, error) {
	query := c.URL.Query()
	before, limit := int64(0), int64(100)
	for name, number := range map[string]*int64{"before": &before, "limit": &limit} {
		if text := query.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 1 || name == "limit" && n > override.MaxAudit {
				return reply{}, malformed(name, "from 1, and for limit to "+strconv.Itoa(override.MaxAudit))
			}
			*number = n
		}
	}
	environment := query.Get("environment")
	if environment != "" {
		var err error
		if environment, err = a.environment(ctx, environment); err != nil {
			return reply{}, err
		}
	}
	entries, err := a.Overrides.Audit(ctx, environment, before, int(limit))
	if err != nil {
		return reply{}, err
	}
	out := auditAnswer{Entries: make([]auditView, 0, len(entries))}
	for _, e := range entries {
		out.Entries = append(out.Entries, auditView{
			e.ID, e.At.UTC(), e.By.Name, e.Node, e.Action, e.Environment, e.By.Reason, jsontext.Value(e.Detail),
		})
	}
	return answer(out)
}

// spanOf reads a duration as the flags do, for windows are shorter than a second.
func spanOf(name string, f field[string], least, most time.Duration) (time.Duration, error) {
	if !f.set {
		return 0, nil
	}
	d, err := time.ParseDuration(f.value)
	if err != nil || d < least || d > most {
		return 0, malformed(name, "must be a duration from "+least.String()+" to "+most.String()+", like 200ms or 1m30s")
	}
	return d.Truncate(time.Microsecond), nil
}

// endOf is how long an override holds; 0 until it is cleared.
func endOf(f field[string]) (time.Duration, error) {
	return spanOf("for", f, time.Second, 30*24*time.Hour)
}
