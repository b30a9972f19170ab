package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/e0ff5a15/mollifier/run"
)

const (
	// problemTypes is the prefix of the stable names of problems.
	problemTypes = "urn:mollifier:problem:"
	// problemDocs is where each of them has a section of its name.
	problemDocs = "https://github.com/e0ff5a15/mollifier/blob/main/docs/problems.md#"
)

// problem is an error answer: an RFC 9457 problem whose text is also under
// "error", where clients of the trigger API look for it.
type problem struct {
	Text     string `json:"error" doc:"What went wrong, for people."`
	Type     string `json:"type" doc:"Stable name of the problem, for programs."`
	Docs     string `json:"docs,omitzero" doc:"Where the problem is explained."`
	Title    string `json:"title" doc:"The meaning of the status."`
	Status   int    `json:"status" doc:"The HTTP status."`
	Detail   string `json:"detail" doc:"The same as error."`
	Instance string `json:"instance,omitzero" doc:"Names this answer; the log knows it by the same id."`
	Field    string `json:"field,omitzero" doc:"The field of the request that is wrong."`
	// Details is of a query that can not be read.
	Details []detail `json:"details,omitzero" nullable:"false" doc:"What is wrong with a query, part by part."`
	Code    string   `json:"code,omitzero" doc:"Of a refused permission: unauthorized."`
	Param   string   `json:"param,omitzero" doc:"Of a refused permission: access_token."`

	header http.Header
}

// detail is one fault of a query.
type detail struct {
	Path    []string `json:"path" nullable:"false" doc:"The parameter."`
	Message string   `json:"message" doc:"The rule that it breaks."`
}

// Error implements error.
func (p *problem) Error() string { return p.Text }

func newProblem(status int, name, text string) *problem {
	return &problem{
		Text: text, Detail: text, Type: problemTypes + name, Docs: problemDocs + name,
		Title: http.StatusText(status), Status: status, header: http.Header{},
	}
}

func (p *problem) with(name, value string) *problem {
	p.header.Set(name, value)
	return p
}

func (p *problem) reply(instance string) reply {
	p.Instance = "urn:mollifier:request:" + instance
	p.header.Set("Content-Type", "application/problem+json")
	body, err := json.Marshal(p)
	if err != nil { // unreachable: every member is a string or an int of our own
		body = []byte(`{"error":"internal error"}`)
	}
	return reply{status: p.Status, header: p.header, body: body}
}

// The problems that do not depend on an error.
var (
	errNoRoute  = errors.New("no such path")
	errNoRun    = errors.New("no such run")
	errTooLarge = errors.New("body too large")
	errSlow     = errors.New("body came too slowly")
	errShort    = errors.New("body shorter than announced")
	errCut      = errors.New("body was cut off")
	errMismatch = errors.New("another payload")
)

// problemOf maps an error to its answer. An error that it does not know is an
// internal error: its text stays out of the answer.
func problemOf(err error) *problem {
	var p *problem
	var invalid *run.InvalidError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &invalid):
		return invalidProblem(invalid)
	case errors.Is(err, errNoRun), errors.Is(err, run.ErrNotFound):
		// Reads see every acknowledged run, so asking again changes nothing.
		return newProblem(http.StatusNotFound, "run-not-found", "Run not found").with("X-Should-Retry", "false")
	case errors.Is(err, errNoRoute):
		return newProblem(http.StatusNotFound, "no-such-path", "Not found").with("X-Should-Retry", "false")
	case errors.Is(err, errTooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, "too-large", "Request body too large")
	case errors.Is(err, errSlow):
		return newProblem(http.StatusRequestTimeout, "slow-body", "Request body came too slowly")
	case errors.Is(err, errShort):
		return newProblem(http.StatusBadRequest, "invalid", "Request body is shorter than its content-length")
	case errors.Is(err, errCut):
		return newProblem(http.StatusBadRequest, "invalid", "Request body was cut off")
	case errors.Is(err, errMismatch):
		return newProblem(http.StatusUnprocessableEntity, "payload-mismatch", "The idempotency key holds a run of another payload, or is about to; nothing was stored")
	case errors.Is(err, run.ErrInFlight):
		return newProblem(http.StatusConflict, "in-flight", "Another trigger of this idempotency key is in flight; nothing was stored").with("X-Should-Retry", "false")
	case errors.Is(err, run.ErrRejected):
		return newProblem(http.StatusUnprocessableEntity, "unprocessable", "The run can not be stored").with("X-Should-Retry", "false")
	case errors.Is(err, run.ErrQuota):
		return quotaProblem(err)
	case errors.Is(err, run.ErrConflict):
		return newProblem(http.StatusConflict, "conflict", "The run's status does not allow this").with("X-Should-Retry", "false")
	}
	return refusedProblem(err)
}

