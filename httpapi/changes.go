package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// canceledByUser is the reason of a run that was cancelled over the wire.
const canceledByUser = "Canceled by user"

// idAnswer names what a change was about.
type idAnswer struct {
	ID string `json:"id"`
}

type messageAnswer struct {
	Message string `json:"message"`
}

type tagsBody struct {
	Tags texts `json:"tags"`
}

type rescheduleBody struct {
	Delay field[string] `json:"delay"`
}

// metadataBody replaces metadata or applies operations to it, and to that of the
// run's parent and root.
type metadataBody struct {
	Metadata         jsontext.Value             `json:"metadata"`
	MetadataType     field[string]              `json:"metadataType"`
	Operations       field[[]metadataOperation] `json:"operations"`
	ParentOperations field[[]metadataOperation] `json:"parentOperations"`
	RootOperations   field[[]metadataOperation] `json:"rootOperations"`
}

type metadataOperation struct {
	Type  field[string]  `json:"type"`
	Key   field[string]  `json:"key" required:"false"`
	Value jsontext.Value `json:"value" required:"false"`
}

type metadataAnswer struct {
	Metadata jsontext.Value `json:"metadata"`
}

func (a *api) changeOperations() []operation {
	return []operation{
		{
			method: http.MethodPost, path: "/api/v2/runs/{runId}/cancel", do: a.cancel,
			id: "cancelRun", summary: "Cancel a run", scope: "write:runs", answer: reflect.TypeFor[idAnswer](),
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/cancel", do: a.cancel,
			id: "cancelRunV1", summary: "As cancelRun, for older clients", scope: "write:runs", answer: reflect.TypeFor[idAnswer](),
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/replay", maybe: true, do: a.replay,
			id: "replayRun", summary: "Trigger again what a run did", scope: "write:runs",
			request: reflect.TypeFor[replayBody](), answer: reflect.TypeFor[idAnswer](),
			requestHeader: []string{headerInFlight, headerRequestKey},
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/reschedule", write: true, do: a.reschedule,
			id: "rescheduleRun", summary: "Move the delay of a run", scope: "write:runs",
			request: reflect.TypeFor[rescheduleBody](), answer: reflect.TypeFor[runView](), answerHeader: []string{headerAlias, headerPartial},
		},
		{
			method: http.MethodPost, path: "/api/v1/runs/{runId}/tags", write: true, do: a.addTags,
			id: "addTags", summary: "Add tags to a run", scope: "write:runs",
			request: reflect.TypeFor[tagsBody](), answer: reflect.TypeFor[messageAnswer](),
		},
		{
			method: http.MethodPut, path: "/api/v1/runs/{runId}/metadata", write: true, do: a.setMetadata,
			id: "setMetadata", summary: "Replace or change a run's metadata", scope: "write:runs",
			request: reflect.TypeFor[metadataBody](), answer: reflect.TypeFor[metadataAnswer](),
		},
	}
}

// cancel answers POST /api/v2/runs/{runId}/cancel.
func (a *api) cancel(ctx context.Context, c *call) (reply, error) {
	id, err := a.changeRun(c)
	if err != nil {
		return reply{}, err
	}
	if _, err := a.Engine.Cancel(ctx, c.env.ID, id, canceledByUser); err != nil {
		return reply{}, err
	}
	return answer(idAnswer{id.String()})
}

// addTags answers POST /api/v1/runs/{runId}/tags.
func (a *api) addTags(ctx context.Context, c *call) (reply, error) {
	body, err := readJSON[tagsBody](c)
	if err != nil {
		return reply{}, err
	}
	id, err := a.changeRun(c)
	if err != nil {
		return reply{}, err
	}
	if body.Tags == nil {
		return reply{}, malformed("tags", "must be a string or an array of strings")
	}
	_, added, err := a.Engine.AddTags(ctx, c.env.ID, id, body.Tags.set())
	if err != nil {
		return reply{}, err
	}
	if added == 0 {
		return answer(messageAnswer{"No new tags to add"})
	}
	return answer(messageAnswer{"Successfully set " + strconv.Itoa(added) + " new tags."})
}

// reschedule answers POST /api/v1/runs/{runId}/reschedule.
func (a *api) reschedule(ctx context.Context, c *call) (reply, error) {
	body, err := readJSON[rescheduleBody](c)
	if err != nil {
		return reply{}, err
	}
	now := a.Now()
	until, err := parseDelay(body.Delay.value, now)
	if err != nil {
		return reply{}, malformed("delay", err.Error())
	}
	if !until.After(now) {
		return reply{}, malformed("delay", "must be in the future")
	}
	id, err := a.changeRun(c)
	if err != nil {
		return reply{}, err
	}
	r, err := a.Engine.Reschedule(ctx, c.env.ID, id, until)
	if errors.Is(err, run.ErrConflict) {
		return reply{}, newProblem(http.StatusBadRequest, "not-delayed", "Only a run that is DELAYED can be rescheduled")
	}
	if err != nil {
		return reply{}, err
	}
	return a.whole(ctx, c, &r)
}

