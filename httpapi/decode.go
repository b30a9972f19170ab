package httpapi

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/e0ff5a15/mollifier/run"
)

// The types below are the vocabulary of request bodies. Each accepts exactly
// the JSON kinds it names; null is none of them, because a client that leaves
// a field out never writes null, and a null that is read as "absent" hides a
// bug of its sender. set tells an absent field from an empty one.

// field is a JSON value of the one kind that T has: a string, a boolean, an
// array, or an object.
type field[T any] struct {
	value T
	set   bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (f *field[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	kind, rule := jsontext.KindBeginObject, "must be an object"
	switch reflect.TypeFor[T]().Kind() {
	case reflect.String:
		kind, rule = jsontext.KindString, "must be a string"
	case reflect.Bool:
		kind, rule = jsontext.KindTrue, "must be true or false"
	case reflect.Slice:
		kind, rule = jsontext.KindBeginArray, "must be an array"
	}
	got := d.PeekKind()
	if got == jsontext.KindFalse {
		got = jsontext.KindTrue
	}
	if got != kind && got != jsontext.KindInvalid {
		return errors.New(rule)
	}
	if err := json.UnmarshalDecode(d, &f.value); err != nil {
		return err
	}
	f.set = true
	return nil
}

// nullableText is a string, or null for absent.
type nullableText string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *nullableText) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case jsontext.KindString, jsontext.KindNull, jsontext.KindInvalid:
		return json.UnmarshalDecode(d, (*string)(t))
	}
	return errors.New("must be a string")
}

// number is a JSON number.
type number struct {
	value float64
	set   bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (n *number) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if k := d.PeekKind(); k != jsontext.KindNumber && k != jsontext.KindInvalid {
		return errors.New("must be a number")
	}
	if err := json.UnmarshalDecode(d, &n.value); err != nil {
		var semantic *json.SemanticError
		if errors.As(err, &semantic) {
			return errors.New("must be a number in range")
		}
		return err
	}
	n.set = true
	return nil
}

// integer is a JSON number without a fraction, in the range that JavaScript
// counts exactly.
type integer struct {
	value int64
	set   bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (n *integer) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var f number
	if err := f.UnmarshalJSONFrom(d); err != nil {
		return err
	}
	if f.value != math.Trunc(f.value) || math.Abs(f.value) > 1<<53 {
		return errors.New("must be an integer")
	}
	n.value, n.set = int64(f.value), true
	return nil
}

// int is the value, as far as an int holds it everywhere: what is cut is far
// outside every limit.
func (n integer) int() int { return int(max(math.MinInt32, min(n.value, math.MaxInt32))) }

// textOrNumber is a string or a number.
type textOrNumber struct {
	text   string
	number float64
	kind   jsontext.Kind // zero when absent
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (v *textOrNumber) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	kind := d.PeekKind()
	switch kind {
	case jsontext.KindString, jsontext.KindInvalid:
		if err := json.UnmarshalDecode(d, &v.text); err != nil {
			return err
		}
	case jsontext.KindNumber:
		var n number
		if err := n.UnmarshalJSONFrom(d); err != nil {
			return err
		}
		v.number = n.value
	default:
		return errors.New("must be a string or a number")
	}
	v.kind = kind
	return nil
}

// String is the text, or the number as JavaScript writes it.
func (v textOrNumber) String() string {
	if v.kind == jsontext.KindNumber {
		return jsontext.Float(v.number).String()
	}
	return v.text
}

// texts is a string or an array of strings.
type texts []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *texts) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case jsontext.KindString, jsontext.KindInvalid:
		var one string
		if err := json.UnmarshalDecode(d, &one); err != nil {
			return err
		}
		*t = texts{one}
		return nil
	case jsontext.KindBeginArray:
		var many []field[string]
		if err := json.UnmarshalDecode(d, &many); err != nil {
			return err
		}
		*t = texts{} // there, though it may be empty
		for _, s := range many {
			*t = append(*t, s.value)
		}
		return nil
	}
	return errors.New("must be a string or an array of strings")
}

// decodeBody reads one JSON object into a T. It is strict: duplicate names at
// any depth, invalid UTF-8, lone surrogates and anything after the object are
// errors. Unknown names are dropped. The error is a [*run.InvalidError] that
// names the field.
func decodeBody[T any](body []byte) (T, error) {
	var v field[T]
	err := json.Unmarshal(body, &v)
	if err == nil {
		return v.value, nil
	}
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntactic):
		// A name in it may be the customer's own: only the place is told.
		return v.value, malformed("body", fmt.Sprintf("%s (fault at byte %d)", syntaxRule(syntactic.Err), syntactic.ByteOffset))
	case errors.As(err, &semantic) && semantic.Err != nil:
		return v.value, malformed(fieldName(semantic.JSONPointer), semantic.Err.Error())
	case semantic != nil:
		return v.value, malformed(fieldName(semantic.JSONPointer), kindRule(semantic.GoType))
	}
	return v.value, malformed("body", "must be valid JSON")
}

func syntaxRule(err error) string {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "must not contain one name twice in an object"
	case err != nil && err.Error() == "exceeded max depth":
		return "must not be nested more than 10000 levels deep"
	}
	return "must be valid JSON in valid UTF-8"
}

// kindRule is what the elements of an array of our own types have to be: what
// stands alone is a field, which knows its rule.
func kindRule(t reflect.Type) string {
	if t != nil && t.Kind() == reflect.String {
		return "must be an array of strings"
	}
	return "must be an array of objects"
}

// fieldName turns a pointer into a field as the wire's documentation writes
// it: "/options/tags/3" is "options.tags".
func fieldName(p jsontext.Pointer) string {
	var parts []string
	for token := range p.Tokens() {
		if strings.Trim(token, "0123456789") != "" {
			parts = append(parts, token)
		}
	}
	if len(parts) == 0 {
		return "body"
	}
	return strings.Join(parts, ".")
}

func malformed(field, rule string) error {
	return &run.InvalidError{Field: field, Rule: rule, Fault: run.Malformed}
}

func unprocessable(field, rule string) error {
	return &run.InvalidError{Field: field, Rule: rule, Fault: run.Unprocessable}
}
