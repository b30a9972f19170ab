package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/e0ff5a15/mollifier/explain"
	"github.com/e0ff5a15/mollifier/run"
)

// Explainer says why runs are what they are. It is safe for concurrent use. Errors:
// run.ErrNotFound, run.ErrInvalid, run.ErrUnavailable.
type Explainer interface {
	Explain(ctx context.Context, environment string, id run.ID) (explain.Explanation, error)
	ExplainKey(ctx context.Context, environment, task, idempotencyKey string) (explain.Explanation, error)
}

func (a *admin) explainOperations() []operation {
	explanation := reflect.TypeFor[explain.Explanation]()
	return []operation{
		{
			method: http.MethodGet, path: "/admin/v1/explain/{id}", open: true, do: a.explain,
			id: "explainRun", summary: "Why a run is what it is", answer: explanation, query: []string{"environment"},
		},
		{
			method: http.MethodGet, path: "/admin/v1/explain", open: true, do: a.explainKey,
			id: "explainKey", summary: "Who holds an idempotency key, and why", answer: explanation,
			query: []string{"environment", "task", "key"},
		},
	}
}

// explain answers GET /admin/v1/explain/{id}?environment=.
func (a *admin) explain(ctx context.Context, c *call) (reply, error) {
	id, err := run.ParseID(c.PathValue("id"))
	if err != nil {
		return reply{}, errNoRun
	}
	environment := c.URL.Query().Get("environment")
	if environment != "" {
		if environment, err = a.environment(ctx, environment); err != nil {
			return reply{}, err
		}
	}
	x, err := a.Explainer.Explain(ctx, environment, id)
	if err != nil {
		return reply{}, err
	}
	return answer(x)
}

// explainKey answers GET /admin/v1/explain?environment=&task=&key=.
func (a *admin) explainKey(ctx context.Context, c *call) (reply, error) {
	query := c.URL.Query()
	environment := query.Get("environment")
	if environment != "" {
		var err error
		if environment, err = a.environment(ctx, environment); err != nil {
			return reply{}, err
		}
	}
	x, err := a.Explainer.ExplainKey(ctx, environment, query.Get("task"), query.Get("key"))
	if err != nil {
		return reply{}, err
	}
	return answer(x)
}
