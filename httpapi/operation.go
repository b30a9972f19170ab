package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/telemetry"
	"github.com/e0ff5a15/mollifier/tenant"
	"github.com/e0ff5a15/mollifier/token"
)

// operation is one method on one path: what answers it, what is checked before,
// and what the description of the interface says of it.
type operation struct {
	method, path string
	open         bool          // needs no credential
	write        bool          // has a body whose length is checked first
	maybe        bool          // may have a body
	wait         time.Duration // how much longer than others it may take
	stream       bool          // has a body of any length, which its handler reads as it comes
	do           func(ctx context.Context, c *call) (reply, error)

	// scope is the action and type that a public token needs here, as
	// "read:runs"; empty means that only an API key will do. The handler asks for
	// it, of the resources that it has found: see [call.permit].
	scope string

	id, summary   string
	request       reflect.Type // of the JSON body, or of each line of a stream; nil for none
	success       int          // the status of a success; 0 is 200
	answer        reflect.Type // of the JSON body of a success
	requestHeader []string
	query         []string
	answerHeader  []string
}

// call is one request on its way through an operation.
type call struct {
	*http.Request
	op  *operation
	env tenant.Environment
	// token is what the credential grants; nil for an API key. permitted says that
	// a handler has asked it.
	token     *token.Claims
	permitted bool
	// control moves the deadlines of the connection.
	control *http.ResponseController

	wire   *http.ResponseController // of a stream: the deadlines of its connection
	bodies *budget
	held   int64           // bytes of bodies, this call's part
	ending context.Context // ends when the server stops: nobody should wait for long
}

// reply is a whole answer: it is built before the first byte is written, so
// that a failure half-way is still an error answer.
type reply struct {
	status int
	header http.Header
	body   []byte
	// stream is the body of a reply that does not fit into memory: size bytes. It
	// is closed when it was sent.
	stream io.ReadCloser
	size   int64
}

// answer encodes a success. Raw values keep their own text.
func answer(v any) (reply, error) {
	body, err := json.Marshal(v, jsontext.PreserveRawStrings(true))
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: body}, nil
}

// router serves operations. Paths are matched as they are written on the wire,
// so an encoded slash is part of its segment.
type router struct {
	mux     *http.ServeMux
	tenants Tenants // nil where no operation needs a credential
	log     *slog.Logger
	timeout time.Duration
	bodies  budget
	ending  context.Context // ends when the server stops
	end     context.CancelFunc
	limits  limits
	outer   http.Handler // find, or what lets only some requests to it

	telemetry *telemetry.HTTP
	triggered func(status int, took time.Duration)
}

// route registers all operations, and a 404 for every other path. A known path
// with another method is 405, before any other check.
func (s *router) route(operations []operation) {
	s.mux = http.NewServeMux()
	byPath := map[string][]operation{}
	for _, op := range operations {
		byPath[op.path] = append(byPath[op.path], op)
	}
	for path, ops := range byPath {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, ops) })
	}
	s.mux.HandleFunc("/", s.notFound)
}

// ServeHTTP implements http.Handler.
func (s *router) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.outer.ServeHTTP(w, r) }

// find answers a request by the path as it stands on the wire.
func (s *router) find(w http.ResponseWriter, r *http.Request) {
	if path := r.URL.EscapedPath(); !strings.HasPrefix(path, "/") || unclean(path) {
		s.notFound(w, r) // the mux would redirect, and a redirect loses the method's meaning
		return
	}
	s.mux.ServeHTTP(w, spelled(r))
}

// slash stands for a segment that is nothing but an encoded slash, which the mux
// gives to no wildcard. No name that a store could hold has a NUL.
const slash = "\x00slash"

// spelled is the request with those segments as the mux takes them.
func spelled(r *http.Request) *http.Request {
	path := r.URL.EscapedPath()
	if !strings.Contains(path, "/%2") {
		return r
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if strings.EqualFold(segment, "%2F") {
			segments[i] = url.PathEscape(slash)
		}
	}
	raw := strings.Join(segments, "/")
	plain, err := url.PathUnescape(raw)
	if err != nil || raw == path {
		return r
	}
	to := *r.URL
	to.Path, to.RawPath = plain, raw
	r = r.WithContext(r.Context())
	r.URL = &to
	return r
}

// PathValue is the value of a wildcard of the path.
func (c *call) PathValue(name string) string {
	if v := c.Request.PathValue(name); v != slash {
		return v
	}
	return "/"
}

// unclean reports whether a path has dot segments, or empty ones within.
func unclean(path string) bool {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return strings.Contains(path, "//")
}

