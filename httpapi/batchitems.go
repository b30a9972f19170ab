package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/tenant"
	"github.com/e0ff5a15/mollifier/token"
)

// Items are triggered in groups: as many as may be, and no more memory than this.
const (
	groupBytes = 4 << 20
	groupTime  = 20 * time.Second
)

// typeLines is the content type of a stream of items.
const typeLines = "application/x-ndjson"

// batchItem is one item of a batch: a line of a stream.
type batchItem struct {
	Index   integer               `json:"index"`
	Task    field[string]         `json:"task"`
	Payload jsontext.Value        `json:"payload" required:"false"`
	Context jsontext.Value        `json:"context" required:"false"`
	Options field[triggerOptions] `json:"options" required:"false"`
}

// itemsAnswer says what a stream of items came to. The client sends the whole
// stream again unless the batch is sealed.
type itemsAnswer struct {
	ID           string `json:"id"`
	Accepted     int    `json:"itemsAccepted"`
	Deduplicated int    `json:"itemsDeduplicated"` // they were there before
	Sealed       bool   `json:"sealed"`
	RunCount     int    `json:"runCount"`
	Enqueued     *int   `json:"enqueuedCount,omitzero" nullable:"false"` // only while items are missing
	Expected     *int   `json:"expectedCount,omitzero" nullable:"false"` // only while items are missing
}

// batchItems answers POST /api/v3/batches/{batchId}/items.
func (a *api) batchItems(ctx context.Context, c *call) (reply, error) {
	if kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || kind != typeLines && kind != "application/ndjson" {
		return reply{}, newProblem(http.StatusUnsupportedMediaType, "content-type", "Content-Type must be application/x-ndjson or application/ndjson")
	}
	_, origin, err := a.batchRequest(c)
	if err != nil {
		return reply{}, err
	}
	if err := c.permitSome(token.Tasks); err != nil {
		return reply{}, err
	}
	if c.token != nil && c.token.OneTime && mayName(c.PathValue("batchId")) {
		switch opened, err := a.Engine.TokenOpened(ctx, c.env.ID, c.token.Hash(), c.PathValue("batchId")); {
		case err != nil:
			return reply{}, err
		case !opened:
			return reply{}, forbidden()
		}
	}
	h, err := runstore.BatchHeader{}, error(run.ErrNotFound)
	if id := c.PathValue("batchId"); mayName(id) {
		h, err = a.Engine.BatchHeader(ctx, c.env.ID, id)
	}
	switch {
	case errors.Is(err, run.ErrNotFound):
		return reply{}, newProblem(http.StatusUnprocessableEntity, "batch-not-found", "This environment has no such batch").with("X-Should-Retry", "false")
	case err != nil:
		return reply{}, err
	}
	in := c.lines()
	if !h.SealedAt.IsZero() {
		if err := in.skim(); !errors.Is(err, io.EOF) && err != nil {
			return reply{}, err
		}
		return answer(itemsAnswer{ID: h.ID, RunCount: h.Items, Sealed: true})
	}
	s := intake{api: a, call: c, header: h, origin: origin, seen: make([]bool, h.Items)}
	for _, i := range h.Taken {
		if i < len(s.seen) {
			s.seen[i] = true
		}
	}
	if err := s.read(ctx, in); err != nil {
		return reply{}, err
	}
	return s.seal(ctx)
}

// intake is one stream of items on its way into its batch.
type intake struct {
	*api
	call   *call
	header runstore.BatchHeader
	origin run.Trigger // what every item takes from the request
	seen   []bool      // by index: it has its place, or is in this stream already

	group    []run.Trigger
	bytes    int
	accepted int
	repeated int
}

