package run

import (
	"fmt"
	"strings"
)

// MaxOperations is the most operations that one change of metadata may have.
const MaxOperations = 1000

// MetadataChange says how a run's metadata is to change: replaced, or by
// operations on what is there. Operations win if both are given, also when
// there are none of them: a change with empty Operations changes nothing.
type MetadataChange struct {
	Replace    *Metadata
	Operations []MetadataOperation
}

// MetadataOperation changes one place of a metadata document.
type MetadataOperation struct {
	Type MetadataOp
	// Key names a member of the document, or, if it begins with "$.", a place
	// below it: names and array indices behind dots or in brackets ("$.a.b",
	// "$.list.0", "$.list[0]", `$.a\.b`). Not used by [OpUpdate].
	Key string
	// Value is a JSON value: for [OpIncrement] a number, for [OpUpdate] an
	// object, for [OpDelete] not used.
	Value []byte
}

// MetadataOp is what an operation does.
type MetadataOp string

// The operations. One that does not fit what is there (an append to a text, a
// path that goes through a number) changes nothing and is no error.
const (
	OpSet       MetadataOp = "set"       // puts the value there; objects on the way are made
	OpAppend    MetadataOp = "append"    // adds the value to the list, which is made if nothing is there
	OpRemove    MetadataOp = "remove"    // takes every equal element out of the list
	OpIncrement MetadataOp = "increment" // adds the number; what is no number counts as 0
	OpDelete    MetadataOp = "delete"    // takes the member away
	OpUpdate    MetadataOp = "update"    // replaces the whole document by the value
)

// Result computes the metadata after the change. What no operation touches is
// kept as it was written, byte for byte: nothing is decoded and encoded again.
// The result is nil if the change changes nothing.
//
// Errors are [*InvalidError]: Malformed for an operation that no document could
// take, Unprocessable for operations on metadata that is no JSON object, and
// TooLarge for a result over [MaxMetadata] bytes.
func (c *MetadataChange) Result(current Metadata) (*Metadata, error) {
	if c.Operations == nil {
		return c.replacement()
	}
	if err := c.Validate(); err != nil || len(c.Operations) == 0 {
		return nil, err
	}
	if current.Type != "" && !isJSON(current.Type) {
		return nil, &InvalidError{"operations", "only on metadata that is JSON", Unprocessable}
	}
	text := current.Bytes
	if len(text) == 0 {
		text = []byte("{}")
	}
	doc, ok := parseDocument(text)
	if !ok || doc.kind() != '{' {
		return nil, &InvalidError{"operations", "only on metadata that is a JSON object", Unprocessable}
	}
	for i := range c.Operations {
		next, err := c.Operations[i].apply(doc)
		if err != nil {
			return nil, err
		}
		doc = next
	}
	result := doc.append(nil)
	if len(result) > MaxMetadata {
		return nil, tooMuchMetadata()
	}
	if _, ok := parseDocument(result); !ok {
		return nil, &InvalidError{"operations", "nested too deep", Unprocessable}
	}
	if current.Type == "" {
		current.Type = DefaultPayloadType
	}
	return &Metadata{result, current.Type}, nil
}

// Validate refuses what no run's metadata could take, whatever it is: the errors
// of [MetadataChange.Result] that do not depend on the run.
func (c *MetadataChange) Validate() error {
	if c.Operations == nil {
		_, err := c.replacement()
		return err
	}
	if len(c.Operations) > MaxOperations {
		return &InvalidError{"operations", fmt.Sprintf("at most %d", MaxOperations), TooLarge}
	}
	for i := range c.Operations {
		if _, _, err := c.Operations[i].read(); err != nil {
			return err
		}
	}
	return nil
}

func (c *MetadataChange) replacement() (*Metadata, error) {
	if c.Replace == nil {
		return nil, nil
	}
	m := *c.Replace
	if len(m.Bytes) > MaxMetadata {
		return nil, tooMuchMetadata()
	}
	v := &validation{}
	v.name("metadataType", m.Type, MaxNameLen, false)
	if err := v.err(); err != nil {
		return nil, err
	}
	if m.Type == "" {
		m.Type = DefaultPayloadType
	}
	return &m, nil
}

func tooMuchMetadata() error {
	return &InvalidError{"metadata", fmt.Sprintf("at most %d bytes", MaxMetadata), TooLarge}
}

func isJSON(contentType string) bool {
	base, _, _ := strings.Cut(contentType, ";")
	base = strings.ToLower(strings.TrimSpace(base))
	return base == "application/json" || strings.HasSuffix(base, "+json")
}

// apply changes doc and returns the document, which is another one only after
// an update.
func (o *MetadataOperation) apply(doc *node) (*node, error) {
	value, steps, err := o.read()
	switch {
	case err != nil:
		return nil, err
	case o.Type == OpUpdate:
		return value, nil
	}
	doc.change(steps, func(old *node) (*node, bool) { return o.at(old, value) })
	return doc, nil
}

// read takes the operation apart, or says what is wrong with it whatever the
// document.
func (o *MetadataOperation) read() (value *node, steps []string, err error) {
	switch o.Type {
	case OpSet, OpAppend, OpRemove, OpIncrement, OpDelete, OpUpdate:
	default:
		return nil, nil, &InvalidError{"operations.type", "one of set, append, remove, increment, delete, update", Malformed}
	}
	ok := true
	if o.Type != OpDelete {
		if value, ok = parseStrictly(o.Value); !ok {
			return nil, nil, o.malformed("value must be JSON")
		}
	}
	switch {
	case o.Type == OpUpdate && value.kind() != '{':
		return nil, nil, o.malformed("value must be an object")
	case o.Type == OpUpdate:
		return value, nil, nil
	case o.Type == OpIncrement && value.kind() != '0':
		return nil, nil, o.malformed("value must be a number")
	}
	if steps, ok = parsePath(o.Key); !ok {
		return nil, nil, &InvalidError{"operations.key", fmt.Sprintf("a name, or $. and a path of at most %d steps without wildcards", maxSteps), Malformed}
	}
	return value, steps, nil
}

func (o *MetadataOperation) malformed(rule string) error {
	return &InvalidError{"operations." + string(o.Type), rule, Malformed}
}

// at returns what takes the place of old, nil meaning nothing; changed is false
// if the operation does not fit.
func (o *MetadataOperation) at(old, value *node) (result *node, changed bool) {
	switch o.Type {
	case OpSet:
		return value, true
	case OpDelete:
		return nil, old != nil
	case OpAppend:
		switch {
		case old == nil:
			return listOf(value), true
		case old.kind() == '[':
			return old.with(value), true
		case strings.HasPrefix(o.Key, pathPrefix):
			return listOf(old, value), true
		}
	case OpRemove:
		if old != nil && old.kind() == '[' {
			return old.without(value)
		}
	case OpIncrement:
		if sum, ok := add(old, value); ok {
			return sum, true
		}
	}
	return nil, false
}
