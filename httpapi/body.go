package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

const (
	// maxBody is the largest body of a write, by its content-length.
	maxBody = 3_145_728
	// maxDrain is how much of a body is read away before a refusal is sent.
	maxDrain = 8 << 20
)

// checkLength refuses a body that is too large, or whose length is not known
// before it is read (chunked, or no content-length at all).
func checkLength(r *http.Request) error {
	if r.ContentLength < 0 || r.ContentLength > maxBody || r.Header.Get("Content-Length") == "" {
		return errTooLarge
	}
	return nil
}

// checkCoding refuses a body that is compressed: what it unfolds to is not what was
// measured.
func checkCoding(r *http.Request) error {
	for _, coding := range r.Header.Values("Content-Encoding") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return newProblem(http.StatusUnsupportedMediaType, "content-encoding", "Content-Encoding must be identity, or absent")
		}
	}
	return nil
}

// budget bounds the bytes of bodies that are held at once. It counts what has
// arrived, not what was announced: who announces much and sends nothing holds
// nothing. One body alone is always within it.
type budget struct {
	most int64
	held atomic.Int64
}

var errHeld = &run.RefusedError{Reason: run.ErrOverloaded, Part: "http", RetryAfter: time.Second}

// meter counts a body into the budget as it is read; [call.letGo] gives back.
type meter struct {
	from io.Reader
	call *call
}

// Read implements io.Reader.
func (m meter) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.call.held += int64(n)
	if b := m.call.bodies; b.held.Add(int64(n)) > b.most && b.held.Load() > m.call.held {
		return n, errHeld
	}
	return n, err
}

// giveBack gives back a part of what the call holds of the budget.
func (c *call) giveBack(n int64) {
	c.bodies.held.Add(-n)
	c.held -= n
}

// letGo gives back all that the call holds of the budget.
func (c *call) letGo() { c.giveBack(c.held) }

// firstRead is how much memory a body has before anything of it has arrived: what is
// announced costs its sender nothing, and there may be thousands of them.
const firstRead = 4 << 10

// readBody reads the whole body, whose length checkLength has accepted. Memory
// grows with what has arrived, and all bodies together stay within the budget
// until their calls end. The bytes belong to the caller for good: a trigger may
// outlive its request.
func (c *call) readBody() ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(c.ContentLength, firstRead)) + bytes.MinRead)
	_, err := b.ReadFrom(meter{http.MaxBytesReader(nil, c.Body, maxBody), c})
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return b.Bytes(), nil
	case errors.Is(err, run.ErrOverloaded):
		return nil, err
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errSlow
	}
	return nil, errShort
}

// bodyFault tells what its sender did to a streamed body from other errors.
func bodyFault(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errShort
	}
	return err
}

// drainBody reads away what is left of the body, up to maxDrain, so that a
// client which is still sending gets to see the answer. A client that waits
// for permission to send is not given it.
func drainBody(r *http.Request) {
	if r.Body == nil || r.Header.Get("Expect") != "" {
		return
	}
	// An error means that there is nothing more to read: fine either way.
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxDrain))
}
