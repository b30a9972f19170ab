package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Problem is the stable name of what a node refused, without its prefix: the list is
// in docs/problems.md. It is an error to compare with, by errors.Is.
type Problem string

// Error implements error.
func (p Problem) Error() string { return string(p) }

// The problems that callers branch on.
const (
	Invalid       Problem = "invalid"          // correct the field; nothing was stored
	Unprocessable Problem = "unprocessable"    // well-formed, not acceptable
	Unauthorized  Problem = "unauthorized"     // no key, or one that no environment has
	NotFound      Problem = "run-not-found"    // this environment has no such run
	NoBatch       Problem = "batch-not-found"  // this environment has no such batch
	KeyNotFound   Problem = "key-not-found"    // no run holds this key
	Conflict      Problem = "conflict"         // the run's status does not allow it
	InFlight      Problem = "in-flight"        // another trigger of the key is under way, and Trigger.InFlight is conflict
	Mismatch      Problem = "payload-mismatch" // the key holds a run of another payload, and the environment refuses that
	NotDelayed    Problem = "not-delayed"      // only a DELAYED run can be rescheduled
	RunEnded      Problem = "run-ended"        // the metadata of a run that has ended stays
	TooLarge      Problem = "too-large"        // over a limit
	OverQuota     Problem = "over-quota"       // this environment's share is used up
	Unavailable   Problem = "unavailable"      // a store did not answer: perhaps stored
	Overloaded    Problem = "overloaded"       // the node has too much waiting
	Stopping      Problem = "stopping"         // the node is stopping
	BufferFull    Problem = "buffer-full"      // the buffer as a whole is full
	ClaimTimeout  Problem = "claim-timeout"    // another trigger of the key took too long
	Unlabelled    Problem = "without a label"  // an answer that was no problem of a node's
)

// Error is a refusal. errors.Is(err, NotFound) and the like tell which.
type Error struct {
	Status  int
	Problem Problem
	Message string // for people
	Field   string // the field of the request that is wrong, if one is
	Request string // names the answer in the node's log
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%d %s: %s (request %s)", e.Status, e.Problem, e.Message, e.Request)
}

// Unwrap returns the problem.
func (e *Error) Unwrap() error { return e.Problem }

// refusal reads an answer that is none of success.
func refusal(res *http.Response, body []byte) *Error {
	e := &Error{Status: res.StatusCode, Problem: Unlabelled, Message: http.StatusText(res.StatusCode), Request: res.Header.Get("X-Request-Id")}
	var v struct{ Error, Type, Field string }
	if json.Unmarshal(body, &v) != nil {
		return e
	}
	if v.Error != "" {
		e.Message = v.Error
	}
	if name, ok := strings.CutPrefix(v.Type, "urn:mollifier:problem:"); ok {
		e.Problem = Problem(name)
	}
	e.Field = v.Field
	return e
}
