package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

func (a *api) probeOperations() []operation {
	return []operation{
		{
			method: http.MethodGet, path: "/livez", open: true, do: alive,
			id: "livez", summary: "The process answers", answer: reflect.TypeFor[statusAnswer](),
		},
		{
			method: http.MethodGet, path: "/readyz", open: true, do: a.ready,
			id: "readyz", summary: "The node should get traffic", answer: reflect.TypeFor[statusAnswer](),
		},
		{
			method: http.MethodGet, path: "/openapi.json", open: true, do: a.describe,
			id: "openapi", summary: "This description", answer: reflect.TypeFor[jsontext.Value](),
		},
	}
}

// describe answers GET /openapi.json.
func (a *api) describe(context.Context, *call) (reply, error) {
	text, err := Describe(a.Version)
	if err != nil {
		return reply{}, err
	}
	return answer(jsontext.Value(text))
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
