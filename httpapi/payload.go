package httpapi

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// The payload types that the wire gives a meaning. A payload of any other type
// is opaque text.
const (
	typeJSON      = "application/json"
	typeSuperJSON = "application/super+json" // {"json": value, "meta"?: how to revive it}
	typeStore     = "application/store"      // the path of an uploaded payload
)

// storedPayload turns a payload as it stands in a body into the bytes that are
// kept, by this rule: under application/json (the default) the bytes are the
// JSON text of the value, whatever its kind, as it was written; under every
// other type the payload must be a string and the bytes are that string's own
// UTF-8. So the JSON string "7" under application/json is kept with its quotes
// and never meets the number 7, and the JSON-in-JSON of the SDK is kept as the
// inner text. An absent payload is nil; an empty string is empty, not nil.
func storedPayload(field string, value jsontext.Value, payloadType string) ([]byte, error) {
	switch {
	case value == nil:
		return nil, nil
	case payloadType == "" || payloadType == typeJSON:
		return value, nil
	case value.Kind() != jsontext.KindString:
		return nil, malformed(field, "must be a string unless its type is "+typeJSON)
	}
	text, err := jsontext.AppendUnquote([]byte{}, value)
	if err != nil { // the body was decoded strictly, so this is out of reach of a request
		return nil, malformed(field, "must be a valid string")
	}
	if payloadType == typeStore && len(text) == 0 {
		return nil, malformed(field, "must not be empty when its type is "+typeStore)
	}
	return text, nil
}

// shownPayload turns kept bytes into the JSON value that a read shows, or nil
// for none. Values are cut out of the kept text, never decoded and written
// again, so numbers keep their digits. Text that is not what its type says is
// shown as a string: it is still what the customer sent.
func shownPayload(payloadType string, kept []byte) jsontext.Value {
	switch {
	case kept == nil, payloadType == typeStore:
		return nil
	case payloadType == "" || payloadType == typeJSON:
		if v := jsontext.Value(kept); v.IsValid() {
			return bytes.TrimSpace(v)
		}
	case payloadType == typeSuperJSON:
		if v, ok := jsonMember(kept); ok {
			return v
		}
	}
	if !utf8.Valid(kept) {
		return nil
	}
	quoted, err := jsontext.AppendQuote(nil, kept)
	if err != nil {
		return nil
	}
	return quoted
}

// jsonMember cuts the "json" member out of a super+json document. ok is false
// when the text is no such document; a document without the member is nil.
func jsonMember(document []byte) (value jsontext.Value, ok bool) {
	if !jsontext.Value(document).IsValid() {
		return nil, false
	}
	d := jsontext.NewDecoder(bytes.NewReader(document))
	if t, err := d.ReadToken(); err != nil || t.Kind() != jsontext.KindBeginObject {
		return nil, false
	}
	for d.PeekKind() == jsontext.KindString {
		name, err := d.ReadToken()
		if err != nil {
			return nil, false
		}
		if name.String() != "json" {
			if d.SkipValue() != nil {
				return nil, false
			}
			continue
		}
		v, err := d.ReadValue()
		return v.Clone(), err == nil
	}
	return nil, true
}

// shownMetadata is kept metadata as a read shows it: an object, or nothing.
func shownMetadata(t *run.Trigger) jsontext.Value {
	if v := shownPayload(t.MetadataType, t.Metadata); v.Kind() == jsontext.KindBeginObject {
		return v
	}
	return nil
}
