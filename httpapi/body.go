package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
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

// readBody reads the whole body, whose length checkLength has accepted. Memory
// grows with what has arrived, not with what was announced. The bytes belong
// to the caller for good: a trigger may outlive its request.
func readBody(r *http.Request) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	_, err := b.ReadFrom(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return b.Bytes(), nil
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errSlow
	}
	return nil, errShort
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