func invalidProblem(e *run.InvalidError) *problem {
	status, name := http.StatusBadRequest, "invalid"
	switch e.Fault {
	case run.Unprocessable:
		status, name = http.StatusUnprocessableEntity, "unprocessable"
	case run.TooLarge:
		status, name = http.StatusRequestEntityTooLarge, "too-large"
	}
	p := newProblem(status, name, e.Error())
	p.Field = e.Field
	return p
}

// queryError is the answer to a query that can not be read: clients show its
// text and look into its details.
func queryError(err error) error {
	var invalid *run.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	p := invalidProblem(invalid)
	p.Text, p.Details = "Query Error", []detail{{[]string{invalid.Field}, invalid.Rule}}
	return p
}

// quotaProblem is the refusal of one environment while others are served. Clients
// of the trigger API read when to come back in milliseconds since 1970, and
// nothing else.
func quotaProblem(err error) *problem {
	after := min(retryAfter(err), longestReset) // or callers sleep on when there is room again
	text := "This environment's share of the buffer is used up; nothing was stored. Retry later"
	var refused *run.RefusedError
	if errors.As(err, &refused) && refused.Part == "packets" {
		text = "This environment's uploads fill its quota; nothing was stored"
	}
	return newProblem(http.StatusTooManyRequests, "over-quota", text).
		with("Retry-After", wholeSeconds(after)).
		with("X-Ratelimit-Reset", strconv.FormatInt(time.Now().Add(after).UnixMilli(), 10))
}

// retryAfter is when a retry may succeed, at least a second.
func retryAfter(err error) time.Duration {
	var refused *run.RefusedError
	if !errors.As(err, &refused) {
		return time.Second
	}
	return max(refused.RetryAfter, time.Second)
}

func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}

// refusedProblem answers what a later try may not meet, and everything unknown.
// Its texts are fixed: the cause of a refusal may name internals.
func refusedProblem(err error) *problem {
	name, text := "", ""
	var refused *run.RefusedError
	full := errors.As(err, &refused) && refused.Part == "buffer"
	switch {
	case full && errors.Is(err, run.ErrOverloaded):
		name, text = "buffer-full", "The buffer is full; nothing was stored. Retry later"
	case errors.Is(err, run.ErrOverloaded):
		name, text = "overloaded", "Too many triggers are waiting on this node; nothing was stored. Retry"
	case errors.Is(err, run.ErrClaimTimeout):
		name, text = "claim-timeout", "Timed out waiting for another trigger of the same idempotency key. Retry with the same key"
	case errors.Is(err, run.ErrClosed):
		name, text = "stopping", "This node is stopping; nothing was stored. Retry"
	case errors.Is(err, run.ErrUnavailable):
		name, text = "unavailable", "A store did not answer. Retry with the same idempotency key or request key"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// The trigger goes on without its caller, so its outcome is open.
		name, text = "unavailable", "No answer in time. Retry with the same idempotency key or request key"
	default:
		return newProblem(http.StatusInternalServerError, "internal", "Internal error")
	}
	return newProblem(http.StatusServiceUnavailable, name, text).with("Retry-After", wholeSeconds(retryAfter(err)))
}
