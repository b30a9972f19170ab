package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// A body that is read as it comes has no length to check, so it is bounded in
// time: each read, and the whole.
const (
	streamTime = 5 * time.Minute
	streamRead = 15 * time.Second
	// answerTime is what is left for the answer after the last read.
	answerTime = 30 * time.Second
	// lineHead is how much is kept of a line that is too long.
	lineHead = 64 << 10
)

// lines reads a body of lines, each at most maxBody long, and holds one of them
// at a time. It counts what it reads into the call's budget.
type lines struct {
	from *bufio.Reader
	call *call
}

func (c *call) lines() *lines {
	return &lines{bufio.NewReaderSize(patient{meter{c.Body, c}, c.wire, time.Now().Add(streamTime)}, 32<<10), c}
}

// patient waits a while for each read, and not for ever for all of them.
type patient struct {
	from io.Reader
	wire *http.ResponseController
	end  time.Time
}

// Read implements io.Reader.
func (p patient) Read(b []byte) (int, error) {
	until := time.Now().Add(streamRead)
	if until.After(p.end) {
		until = p.end
	}
	// A connection without deadlines is a test's.
	_ = p.wire.SetReadDeadline(until)
	_ = p.wire.SetWriteDeadline(until.Add(answerTime))
	return p.from.Read(b)
}

// next reads a line, without its end. Of one that is too long it is the head,
// and size tells. The bytes are the caller's. The error is io.EOF at the end.
func (l *lines) next() (line []byte, size int64, err error) {
	for {
		part, err := l.from.ReadSlice('\n')
		size += int64(len(part))
		switch ended := bytes.HasSuffix(part, []byte{'\n'}); {
		case size <= maxBody || ended && size == maxBody+1:
			line = append(line, part...)
		default:
			dropped := len(part)
			if len(line) > lineHead {
				dropped += len(line) - lineHead
				line = slices.Clone(line[:lineHead])
			}
			l.call.giveBack(int64(dropped))
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(line, []byte{'\n'}), size - 1, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && size > 0:
			return line, size, nil
		}
		return nil, 0, readFault(err)
	}
}

// readFault is what went wrong with a body that is read as it comes.
func readFault(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, run.ErrOverloaded):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	}
	return errCut
}

// skim reads the rest of a body that nothing is done with, so that its sender
// gets to see the answer.
func (l *lines) skim() error {
	_, err := io.Copy(io.Discard, skimmer{l})
	return err
}

type skimmer struct{ l *lines }

// Read implements io.Reader.
func (s skimmer) Read(b []byte) (int, error) {
	n, err := s.l.from.Read(b)
	s.l.call.giveBack(int64(n))
	if err != nil {
		err = readFault(err)
	}
	return n, err
}
