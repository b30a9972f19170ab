package httpapi

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/watch"
)

// shapeMessage is one entry of a shape log: a row as it is now, or a control
// message.
type shapeMessage struct {
	Key     string         `json:"key,omitzero"`
	Value   jsontext.Value `json:"value,omitzero"`
	Headers shapeHeaders   `json:"headers"`
}

// shapeLog is a part of a shape log.
type shapeLog []shapeMessage

// Schema implements huma.SchemaProvider.
func (shapeLog) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: r.Schema(reflect.TypeFor[shapeMessage](), true, "")}
}

type shapeHeaders struct {
	Operation string `json:"operation,omitzero"`
	Control   string `json:"control,omitzero"`
}

// column is a column of the table that clients believe to follow. Its values are
// database text, or null.
type column struct {
	name, kind string
	array      bool
	kept       bool // clients can not do without it
	text       func(r *run.Run, now time.Time) (string, bool)
}

// columns are what clients read, in the terms of the table that they know: other
// names for the statuses, dates without a zone.
var columns = []column{
	{name: "id", kind: "text", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) { return r.ID.String(), true }},
	{name: "friendlyId", kind: "text", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) { return r.ID.String(), true }},
	{name: "taskIdentifier", kind: "text", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) { return r.Trigger.Task, true }},
	{name: "status", kind: "text", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) { return shapeStatus(r.Status), true }},
	{name: "createdAt", kind: "timestamp", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) { return shapeDate(r.CreatedAt) }},
	{name: "updatedAt", kind: "timestamp", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) {
		if r.UpdatedAt.IsZero() {
			return shapeDate(r.CreatedAt)
		}
		return shapeDate(r.UpdatedAt)
	}},
	{name: "completedAt", kind: "timestamp", kept: true, text: func(r *run.Run, _ time.Time) (string, bool) { return shapeDate(finishedAt(r)) }},
	{name: "startedAt", kind: "timestamp", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeDate(r.StartedAt) }},
	{name: "delayUntil", kind: "timestamp", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeDate(r.Trigger.DelayUntil) }},
	{name: "expiredAt", kind: "timestamp", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeDate(r.ExpiredAt) }},
	{name: "idempotencyKey", kind: "text", text: func(r *run.Run, now time.Time) (string, bool) { return shapeText(shownKey(r, now)) }},
	{name: "isTest", kind: "bool", text: func(r *run.Run, _ time.Time) (string, bool) { return strconv.FormatBool(r.Trigger.Test), true }},
	{name: "usageDurationMs", kind: "int4", text: func(r *run.Run, _ time.Time) (string, bool) {
		return strconv.FormatInt(duration(r).Milliseconds(), 10), true
	}},
	{name: "costInCents", kind: "float8", text: func(*run.Run, time.Time) (string, bool) { return "0", true }},
	{name: "baseCostInCents", kind: "float8", text: func(*run.Run, time.Time) (string, bool) { return "0", true }},
	{name: "ttl", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeText(shownTTL(&r.Trigger)) }},
	{name: "payload", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeBytes(r.Trigger.Payload) }},
	{name: "payloadType", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeText(r.Trigger.PayloadType) }},
	{name: "metadata", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeBytes(r.Trigger.Metadata) }},
	{name: "metadataType", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeText(r.Trigger.MetadataType) }},
	{name: "output", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeBytes(r.Output) }},
	{name: "outputType", kind: "text", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeText(r.OutputType) }},
	{name: "runTags", kind: "text", array: true, text: func(r *run.Run, _ time.Time) (string, bool) {
		return shapeArray(slices.Sorted(slices.Values(r.Trigger.Tags))), true
	}},
	{name: "error", kind: "jsonb", text: func(r *run.Run, _ time.Time) (string, bool) { return shapeError(r.Error) }},
}

// shapeSchema tells clients how to read the columns.
var shapeSchema = func() string {
	type info struct {
		Type string `json:"type"`
		Dims int    `json:"dims,omitzero"`
	}
	all := map[string]info{}
	for _, c := range columns {
		i := info{Type: c.kind}
		if c.array {
			i.Dims = 1
		}
		all[c.name] = i
	}
	b, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		panic(err) // a map of words
	}
	return string(b)
}()

