package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// MaxBatchItems is how many items one batch may have.
const MaxBatchItems = 1000

// Batch is a request for many runs. Items are 1 to MaxBatchItems.
type Batch struct {
	Items []Trigger // without InFlight
	// IdempotencyKey makes a later call with the same key resolve to this batch.
	IdempotencyKey    string
	IdempotencyKeyTTL string // a duration such as 1d
	ParentRunID       string // of all runs
}

// BatchHandle is what a batch is answered.
type BatchHandle struct {
	ID       string `json:"id"`
	RunCount int    `json:"runCount"`
	// IsCached: the batch was complete before this call, so no items were sent.
	IsCached bool `json:"isCached"`
}

// BatchView is a batch as a node shows it.
type BatchView struct {
	ID             string      `json:"id"`
	Status         string      `json:"status"` // PENDING, PROCESSING, COMPLETED, PARTIAL_FAILED, ABORTED
	RunCount       int         `json:"runCount"`
	Runs           []string    `json:"runs"`       // in the order of the items
	Processing     BatchIntake `json:"processing"` // how items became runs
	CreatedAt      time.Time   `json:"createdAt"`
	UpdatedAt      time.Time   `json:"updatedAt"`
	IdempotencyKey string      `json:"idempotencyKey"`
}

// BatchIntake says how the items of a batch became runs.
type BatchIntake struct {
	CompletedAt *time.Time   `json:"completedAt"` // nil until every item is a run or an error
	Errors      []ItemFailed `json:"errors"`
}

// ItemFailed is why an item has no run.
type ItemFailed struct {
	Index int    `json:"index"`
	Task  string `json:"taskIdentifier"`
	Error string `json:"error"`
	Code  string `json:"errorCode"`
}

// TriggerBatch starts a run for each item. The batch is opened, then its items are
// streamed; both are repeated as [Config.Patience] says, each time anew, and however
// many tries it takes each item makes at most one run.
//
// With an error the handle may have an ID: then the batch is open, and some items may
// have their runs. A further call makes another batch, unless it has the same
// idempotency key: that goes on with this one. An item that the node refuses fails
// the call, with an [*Error] whose Field names it.
func (c *Client) TriggerBatch(ctx context.Context, b Batch) (h BatchHandle, err error) {
	if len(b.Items) < 1 || len(b.Items) > MaxBatchItems {
		return h, fmt.Errorf("client: Batch.Items must be 1 to %d", MaxBatchItems)
	}
	for i := range b.Items {
		switch {
		case b.Items[i].Task == "":
			return h, fmt.Errorf("client: Batch.Items[%d].Task must not be empty", i)
		case b.Items[i].InFlight != "":
			return h, fmt.Errorf("client: Batch.Items[%d].InFlight is for single triggers", i)
		case b.Items[i].Payload != nil && !json.Valid(b.Items[i].Payload):
			return h, fmt.Errorf("client: Batch.Items[%d].Payload must be JSON", i)
		case b.Items[i].Options.Metadata != nil && !json.Valid(b.Items[i].Options.Metadata):
			return h, fmt.Errorf("client: Batch.Items[%d].Options.Metadata must be JSON", i)
		}
	}
	open := struct {
		RunCount          int    `json:"runCount"`
		IdempotencyKey    string `json:"idempotencyKey,omitempty"`
		IdempotencyKeyTTL string `json:"idempotencyKeyTTL,omitempty"`
		ParentRunID       string `json:"parentRunId,omitempty"`
	}{len(b.Items), b.IdempotencyKey, b.IdempotencyKeyTTL, b.ParentRunID}
	if _, err := c.do(ctx, call{method: http.MethodPost, path: "/api/v3/batches", body: open, into: &h}); err != nil {
		return BatchHandle{}, err
	}
	switch {
	case h.ID == "":
		return h, errors.New("client: acknowledged without a batch id")
	case h.IsCached:
		return h, nil
	}
	var taken struct {
		Sealed bool
	}
	_, err = c.do(ctx, call{
		method: http.MethodPost, path: "/api/v3/batches/" + url.PathEscape(h.ID) + "/items", into: &taken,
		lines: func() io.Reader { return &itemLines{items: b.Items} },
		whole: func() error {
			if !taken.Sealed {
				return errors.New("client: items of the batch are missing")
			}
			return nil
		},
	})
	return h, err
}

// Batch reads a batch.
func (c *Client) Batch(ctx context.Context, id string) (b BatchView, err error) {
	_, err = c.do(ctx, call{method: http.MethodGet, path: "/api/v2/batches/" + url.PathEscape(id), into: &b})
	return b, err
}

// itemLines reads as the items, a line of JSON each, and holds one line at a time.
type itemLines struct {
	items []Trigger
	next  int
	line  bytes.Buffer
}

// Read implements io.Reader.
func (l *itemLines) Read(p []byte) (int, error) {
	if l.line.Len() == 0 {
		if l.next == len(l.items) {
			return 0, io.EOF
		}
		t := &l.items[l.next]
		e := json.NewEncoder(&l.line)
		e.SetEscapeHTML(false)
		if err := e.Encode(struct {
			Index   int             `json:"index"`
			Task    string          `json:"task"`
			Payload json.RawMessage `json:"payload,omitempty"`
			Options Options         `json:"options"`
		}{l.next, t.Task, t.Payload, t.Options}); err != nil {
			return 0, err
		}
		l.next++
	}
	return l.line.Read(p)
}
