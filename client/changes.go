package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
)

// Each of these changes may be repeated without another effect, and is.

func runPath(version, id, what string) string {
	return "/api/" + version + "/runs/" + url.PathEscape(id) + "/" + what
}

// Cancel cancels a run. One that has ended stays as it is.
func (c *Client) Cancel(ctx context.Context, id string) error {
	_, err := c.do(ctx, call{method: http.MethodPost, path: runPath("v2", id, "cancel")})
	return err
}

// Reschedule moves the delay of a DELAYED run: a duration, or an ISO 8601 date.
func (c *Client) Reschedule(ctx context.Context, id, delay string) (r Run, err error) {
	_, err = c.do(ctx, call{
		method: http.MethodPost, path: runPath("v1", id, "reschedule"), body: map[string]string{"delay": delay}, into: &r,
	})
	return r, err
}

// Replay triggers again what a run did, without its key, and returns the new run's id.
func (c *Client) Replay(ctx context.Context, id string) (string, error) {
	var v struct{ ID string }
	_, err := c.do(ctx, call{method: http.MethodPost, path: runPath("v1", id, "replay"), into: &v})
	return v.ID, err
}

// AddTags adds tags to a run's set, all or none.
func (c *Client) AddTags(ctx context.Context, id string, tags ...string) error {
	_, err := c.do(ctx, call{method: http.MethodPost, path: runPath("v1", id, "tags"), body: map[string][]string{"tags": tags}})
	return err
}

// SetMetadata replaces a run's metadata, which is a JSON object.
func (c *Client) SetMetadata(ctx context.Context, id string, metadata json.RawMessage) error {
	_, err := c.do(ctx, call{method: http.MethodPut, path: runPath("v1", id, "metadata"), body: map[string]json.RawMessage{"metadata": metadata}})
	return err
}

// ResetKey ends the interval of an idempotency key: the next trigger of it makes a
// new run. The error is KeyNotFound when no run held it.
func (c *Client) ResetKey(ctx context.Context, task, idempotencyKey string) error {
	tries, err := c.do(ctx, call{
		method: http.MethodPost, path: "/api/v1/idempotencyKeys/" + url.PathEscape(idempotencyKey) + "/reset",
		body: map[string]string{"taskIdentifier": task},
	})
	if tries > 1 && errors.Is(err, KeyNotFound) {
		return nil // an earlier try did it, and its answer was lost
	}
	return err
}