// skipped are the columns that a client does without. Those that it can not do
// without it gets all the same; a name of none is left out as it is.
func skipped(names []string) (map[string]bool, error) {
	const most = 64
	if len(names) > most {
		return nil, malformed("skipColumns", "at most "+strconv.Itoa(most))
	}
	skip := map[string]bool{}
	for _, name := range names {
		for _, c := range columns {
			if c.name == name && !c.kept {
				skip[name] = true
			}
		}
	}
	return skip, nil
}

// reply answers news as messages.
func (s *shape) reply(news watch.News, live bool, now time.Time) (reply, error) {
	operation := "insert"
	if live {
		operation = "update"
	}
	messages := make(shapeLog, 0, len(news.Runs)+1)
	for i := range news.Runs {
		r := &news.Runs[i]
		row, err := s.row(r, now)
		if err != nil {
			return reply{}, err
		}
		messages = append(messages, shapeMessage{Key: `"runs"/"` + r.ID.String() + `"`, Value: row, Headers: shapeHeaders{Operation: operation}})
	}
	// A client that follows is up to date with every answer: it asks on at once.
	complete := live || !news.More
	if complete {
		messages = append(messages, shapeMessage{Headers: shapeHeaders{Control: "up-to-date"}})
	}
	re, err := answer(messages)
	if err != nil {
		return reply{}, err
	}
	re.header.Set(headerHandle, s.handle())
	re.header.Set(headerOffset, news.Known.String())
	re.header.Set(headerSchema, shapeSchema)
	re.header.Set(headerCursor, strconv.FormatInt(now.Unix(), 10))
	if complete {
		re.header.Set(headerUpToDate, "true")
	}
	return re, nil
}

// row is a run as an object of its columns.
func (s *shape) row(r *run.Run, now time.Time) (jsontext.Value, error) {
	var b strings.Builder
	e := jsontext.NewEncoder(&b)
	tokens := []jsontext.Token{jsontext.BeginObject}
	for _, c := range columns {
		if s.skip[c.name] {
			continue
		}
		value := jsontext.Null
		if text, ok := c.text(r, now); ok {
			value = jsontext.String(text)
		}
		tokens = append(tokens, jsontext.String(c.name), value)
	}
	for _, t := range append(tokens, jsontext.EndObject) {
		if err := e.WriteToken(t); err != nil {
			return nil, err
		}
	}
	return jsontext.Value(strings.TrimSpace(b.String())), nil
}

// shapeStatus is a status in the words of the table.
func shapeStatus(s run.Status) string {
	switch s {
	case run.Queued:
		return "PENDING"
	case run.Waiting:
		return "WAITING_TO_RESUME"
	case run.Completed:
		return "COMPLETED_SUCCESSFULLY"
	case run.Failed:
		return "COMPLETED_WITH_ERRORS"
	}
	return string(s)
}

func shapeDate(t time.Time) (string, bool) {
	return t.UTC().Format("2006-01-02T15:04:05.000"), !t.IsZero()
}

func shapeText(s string) (string, bool) { return s, s != "" }

// shapeBytes are what the customer sent, which over HTTP is always text.
func shapeBytes(b []byte) (string, bool) { return string(b), len(b) > 0 && utf8.Valid(b) }

// shapeArray is a list of texts in Postgres's notation.
func shapeArray(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// shapeError is why a run ended badly, in one of the forms that clients know.
func shapeError(f *run.Failure) (string, bool) {
	if f == nil {
		return "", false
	}
	form := map[string]string{"type": "STRING_ERROR", "raw": f.Message}
	if f.Name != "" || f.StackTrace != "" {
		form = map[string]string{"type": "BUILT_IN_ERROR", "name": f.Name, "message": f.Message, "stackTrace": f.StackTrace}
	}
	b, err := json.Marshal(form, json.Deterministic(true))
	return string(b), err == nil
}
