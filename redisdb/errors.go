package redisdb

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/run"
)

// ErrDisagrees: this node's settings differ from what its deployment was made with.
var ErrDisagrees = errors.New("deployment disagrees")

// callError is why a call to Redis gave no answer. Its text never names a
// host, an address or a key.
type callError struct {
	text string
	// unknown: the call may have been executed.
	unknown bool
	// down: the server as a whole could not answer, so its breaker counts it.
	down bool
	// away: a cluster's server that answers has sent the call elsewhere, or to later.
	// It was not executed.
	away *redirect
}

// redirect is where a cluster sends a call.
type redirect struct {
	addr string // of the server to ask; "" for the same one, a little later
	ask  bool   // this once; else from now on
}

func (e *callError) Error() string { return e.text }

// OutcomeUnknown reports whether the call that failed with err may have been
// executed by Redis, now or later: repeating it with the same token is then
// the way to learn its outcome. False means that it was not executed: the
// breaker was open, no connection was made, or Redis refused it.
func OutcomeUnknown(err error) bool {
	var e *callError
	return errors.As(err, &e) && e.unknown
}

// unavailable is the error that callers see for a call without an answer.
func unavailable(cause *callError, retryAfter time.Duration) error {
	return &run.RefusedError{Reason: run.ErrUnavailable, Part: "redis", RetryAfter: retryAfter, Err: cause}
}

// downCodes begin the errors with which Redis says that it can not serve
// anyone now. Whatever else it answers is about the call.
var downCodes = [...]string{
	"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "BUSY", "OOM", "NOREPLICAS",
	"NOAUTH", "WRONGPASS", "NOPERM", "ERR max number of clients",
}

// classify turns what go-redis returns into a callError: the one place that
// knows which errors mean what.
func classify(err error) *callError {
	var (
		known  *callError
		dial   *dialError
		answer redis.Error
		number syscall.Errno
		timed  net.Error
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &dial):
		return &callError{text: dial.Error(), down: true}
	case errors.Is(err, redis.ErrClosed):
		return &callError{text: "the client is closed"}
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return &callError{text: "no free connection", down: true}
	case errors.Is(err, context.Canceled):
		return &callError{text: "the caller left", unknown: true}
	case errors.As(err, &answer):
		return classifyAnswer(answer.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timed) && timed.Timeout():
		return &callError{text: "no answer within the deadline", unknown: true, down: true}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &callError{text: "the connection was closed", unknown: true, down: true}
	case errors.As(err, &number):
		return &callError{text: "the connection failed: " + number.Error(), unknown: true, down: true}
	}
	return &callError{text: "the connection failed", unknown: true, down: true}
}

func classifyAnswer(text string) *callError {
	code, rest, _ := strings.Cut(text, " ")
	switch code {
	case "MOVED", "ASK": // "MOVED 3999 host:port"
		return &callError{text: "Redis answered " + code, away: &redirect{addr: rest[strings.LastIndexByte(rest, ' ')+1:], ask: code == "ASK"}}
	case "TRYAGAIN":
		return &callError{text: "Redis answered " + code, away: &redirect{}}
	}
	if strings.HasPrefix(text, "CLUSTERDOWN Hash slot not served") {
		return &callError{text: "Redis answered CLUSTERDOWN"} // of this slot alone
	}
	for _, code := range downCodes {
		if strings.HasPrefix(text, code) {
			return &callError{text: "Redis answered " + code, down: true}
		}
	}
	return &callError{text: "Redis answered " + text}
}

func noScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }
