package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	mrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Trigger is a request for a run. Task is required.
type Trigger struct {
	Task string
	// Payload is any JSON; nil for none.
	Payload json.RawMessage
	Options Options
	// InFlight says what is to happen while another trigger of the idempotency key is
	// under way: share (the default) its answer, wait until it has one and ask anew,
	// or conflict: be refused, with InFlight.
	InFlight string
}

// Options of a trigger. What is zero is not sent, and takes the node's default.
// Durations are texts such as 10m, 2h30m or 1w.
type Options struct {
	IdempotencyKey    string          `json:"idempotencyKey,omitempty"`
	IdempotencyKeyTTL string          `json:"idempotencyKeyTTL,omitempty"`
	Delay             string          `json:"delay,omitempty"` // a duration, or an ISO 8601 date
	TTL               string          `json:"ttl,omitempty"`
	Tags              []string        `json:"tags,omitempty"`
	Metadata          json.RawMessage `json:"metadata,omitempty"`
	Queue             *Queue          `json:"queue,omitempty"`
	ConcurrencyKey    string          `json:"concurrencyKey,omitempty"`
	Machine           string          `json:"machine,omitempty"`
	Priority          float64         `json:"priority,omitempty"` // seconds
	MaxAttempts       int             `json:"maxAttempts,omitempty"`
	Region            string          `json:"region,omitempty"`
	Test              bool            `json:"test,omitempty"`
	ParentRunID       string          `json:"parentRunId,omitempty"`
}

// Queue names a queue.
type Queue struct {
	Name string `json:"name"`
}

// Handle is what a trigger is answered.
type Handle struct {
	ID          string `json:"id"`
	CanonicalID string `json:"canonicalId"` // the run that executes
	// IsCached: the run was there before this call.
	IsCached bool `json:"isCached"`
	// PayloadMatch is false if the cached run was made with another payload; nil for
	// a new one.
	PayloadMatch *bool  `json:"payloadMatch"`
	Durability   string `json:"durability"`
	State        string `json:"state"` // materialised, or buffered on its way
	Identity     string `json:"identity"`
}

// Run is a run as a node shows it. Pointers are nil for what has not happened.
type Run struct {
	ID             string          `json:"id"`
	CanonicalID    string          `json:"canonicalId"`
	Task           string          `json:"taskIdentifier"`
	Status         string          `json:"status"`
	IsCompleted    bool            `json:"isCompleted"` // it has ended, well or not
	IsSuccess      bool            `json:"isSuccess"`
	IdempotencyKey string          `json:"idempotencyKey"`
	CreatedAt      time.Time       `json:"createdAt"`
	UpdatedAt      time.Time       `json:"updatedAt"`
	StartedAt      *time.Time      `json:"startedAt"`
	FinishedAt     *time.Time      `json:"finishedAt"`
	DelayedUntil   *time.Time      `json:"delayedUntil"`
	ExpiredAt      *time.Time      `json:"expiredAt"`
	Tags           []string        `json:"tags"`
	BatchID        string          `json:"batchId"`
	AttemptCount   int             `json:"attemptCount"`
	Metadata       json.RawMessage `json:"metadata"`
	Payload        json.RawMessage `json:"payload"` // not in a list
	Output         json.RawMessage `json:"output"`  // not in a list
	Error          *Failure        `json:"error"`   // not in a list
}

// Failure is why a run ended badly.
type Failure struct {
	Message    string `json:"message"`
	Name       string `json:"name"`
	StackTrace string `json:"stackTrace"`
}

// Trigger starts a run, or answers the one that holds the key. However many tries
// it takes, it makes at most one run; so does a second call only if both have the
// same idempotency key.
func (c *Client) Trigger(ctx context.Context, t Trigger) (h Handle, err error) {
	if t.Task == "" {
		return h, errors.New("client: Trigger.Task must not be empty")
	}
	body := struct {
		Payload json.RawMessage `json:"payload,omitempty"`
		Options Options         `json:"options"`
	}{t.Payload, t.Options}
	k := call{method: http.MethodPost, path: "/api/v1/tasks/" + url.PathEscape(t.Task) + "/trigger", body: body, into: &h}
	if t.InFlight != "" {
		k.header = http.Header{"Idempotency-In-Flight": {t.InFlight}}
	}
	_, err = c.do(ctx, k)
	if err == nil && h.ID == "" {
		err = errors.New("client: acknowledged without a run id")
	}
	return h, err
}

// Run reads a run by any id that was ever handed out for it.
func (c *Client) Run(ctx context.Context, id string) (r Run, err error) {
	_, err = c.do(ctx, call{method: http.MethodGet, path: "/api/v3/runs/" + url.PathEscape(id), into: &r})
	return r, err
}

// Wait reads a run until it has ended, or ctx does. Nodes that are away are waited
// for as [Config.Patience] says, each time anew.
func (c *Client) Wait(ctx context.Context, id string) (Run, error) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		r, err := c.Run(ctx, id)
		if err != nil || r.IsCompleted {
			return r, err
		}
		timer := time.NewTimer(pause/2 + mrand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return r, context.Cause(ctx)
		}
	}
}

// Filter narrows a list. Within a field any value will do; the zero Filter lists all.
type Filter struct {
	Statuses, Tasks, Tags []string
	Batch                 string
	From, To              time.Time // when created
	PageSize              int       // runs of one request, 1 to 100; default 100
}

// List goes through the runs of the environment, the newest first. It ends after an
// error. Runs that are made meanwhile are not seen.
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		q := f.query()
		for {
			var page struct {
				Data       []Run
				Pagination struct{ Next string }
			}
			if _, err := c.do(ctx, call{method: http.MethodGet, path: "/api/v1/runs?" + q.Encode(), into: &page}); err != nil {
				yield(Run{}, err)
				return
			}
			for _, r := range page.Data {
				if !yield(r, nil) {
					return
				}
			}
			if page.Pagination.Next == "" {
				return
			}
			q.Set("page[after]", page.Pagination.Next)
		}
	}
}

func (f *Filter) query() url.Values {
	q := url.Values{"page[size]": {"100"}}
	if f.PageSize > 0 {
		q.Set("page[size]", strconv.Itoa(f.PageSize))
	}
	for name, list := range map[string][]string{"filter[status]": f.Statuses, "filter[taskIdentifier]": f.Tasks, "filter[tag]": f.Tags} {
		for i, s := range list {
			if i > 0 {
				s = q.Get(name) + "," + s
			}
			q.Set(name, s)
		}
	}
	if f.Batch != "" {
		q.Set("filter[batch]", f.Batch)
	}
	for name, at := range map[string]time.Time{"filter[createdAt][from]": f.From, "filter[createdAt][to]": f.To} {
		if !at.IsZero() {
			q.Set(name, strconv.FormatInt(at.UnixMilli(), 10))
		}
	}
	return q
}