// read triggers the items as they come, a group at a time. While a group is being
// triggered nothing is read, so a fast sender waits.
func (s *intake) read(ctx context.Context, in *lines) error {
	for n := 0; ; n++ {
		line, size, err := in.next()
		if errors.Is(err, io.EOF) {
			return s.flush(ctx)
		}
		if err != nil {
			return err
		}
		if n > 10*run.MaxBatchItems {
			return unprocessable("items", fmt.Sprintf("at most %d lines", 10*run.MaxBatchItems))
		}
		if blank(line) {
			continue
		}
		t, ok, err := s.item(line, size, n)
		if err != nil {
			return err
		}
		if !ok {
			s.repeated++
			continue
		}
		s.group, s.bytes = append(s.group, t), s.bytes+t.Size()
		if s.bytes >= groupBytes || len(s.group) == run.MaxBatchItems {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
	}
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// item turns a line into a trigger; ok is false for one that is there already.
// A line that is too long becomes a run that failed: its sender could do nothing
// about it, and the batch has to come to an end.
func (s *intake) item(line []byte, size int64, n int) (t run.Trigger, ok bool, err error) {
	var it batchItem
	if size > maxBody {
		it, err = itemHead(line)
	} else {
		it, err = decodeBody[batchItem](line)
	}
	if err != nil {
		return t, false, ofItem(n, err)
	}
	index := int(min(it.Index.value, run.MaxBatchItems))
	switch {
	case !it.Index.set || it.Index.value < 0:
		return t, false, unprocessable(fmt.Sprintf("items[%d].index", n), "must be an integer, 0 or more")
	case index >= len(s.seen):
		return t, false, unprocessable(fmt.Sprintf("items[%d].index", n), fmt.Sprintf("less than runCount, which is %d", len(s.seen)))
	case s.seen[index]:
		return t, false, nil
	}
	t = s.place(index)
	if size > maxBody {
		t.Task, t.PayloadSize = it.Task.value, size
		t.Failed = &run.Failure{Name: "ITEM_TOO_LARGE", Message: fmt.Sprintf("The item is larger than %d bytes.", maxBody)}
	} else {
		err = it.fill(&t, s.call.env.Type, s.Now())
	}
	if err == nil {
		err = t.Validate()
	}
	if err != nil {
		return t, false, ofItem(n, err)
	}
	if err := s.call.permit(token.Resource{Type: token.Tasks, ID: t.Task}); err != nil {
		return t, false, err
	}
	s.seen[index] = true
	return t, true, nil
}

// place is a trigger of the batch at an index, before the item's own part.
func (s *intake) place(index int) run.Trigger {
	t := s.origin
	t.Task = ""
	t.BatchItem = run.BatchItem{Batch: s.header.ID, Index: index}
	t.ParentRun, t.ResumeParent = s.header.ParentRun, s.header.ResumeParent
	return t
}

// fill copies an item into its trigger. The parent is the batch's, if it has one.
func (it *batchItem) fill(t *run.Trigger, kind tenant.Type, now time.Time) error {
	parent, resume := t.ParentRun, t.ResumeParent
	t.Task = it.Task.value
	body := triggerBody{Payload: it.Payload, Context: it.Context, Options: it.Options}
	if err := body.fill(t, kind, now); err != nil {
		return err
	}
	if !parent.IsZero() {
		t.ParentRun, t.ResumeParent = parent, resume
	}
	return nil
}

// ofItem has an error name the item that it is about. Whatever is wrong with an
// item is unprocessable; a line that is no JSON object is malformed.
func ofItem(n int, err error) error {
	var invalid *run.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	named := *invalid
	switch named.Field {
	case "body":
		named.Field = fmt.Sprintf("items[%d]", n)
		return &named
	case "taskId":
		named.Field = "task"
	}
	named.Field, named.Fault = fmt.Sprintf("items[%d].%s", n, named.Field), run.Unprocessable
	return &named
}

// itemHead reads index and task of an item from its first bytes.
func itemHead(head []byte) (it batchItem, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(head))
	if t, err := d.ReadToken(); err != nil || t.Kind() != jsontext.KindBeginObject {
		return it, malformed("body", "must be a JSON object")
	}
	for !it.Index.set || !it.Task.set {
		token, err := d.ReadToken()
		if err != nil || token.Kind() != jsontext.KindString {
			return it, errHead
		}
		name := token.String() // the token is void after the next read
		switch name {
		case "index":
			err = it.Index.UnmarshalJSONFrom(d)
		case "task":
			err = it.Task.UnmarshalJSONFrom(d)
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return it, errHead
		}
	}
	return it, nil
}

var errHead = unprocessable("body", fmt.Sprintf("at most %d bytes; what is larger must have index and task first", maxBody))

// flush triggers the group. An item that is to be sent again ends the stream with
// its error: the client sends all of them again, and what is in is not made twice.
func (s *intake) flush(ctx context.Context) error {
	if len(s.group) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, groupTime)
	defer cancel()
	results, err := s.Engine.TriggerItems(ctx, s.group)
	if err != nil {
		return err
	}
	s.group, s.bytes = nil, 0
	s.call.letGo()
	for i := range results {
		switch r := &results[i]; {
		case r.Err != nil && !r.Kept:
			return r.Err
		case r.Taken:
			s.repeated++
		default:
			s.accepted++
		}
	}
	return nil
}

// seal closes the batch if all of its items are in.
func (s *intake) seal(ctx context.Context) (reply, error) {
	taken, sealed, err := s.Engine.SealBatch(ctx, s.call.env.ID, s.header.ID)
	if err != nil {
		return reply{}, err
	}
	out := itemsAnswer{ID: s.header.ID, Accepted: s.accepted, Deduplicated: s.repeated, Sealed: sealed, RunCount: s.header.Items}
	if !sealed {
		out.Enqueued, out.Expected = &taken, &s.header.Items
	}
	return answer(out)
}
