package httpapi

import (
	"context"
	"net/http"
	"reflect"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/override"
	"github.com/e0ff5a15/mollifier/run"
)

type bufferView struct {
	Organisation string `json:"organisation"`
	Environment  string `json:"environment"`
	Entries      int64  `json:"entries"`
	Bytes        int64  `json:"bytes"`
	OldestMS     int64  `json:"oldestMs"`
	Paused       bool   `json:"paused"`
}

// Buffer is what the admin routes need to look into the buffer and to cancel what
// waits there. It is safe for concurrent use. Errors: run.ErrInvalid, run.ErrUnavailable.
type Buffer interface {
	Buffered(ctx context.Context) ([]mollifier.Buffered, error)
	PurgeBuffer(ctx context.Context, environment string, next run.ID, by override.Author) (mollifier.Purged, error)
}

func (a *admin) bufferOperations() []operation {
	return []operation{
		{
			method: http.MethodGet, path: "/admin/v1/buffer", open: true, do: a.listBuffer,
			id: "listBuffer", summary: "What is in the buffer, by environment", answer: reflect.TypeFor[bufferAnswer](),
		},
		{
			method: http.MethodPost, path: "/admin/v1/environments/{env}/buffer/purge", open: true, do: a.change(a.purge),
			id: "purgeBuffer", summary: "Cancel an environment's runs that wait in the buffer, some at a time",
			answer: reflect.TypeFor[purgeAnswer](), query: []string{"next", "reason"},
		},
	}
}

type bufferAnswer struct {
	Environments []bufferView `json:"environments"`
}

// listBuffer answers GET /admin/v1/buffer.
func (a *admin) listBuffer(ctx context.Context, _ *call) (reply, error) {
	list, err := a.Buffer.Buffered(ctx)
	if err != nil {
		return reply{}, err
	}
	out := bufferAnswer{Environments: make([]bufferView, 0, len(list))}
	for _, b := range list {
		out.Environments = append(out.Environments, bufferView{
			b.Organisation, b.Environment, b.Entries, b.Bytes, b.Oldest.Milliseconds(), b.Paused,
		})
	}
	return answer(out)
}

type purgeAnswer struct {
	Environment string `json:"environment"`
	Cancelled   int    `json:"cancelled"`
	Left        int    `json:"left"`
	Next        string `json:"next,omitzero"`
}

// purge answers POST /admin/v1/environments/{env}/buffer/purge?next=.
func (a *admin) purge(ctx context.Context, c *call, by override.Author) (reply, error) {
	environment, err := a.about(ctx, c)
	if err != nil {
		return reply{}, err
	}
	var next run.ID
	if text := c.URL.Query().Get("next"); text != "" {
		if next, err = run.ParseID(text); err != nil {
			return reply{}, malformed("next", "must be what the last step answered")
		}
	}
	p, err := a.Buffer.PurgeBuffer(ctx, environment, next, by)
	if err != nil {
		return reply{}, err
	}
	return answer(purgeAnswer{environment, p.Cancelled, p.Left, p.Next.String()})
}
