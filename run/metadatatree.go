package run

import (
	"bytes"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	pathPrefix = "$."
	maxSteps   = 128
	// maxCompared is how deep values are compared by meaning; below, by their text.
	maxCompared = 64
)

// node is a value in a JSON document. It is its own text until one of its parts
// is changed, and is taken apart only where an operation goes through it. An
// unquoted name that comes twice means the later member, as in JavaScript.
type node struct {
	text    []byte
	parts   *parts
	changed bool // text is no longer what the value is
}

// parts are the members of an object or the elements of a list.
type parts struct {
	list   []part
	byName map[string]int // of an object
}

type part struct {
	name  []byte // as written; nil in a list
	value *node
}

func reader(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// parseDocument reads any JSON text that a client may have stored.
func parseDocument(text []byte) (*node, bool) {
	d := reader(text)
	v, err := d.ReadValue()
	if err != nil {
		return nil, false
	}
	n := &node{text: bytes.Clone(v)}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, false
	}
	return n, true
}

// parseStrictly reads the value of an operation.
func parseStrictly(text []byte) (*node, bool) {
	if !jsontext.Value(text).IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil, false
	}
	return parseDocument(text)
}

// kind is the value's kind: { [ " 0 t f n.
func (n *node) kind() byte {
	if c := n.text[0]; c != '-' && (c < '0' || c > '9') {
		return c
	}
	return '0'
}

// open takes an object or a list apart.
func (n *node) open() *parts {
	if n.parts != nil {
		return n.parts
	}
	n.parts = &parts{}
	object := n.kind() == '{'
	if object {
		n.parts.byName = make(map[string]int)
	}
	d := reader(n.text)
	if _, err := d.ReadToken(); err != nil {
		return n.parts // not reached: the text was read as a whole before
	}
	// next is a value of the text itself, not of the reader's buffer.
	next := func() ([]byte, bool) {
		v, err := d.ReadValue()
		if err != nil {
			return nil, false
		}
		end := int(d.InputOffset())
		return n.text[end-len(v) : end : end], true
	}
	for {
		switch d.PeekKind() {
		case '}', ']', 0:
			return n.parts
		}
		var p part
		var ok bool
		if object {
			if p.name, ok = next(); !ok {
				return n.parts
			}
		}
		value, ok := next()
		if !ok {
			return n.parts
		}
		p.value = &node{text: value}
		n.parts.put(p)
	}
}

func (ps *parts) put(p part) {
	if p.name == nil {
		ps.list = append(ps.list, p)
		return
	}
	plain := unquote(p.name)
	if i, ok := ps.byName[plain]; ok {
		ps.list[i].value = p.value
		return
	}
	ps.byName[plain] = len(ps.list)
	ps.list = append(ps.list, p)
}

func (ps *parts) take(i int) {
	if name := ps.list[i].name; name != nil {
		delete(ps.byName, unquote(name))
		for other, at := range ps.byName {
			if at > i {
				ps.byName[other] = at - 1
			}
		}
	}
	ps.list = slices.Delete(ps.list, i, i+1)
}

// append writes the value: as it was read, or from its parts.
func (n *node) append(b []byte) []byte {
	if !n.changed {
		return append(b, n.text...)
	}
	brackets := "[]"
	if n.kind() == '{' {
		brackets = "{}"
	}
	b = append(b, brackets[0])
	for i, p := range n.parts.list {
		if i > 0 {
			b = append(b, ',')
		}
		if p.name != nil {
			b = append(append(b, p.name...), ':')
		}
		b = p.value.append(b)
	}
	return append(b, brackets[1])
}

// change follows the steps from an object or a list and lets f replace what is
// there: nil stands for nothing, in both directions. It reports whether
// anything changed; if not, the document is untouched.
func (n *node) change(steps []string, f func(old *node) (*node, bool)) bool {
	at, ps := -1, n.open()
	var name []byte
	if n.kind() == '{' {
		quoted, err := jsontext.AppendQuote(nil, steps[0])
		if err != nil {
			return false
		}
		name = quoted
		if i, ok := ps.byName[steps[0]]; ok {
			at = i
		}
	} else {
		i, err := strconv.Atoi(steps[0])
		if err != nil || i < 0 || i > len(ps.list) || strconv.Itoa(i) != steps[0] {
			return false
		}
		if i < len(ps.list) {
			at = i
		}
	}
	var old *node
	if at >= 0 {
		old = ps.list[at].value
	}
	fresh, ok := old, true
	switch {
	case len(steps) == 1:
		fresh, ok = f(old)
	case old == nil:
		fresh = &node{text: []byte("{}")}
		ok = fresh.change(steps[1:], f)
	case old.kind() != '{' && old.kind() != '[':
		ok = false
	default:
		ok = old.change(steps[1:], f)
	}
	switch {
	case !ok:
		return false
	case fresh == nil:
		ps.take(at)
	case at >= 0:
		ps.list[at].value = fresh
	default:
		ps.put(part{name, fresh})
	}
	n.changed = true
	return true
}

func listOf(values ...*node) *node {
	n := &node{text: []byte("[]"), parts: &parts{}, changed: true}
	for _, v := range values {
		n.parts.put(part{value: v})
	}
	return n
}

func (n *node) with(value *node) *node {
	n.open().put(part{value: value})
	n.changed = true
	return n
}

