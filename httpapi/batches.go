package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/token"
)

// maxBatchBody is the largest body that opens a batch.
const maxBatchBody = 131_072

// batchBody opens a batch; its items come later.
type batchBody struct {
	RunCount          integer           `json:"runCount"`
	Tasks             field[[]string]   `json:"taskIdentifiers" required:"false"`
	IdempotencyKey    field[string]     `json:"idempotencyKey" required:"false"`
	IdempotencyKeyTTL field[string]     `json:"idempotencyKeyTTL" required:"false"`
	KeyOptions        field[keyOptions] `json:"idempotencyKeyOptions" required:"false"`
	ParentRunID       field[string]     `json:"parentRunId" required:"false"`
	ResumeParent      field[bool]       `json:"resumeParentOnCompletion" required:"false"`
}

// batchAnswer is a batch as whoever opened it sees it.
type batchAnswer struct {
	ID             string `json:"id"`
	RunCount       int    `json:"runCount"`
	IsCached       bool   `json:"isCached"` // it is complete: no items need be sent
	IdempotencyKey string `json:"idempotencyKey,omitzero"`
}

// batchView is a batch as it is read.
type batchView struct {
	ID             string          `json:"id"`
	Status         run.BatchStatus `json:"status"`
	CreatedAt      date            `json:"createdAt"`
	UpdatedAt      date            `json:"updatedAt"`
	RunCount       int             `json:"runCount"`
	Runs           []run.ID        `json:"runs"` // in the order of the items
	Processing     processingView  `json:"processing"`
	IdempotencyKey string          `json:"idempotencyKey,omitzero"`
}

// processingView says how items became runs.
type processingView struct {
	CompletedAt date        `json:"completedAt,omitzero"` // all items have become runs, or errors
	Errors      []itemError `json:"errors"`
}

type itemError struct {
	Index int    `json:"index"`
	Task  string `json:"taskIdentifier"`
	Error string `json:"error"`
	Code  string `json:"errorCode,omitzero"`
}

func (a *api) batchOperations() []operation {
	return []operation{
		{
			method: http.MethodPost, path: "/api/v3/batches", write: true, do: a.createBatch,
			id: "createBatch", summary: "Open a batch", scope: "batchTrigger:tasks", success: http.StatusAccepted,
			request: reflect.TypeFor[batchBody](), answer: reflect.TypeFor[batchAnswer](),
			requestHeader: []string{headerKey, headerKeyTTL, headerRequestKey}, answerHeader: []string{headerToken, headerClaims},
		},
		{
			method: http.MethodPost, path: "/api/v3/batches/{batchId}/items", stream: true, do: a.batchItems,
			id: "sendBatchItems", summary: "Send the items of a batch, one JSON object a line", scope: "batchTrigger:tasks",
			request: reflect.TypeFor[batchItem](), answer: reflect.TypeFor[itemsAnswer](),
			requestHeader: []string{headerTraceParent, headerTraceState},
		},
		{
			method: http.MethodGet, path: "/api/v2/batches/{batchId}", do: a.retrieveBatch,
			id: "retrieveBatch", summary: "Read a batch", scope: "read:batch", answer: reflect.TypeFor[batchView](),
		},
		{
			method: http.MethodPost, path: "/api/v2/tasks/batch", write: true, do: a.wholeBatch,
			id: "triggerBatch", summary: "Trigger a batch in one request", scope: "batchTrigger:tasks", success: http.StatusAccepted,
			request: reflect.TypeFor[wholeBatchBody](), answer: reflect.TypeFor[batchAnswer](),
			requestHeader: []string{headerKey, headerKeyTTL, headerRequestKey, headerTraceParent, headerTraceState},
			answerHeader:  []string{headerToken, headerClaims},
		},
	}
}

// createBatch answers POST /api/v3/batches.
func (a *api) createBatch(ctx context.Context, c *call) (reply, error) {
	request, _, err := a.batchRequest(c)
	if err != nil {
		return reply{}, err
	}
	if c.ContentLength > maxBatchBody {
		return reply{}, errTooLarge
	}
	raw, err := c.readBody()
	if err != nil {
		return reply{}, err
	}
	body, err := decodeBody[batchBody](raw)
	if err != nil {
		return reply{}, err
	}
	if err := body.fill(&request); err != nil {
		return reply{}, err
	}
	if err := a.permitBatch(ctx, c, &request, body.Tasks.value); err != nil {
		return reply{}, err
	}
	h, cached, err := a.Engine.CreateBatch(ctx, request)
	if err == nil && c.token != nil && c.token.OneTime {
		err = a.Engine.BindToken(ctx, c.env.ID, c.token.Hash(), h.ID)
	}
	if err != nil {
		return reply{}, err
	}
	return a.opened(c.env.ID, &h, cached)
}