// setMetadata answers PUT /api/v1/runs/{runId}/metadata.
func (a *api) setMetadata(ctx context.Context, c *call) (reply, error) {
	body, err := readJSON[metadataBody](c)
	if err != nil {
		return reply{}, err
	}
	id, err := a.changeRun(c)
	if err != nil {
		return reply{}, err
	}
	if err := body.validate(); err != nil {
		return reply{}, err
	}
	r, err := a.changeMetadata(ctx, c.env.ID, id, body.change())
	if err != nil {
		return reply{}, err
	}
	a.changeRelatives(ctx, c, &r, &body)
	shown := shownMetadata(&r.Trigger)
	if shown.Kind() != jsontext.KindBeginObject {
		shown = jsontext.Value("{}") // clients take nothing but an object
	}
	return answer(metadataAnswer{shown})
}

// changeRelatives applies the operations for the run's parent and root; a run
// without one stands for it itself. The run's own change has been made, and a
// client that was told of an error would make it again: so what does not reach a
// relative, because that is gone, has ended, or can not be asked, is logged.
func (a *api) changeRelatives(ctx context.Context, c *call, r *run.Run, body *metadataBody) {
	for _, relative := range []struct {
		what       string
		id         run.ID
		operations []metadataOperation
	}{{"parent", r.Trigger.ParentRun, body.ParentOperations.value}, {"root", r.RootRun, body.RootOperations.value}} {
		if len(relative.operations) == 0 {
			continue
		}
		self := relative.id.IsZero()
		if self {
			relative.id = r.ID
		}
		changed, err := a.Engine.SetMetadata(ctx, c.env.ID, relative.id, run.MetadataChange{Operations: operations(relative.operations)})
		switch {
		case err != nil:
			a.Logger.Warn("metadata operations did not reach a relative", "run", r.ID.String(),
				"relative", relative.what, "cause", cause(err))
		case self:
			*r = changed
		}
	}
}

func (a *api) changeMetadata(ctx context.Context, environment string, id run.ID, change run.MetadataChange) (run.Run, error) {
	if change.Replace == nil && len(change.Operations) == 0 {
		return a.Engine.Run(ctx, environment, id)
	}
	r, err := a.Engine.SetMetadata(ctx, environment, id, change)
	if errors.Is(err, run.ErrConflict) {
		return r, newProblem(http.StatusUnprocessableEntity, "run-ended", "The metadata of a run that has ended can not be changed")
	}
	return r, err
}

// validate refuses the whole body for a fault in any part of it: of relatives
// nothing can be answered any more once the run itself has changed.
func (b *metadataBody) validate() error {
	if b.Metadata != nil && b.Metadata.Kind() != jsontext.KindBeginObject {
		return malformed("metadata", "must be an object")
	}
	for _, part := range []struct {
		name string
		from field[[]metadataOperation]
	}{{"operations", b.Operations}, {"parentOperations", b.ParentOperations}, {"rootOperations", b.RootOperations}} {
		change := run.MetadataChange{Operations: operations(part.from.value)}
		var invalid *run.InvalidError
		if err := change.Validate(); errors.As(err, &invalid) {
			named := *invalid
			named.Field = part.name + strings.TrimPrefix(named.Field, "operations")
			return &named
		}
	}
	return nil
}

func (b *metadataBody) change() run.MetadataChange {
	if b.Operations.set {
		return run.MetadataChange{Operations: operations(b.Operations.value)}
	}
	if b.Metadata != nil {
		return run.MetadataChange{Replace: &run.Metadata{Bytes: b.Metadata, Type: b.MetadataType.value}}
	}
	return run.MetadataChange{}
}

func operations(in []metadataOperation) []run.MetadataOperation {
	out := make([]run.MetadataOperation, 0, len(in))
	for _, o := range in {
		out = append(out, run.MetadataOperation{Type: run.MetadataOp(o.Type.value), Key: o.Key.value, Value: o.Value})
	}
	return out
}

// readJSON reads and decodes a body.
func readJSON[T any](c *call) (T, error) {
	raw, err := c.readBody()
	if err != nil {
		var none T
		return none, err
	}
	return decodeBody[T](raw)
}