func (n *node) without(value *node) (*node, bool) {
	ps := n.open()
	sought := meaning(value.append(nil))
	kept := slices.DeleteFunc(slices.Clone(ps.list), func(p part) bool {
		return p.value.kind() == value.kind() && meaning(p.value.append(nil)) == sought
	})
	if len(kept) == len(ps.list) {
		return n, false
	}
	ps.list, n.changed = kept, true
	return n, true
}

// add is the sum of two numbers: exact for integers of 64 bits, else of double
// precision. What is no number counts as 0.
func add(old, by *node) (*node, bool) {
	left := "0"
	if old != nil && old.kind() == '0' {
		left = string(old.text)
	}
	right := string(by.text)
	if a, err := strconv.ParseInt(left, 10, 64); err == nil {
		if b, err := strconv.ParseInt(right, 10, 64); err == nil && (a+b > a) == (b > 0) {
			return &node{text: strconv.AppendInt(nil, a+b, 10)}, true
		}
	}
	a, errA := strconv.ParseFloat(left, 64)
	b, errB := strconv.ParseFloat(right, 64)
	if sum := a + b; errA == nil && errB == nil && !math.IsInf(sum, 0) {
		text, err := jsontext.AppendFormat(nil, strconv.AppendFloat(nil, sum, 'g', -1, 64), jsontext.CanonicalizeRawFloats(true))
		return &node{text: text}, err == nil
	}
	return nil, false
}

// parsePath splits a key into the steps from the document's root.
func parsePath(key string) ([]string, bool) {
	rest, path := strings.CutPrefix(key, pathPrefix)
	if !path {
		return []string{key}, true
	}
	var (
		steps   []string
		step    strings.Builder
		started bool // step holds something, be it nothing but an escape
		bracket bool // the last step ended with a bracket
	)
	end := func() bool {
		if !started && !bracket {
			return false
		}
		if started {
			steps = append(steps, step.String())
		}
		step.Reset()
		started, bracket = false, false
		return len(steps) <= maxSteps
	}
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && i+1 < len(rest):
			i++
			step.WriteByte(rest[i])
			started = true
		case c == '*' || bracket && c != '.' && c != '[':
			return nil, false
		case c == '.':
			if !end() {
				return nil, false
			}
		case c == '[':
			length := strings.IndexByte(rest[i:], ']')
			if length < 2 || !digits(rest[i+1:i+length]) || (!started && !bracket) || !end() {
				return nil, false
			}
			steps = append(steps, rest[i+1:i+length])
			bracket, i = true, i+length
		default:
			step.WriteByte(c)
			started = true
		}
	}
	if !end() || len(steps) == 0 {
		return nil, false
	}
	return steps, true
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

func unquote(name []byte) string {
	// The only error is invalid UTF-8, which is replaced.
	plain, _ := jsontext.AppendUnquote(nil, name)
	return string(plain)
}

// meaning is a text that two values share if and only if they are equal: as
// numbers, as texts, element by element, member by member in any order.
func meaning(text []byte) string {
	d := reader(text)
	b, ok := appendMeaning(nil, d)
	if !ok {
		return string(text)
	}
	return string(b)
}

func appendMeaning(b []byte, d *jsontext.Decoder) ([]byte, bool) {
	if d.StackDepth() >= maxCompared {
		return nil, false
	}
	switch d.PeekKind() {
	case '{':
		type member struct{ name, value string }
		var members []member
		at := make(map[string]int)
		if _, err := d.ReadToken(); err != nil {
			return nil, false
		}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, false
			}
			m := member{name: name.String()}
			value, ok := appendMeaning(nil, d)
			if !ok {
				return nil, false
			}
			m.value = string(value)
			if i, ok := at[m.name]; ok {
				members[i] = m
				continue
			}
			at[m.name] = len(members)
			members = append(members, m)
		}
		sort.Slice(members, func(i, j int) bool { return members[i].name < members[j].name })
		b = append(b, '{')
		for _, m := range members {
			b = append(append(strconv.AppendQuote(b, m.name), m.value...), ',')
		}
		b = append(b, '}')
		_, err := d.ReadToken()
		return b, err == nil
	case '[':
		if _, err := d.ReadToken(); err != nil {
			return nil, false
		}
		b = append(b, '[')
		for d.PeekKind() != ']' {
			var ok bool
			if b, ok = appendMeaning(b, d); !ok {
				return nil, false
			}
			b = append(b, ',')
		}
		_, err := d.ReadToken()
		return append(b, ']'), err == nil
	case '"':
		token, err := d.ReadToken()
		if err != nil {
			return nil, false
		}
		return strconv.AppendQuote(b, token.String()), true
	case '0':
		v, err := d.ReadValue()
		return appendNumber(b, string(v)), err == nil
	}
	v, err := d.ReadValue()
	return append(b, v...), err == nil
}

// appendNumber writes a number's exact value: 10, 1e1 and 10.0 are one.
func appendNumber(b []byte, text string) []byte {
	mantissa, exponent, _ := strings.Cut(strings.ReplaceAll(text, "E", "e"), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(all, "0")
	if short == "" {
		return append(b, '0')
	}
	power := int64(0)
	if exponent != "" {
		var err error
		if power, err = strconv.ParseInt(exponent, 10, 32); err != nil {
			return append(b, text...) // beyond any number that is meant
		}
	}
	power += int64(len(all)-len(short)) - int64(len(fraction))
	if negative {
		b = append(b, '-')
	}
	return strconv.AppendInt(append(append(b, short...), 'e'), power, 10)
}
