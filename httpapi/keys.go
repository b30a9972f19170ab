package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/token"
)

func (a *api) keyOperations() []operation {
	return []operation{{
		method: http.MethodPost, path: "/api/v1/idempotencyKeys/{key}/reset", write: true, do: a.resetKey,
		id: "resetKey", summary: "End the interval of an idempotency key", scope: "write:runs",
		request: reflect.TypeFor[resetBody](), answer: reflect.TypeFor[idAnswer](),
	}}
}

type resetBody struct {
	Task field[string] `json:"taskIdentifier"`
}

// resetKey answers POST /api/v1/idempotencyKeys/{key}/reset.
func (a *api) resetKey(ctx context.Context, c *call) (reply, error) {
	body, err := readJSON[resetBody](c)
	if err != nil {
		return reply{}, err
	}
	if !body.Task.set || body.Task.value == "" {
		return reply{}, malformed("taskIdentifier", "must be a string, and not empty")
	}
	if err := c.permit(token.Resource{Type: token.Runs}); err != nil {
		return reply{}, err
	}
	key := c.PathValue("key")
	_, err = a.Engine.Reset(ctx, run.ResetRequest{
		Organisation: c.env.Organisation.ID, Environment: c.env.ID, Task: body.Task.value, IdempotencyKey: key,
	})
	if errors.Is(err, run.ErrNotFound) {
		return reply{}, newProblem(http.StatusNotFound, "key-not-found", "No run holds this idempotency key").with("X-Should-Retry", "false")
	}
	if err != nil {
		return reply{}, ofReset(err)
	}
	return answer(idAnswer{key})
}

// ofReset has an error name the field as a reset's path and body do.
func ofReset(err error) error {
	var invalid *run.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	named := *invalid
	switch named.Field {
	case "taskId":
		named.Field = "taskIdentifier"
	case "options.idempotencyKey":
		named.Field = "key"
	}
	return &named
}