func (s *router) dispatch(w http.ResponseWriter, r *http.Request, ops []operation) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	var allowed []string
	for i := range ops {
		if ops[i].method == method {
			s.serve(w, r, &ops[i])
			return
		}
		allowed = append(allowed, ops[i].method)
	}
	s.serve(w, r, &operation{open: true, do: func(context.Context, *call) (reply, error) {
		return reply{}, newProblem(http.StatusMethodNotAllowed, "method", "Method not allowed").
			with("Allow", strings.Join(allowed, ", ")).with("X-Should-Retry", "false")
	}})
}

// notFound is a path that is no route. Under /api the credential comes first.
func (s *router) notFound(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, &operation{
		scope: anyToken, open: s.tenants == nil || !strings.HasPrefix(r.URL.EscapedPath(), "/api/"),
		do: func(context.Context, *call) (reply, error) { return reply{}, errNoRoute },
	})
}

// serve takes one request through its checks, its operation, and its answer.
func (s *router) serve(w http.ResponseWriter, r *http.Request, op *operation) {
	id, began, status := strings.ToLower(rand.Text()), time.Now(), 0
	ctx, told := s.telemetry.Begin(r, op.path)
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	defer func() {
		told.End(status)
		if s.triggered != nil && op.id == triggerID {
			s.triggered(status, time.Since(began))
		}
	}()
	if op.wait > 0 {
		// The limits of the server are for those who answer at once. What can not be
		// set stays as it is: the answer may then be cut off.
		limits := http.NewResponseController(w)
		_ = limits.SetReadDeadline(time.Time{})
		_ = limits.SetWriteDeadline(time.Now().Add(op.wait + s.timeout + 10*time.Second))
	}
	re, err := s.perform(w, r, op, id)
	if err != nil {
		p := problemOf(err)
		s.record(r, op, id, p.Status, err)
		drainBody(r)
		re = p.reply(id)
	}
	status = re.status
	header := w.Header()
	for name, values := range re.header {
		header[name] = values
	}
	header.Set("X-Request-Id", id)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if re.stream != nil {
		defer func() { _ = re.stream.Close() }()
		header.Set("Content-Length", strconv.FormatInt(re.size, 10))
		w.WriteHeader(re.status)
		_, _ = io.Copy(w, re.stream) // what is missing shows by the length
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(re.body)))
	w.WriteHeader(re.status)
	// A client that has gone can not be told so.
	_, _ = w.Write(re.body)
}

// perform is the fixed order of checks. A panic ends as an internal error.
func (s *router) perform(w http.ResponseWriter, r *http.Request, op *operation, id string) (re reply, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic in a handler", "request", id, "operation", op.id, "panic", panicked(v), "stack", string(debug.Stack()))
			re, err = reply{}, errPanic
		}
	}()
	c := &call{Request: r, op: op, control: http.NewResponseController(w), bodies: &s.bodies, ending: s.ending}
	defer c.letGo()
	if strings.HasPrefix(r.URL.Path, "/api/") {
		s.limits.showFull(w.Header())
	}
	if !op.open {
		if err = c.authenticate(s.tenants); err != nil {
			return reply{}, err
		}
		defer labelled(c.env.Type)()
		if err = s.limits.take(w.Header(), c.env.ID); err != nil {
			return reply{}, err
		}
		if c.token != nil && op.scope == "" {
			return reply{}, forbidden()
		}
	}
	if op.write || op.maybe && r.ContentLength != 0 {
		if err = checkLength(r); err != nil {
			return reply{}, err
		}
	}
	if op.request != nil {
		if err = checkCoding(r); err != nil {
			return reply{}, err
		}
	}
	timeout := s.timeout + op.wait
	if op.stream {
		timeout, c.wire = streamTime, http.NewResponseController(w)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	re, err = op.do(ctx, c)
	if err == nil && !c.asked() {
		return reply{}, errForgot
	}
	return re, err
}

// errPanic is an internal error that has been logged already.
var errPanic = errors.New("panic")

// record logs what went wrong inside. What clients do wrong, what they give up
// on and what is refused under load is for debugging only: an outage must not
// drown the log.
func (s *router) record(r *http.Request, op *operation, id string, status int, err error) {
	switch {
	case errors.Is(err, errPanic):
	case r.Context().Err() != nil:
		s.log.Debug("client left", "request", id, "operation", op.id)
	case status == http.StatusInternalServerError:
		s.log.Error("request failed", "request", id, "operation", op.id, "cause", cause(err))
	default:
		s.log.Debug("request refused", "request", id, "operation", op.id, "status", status, "cause", cause(err))
	}
}