// permitBatch asks whether a batch of such tasks may be opened, and uses up a
// token that may be used once. Its items come with it all the same: they belong to
// this use, so the token is bound to the batch.
func (a *api) permitBatch(ctx context.Context, c *call, r *run.BatchRequest, tasks []string) error {
	if err := c.permit(token.Resource{Type: token.Tasks}); err != nil {
		if err = c.permitEach(token.Tasks, tasks); err != nil {
			return err
		}
	}
	return a.spend(ctx, c, r.RequestKey, r.IdempotencyKey, tasks...)
}

// batchRequest begins a request with what the headers say; origin is what every
// item takes from them.
func (a *api) batchRequest(c *call) (r run.BatchRequest, origin run.Trigger, err error) {
	origin = run.Trigger{Organisation: c.env.Organisation.ID, Environment: c.env.ID, Task: "batch"}
	if err := readHeaders(c.Header, &origin); err != nil {
		return r, origin, err
	}
	if origin.InFlight != "" {
		return r, origin, malformed(strings.ToLower(headerInFlight), "is for single triggers")
	}
	r = run.BatchRequest{
		Organisation: origin.Organisation, Environment: origin.Environment,
		IdempotencyKey: origin.IdempotencyKey, KeyTTL: origin.KeyTTL, RequestKey: origin.RequestKey,
	}
	origin.IdempotencyKey, origin.KeyTTL, origin.RequestKey = "", 0, "" // they are the batch's
	origin.OneTimeToken = c.token != nil && c.token.OneTime
	return r, origin, nil
}

// fill copies the body into the request.
func (b *batchBody) fill(r *run.BatchRequest) (err error) {
	if !b.RunCount.set {
		return malformed("runCount", "must be an integer")
	}
	r.Items = int(min(max(b.RunCount.value, 0), run.MaxBatchItems+1))
	if !wholeKeyOptions(b.KeyOptions) {
		return malformed("idempotencyKeyOptions", "must have key and scope")
	}
	if b.IdempotencyKeyTTL.set && r.KeyTTL == 0 {
		if r.KeyTTL, err = keyTTL("idempotencyKeyTTL", b.IdempotencyKeyTTL.value); err != nil {
			return err
		}
	}
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = b.IdempotencyKey.value
		r.KeyOptions = run.KeyOptions{Key: b.KeyOptions.value.Key.value, Scope: b.KeyOptions.value.Scope.value}
	}
	if b.ParentRunID.value != "" {
		if r.ParentRun, err = run.ParseID(b.ParentRunID.value); err != nil {
			return malformed("parentRunId", "must be a run id")
		}
	}
	r.ResumeParent = b.ResumeParent.value
	return r.Validate()
}

// opened answers a batch with a token for reading it.
func (a *api) opened(environment string, h *runstore.BatchHeader, cached bool) (reply, error) {
	re, err := answer(batchAnswer{ID: h.ID, RunCount: h.Items, IsCached: cached, IdempotencyKey: h.IdempotencyKey})
	if err != nil {
		return reply{}, err
	}
	re.status = http.StatusAccepted
	a.handToken(re.header, environment, "read:batch:"+h.ID)
	return re, nil
}

// retrieveBatch answers GET /api/v2/batches/{batchId}.
func (a *api) retrieveBatch(ctx context.Context, c *call) (reply, error) {
	id := c.PathValue("batchId")
	if err := c.permit(token.Resource{Type: token.Batch, ID: id}); err != nil {
		return reply{}, err
	}
	if !mayName(id) {
		return reply{}, noBatch()
	}
	b, err := a.Engine.Batch(ctx, c.env.ID, id)
	if errors.Is(err, run.ErrNotFound) {
		return reply{}, noBatch()
	}
	if err != nil {
		return reply{}, err
	}
	return answer(viewBatch(&b))
}

// mayName reports whether a batch may be called so: what runs may be called.
func mayName(batch string) bool {
	_, err := run.ParseID(batch)
	return err == nil
}

func noBatch() error {
	return newProblem(http.StatusNotFound, "batch-not-found", "Batch not found").with("X-Should-Retry", "false")
}

func viewBatch(b *runstore.Batch) batchView {
	v := batchView{
		ID: b.ID, Status: b.Status(), CreatedAt: date(b.CreatedAt), UpdatedAt: date(b.UpdatedAt()), RunCount: b.Items,
		Runs: []run.ID{}, Processing: processingView{CompletedAt: date(b.CompletedAt()), Errors: []itemError{}},
		IdempotencyKey: b.IdempotencyKey,
	}
	for i := range b.Places {
		p := &b.Places[i]
		if p.Run.IsZero() {
			v.Processing.Errors = append(v.Processing.Errors, itemError{p.Index, p.Task, p.Error, p.Code})
			continue
		}
		v.Runs = append(v.Runs, p.Run)
	}
	return v
}
