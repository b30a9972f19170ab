package httpapi

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// wholeBatchBody is a batch in one body, as older clients send it.
type wholeBatchBody struct {
	Items          field[[]jsontext.Value] `json:"items"` // each as a batchItem, without index
	IdempotencyKey field[string]           `json:"idempotencyKey" required:"false"`
	ParentRunID    field[string]           `json:"parentRunId" required:"false"`
	ResumeParent   field[bool]             `json:"resumeParentOnCompletion" required:"false"`
}

// wholeBatch answers POST /api/v2/tasks/batch: both phases in one. Every item is
// looked at before anything is stored.
func (a *api) wholeBatch(ctx context.Context, c *call) (reply, error) {
	request, origin, err := a.batchRequest(c)
	if err != nil {
		return reply{}, err
	}
	raw, err := c.readBody()
	if err != nil {
		return reply{}, err
	}
	body, err := decodeBody[wholeBatchBody](raw)
	if err != nil {
		return reply{}, err
	}
	head := batchBody{
		RunCount: integer{int64(len(body.Items.value)), true}, IdempotencyKey: body.IdempotencyKey,
		ParentRunID: body.ParentRunID, ResumeParent: body.ResumeParent,
	}
	if n := len(body.Items.value); n < 1 || n > run.MaxBatchItems {
		return reply{}, malformed("items", fmt.Sprintf("from 1 to %d", run.MaxBatchItems))
	}
	if err := head.fill(&request); err != nil {
		return reply{}, err
	}
	s := intake{api: a, call: c, origin: origin}
	s.header.ParentRun, s.header.ResumeParent = request.ParentRun, request.ResumeParent
	for i, value := range body.Items.value {
		t := s.place(i)
		it, err := decodeBody[batchItem](value)
		if err == nil {
			err = it.fill(&t, c.env.Type, a.Now())
		}
		if err == nil {
			err = t.Validate()
		}
		if err != nil {
			return reply{}, ofItem(i, err)
		}
		s.group = append(s.group, t)
	}
	tasks := make([]string, 0, len(s.group))
	for i := range s.group {
		tasks = append(tasks, s.group[i].Task)
	}
	if err := a.permitBatch(ctx, c, &request, tasks); err != nil {
		return reply{}, err
	}
	h, cached, err := a.Engine.CreateBatch(ctx, request)
	if err != nil {
		return reply{}, err
	}
	if !cached && h.SealedAt.IsZero() {
		if h.Items != request.Items {
			return reply{}, unprocessable("items", fmt.Sprintf("the batch of this key is open, and has %d items", h.Items))
		}
		for i := range s.group {
			s.group[i].BatchItem.Batch = h.ID
		}
		if err := s.flush(ctx); err != nil {
			return reply{}, err
		}
		if _, _, err := a.Engine.SealBatch(ctx, c.env.ID, h.ID); err != nil {
			return reply{}, err
		}
	}
	return a.opened(c.env.ID, &h, cached)
}
