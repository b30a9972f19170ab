package runstore

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// array is a one-dimensional array parameter in Postgres's binary form, appended to
// element by element. The driver would look for the way to encode each element, and
// allocate for it; that was most of what an insert cost this process.
//
// Elements that are all the same are kept as one, which stands for all: what the rows
// of a batch have in common, and what none of them has, is most of their columns. But
// bytes that are not NULL are each written: beside NULLs, the statement could not tell.
type array struct {
	b    []byte
	n    int  // elements
	many bool // they are not all the same: each is written
	last int  // where the last element begins, or the end if it was the same as the others
}

// The header: dimensions, whether there are nulls, the type of the elements, their
// number, and the index of the first. It is filled in at the end.
const arrayHeader = 20

// begin makes room for an element's size, which is -1 for NULL; commit ends it.
func (a *array) begin(size int) {
	if a.n == 0 {
		a.b = append(a.b[:0], make([]byte, arrayHeader)...)
	}
	a.last = len(a.b)
	a.b = binary.BigEndian.AppendUint32(a.b, uint32(int32(size)))
}

func (a *array) commit() {
	a.n++
	if a.many || a.n == 1 {
		return
	}
	first, added := a.b[arrayHeader:a.last], a.b[a.last:]
	if bytes.Equal(first, added) {
		a.b = a.b[:a.last]
		return
	}
	a.many = true
	if a.n == 2 {
		return
	}
	// Write the others out, before the one that differs.
	size, others := len(first), a.n-2
	a.b = slices.Grow(a.b, others*size)[:len(a.b)+others*size]
	copy(a.b[a.last+others*size:], added)
	for range others {
		copy(a.b[a.last:], a.b[arrayHeader:arrayHeader+size])
		a.last += size
	}
}

func (a *array) text(s string) {
	a.begin(len(s))
	a.b = append(a.b, s...)
	a.commit()
}

// bytes appends bytes; nil is NULL.
func (a *array) bytes(b []byte) {
	if b == nil {
		a.begin(-1)
	} else {
		a.begin(len(b))
		a.b = append(a.b, b...)
		a.many = a.many || a.n == 0
	}
	a.commit()
}

func (a *array) integer(i int64) {
	a.begin(8)
	a.b = binary.BigEndian.AppendUint64(a.b, uint64(i))
	a.commit()
}

func (a *array) boolean(v bool) {
	a.begin(1)
	a.b = append(a.b, boolean(v))
	a.commit()
}

func boolean(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// undo takes the last element back.
func (a *array) undo() {
	a.b, a.n = a.b[:a.last], a.n-1
}

// param is the array as a parameter of elements of that type: of one element where
// all are the same. An array without elements is empty, not NULL.
func (a *array) param(element uint32) []byte {
	if a.n == 0 {
		a.b = append(a.b[:0], make([]byte, arrayHeader)...)
		binary.BigEndian.PutUint32(a.b[8:], element)
		return a.b[:12]
	}
	written := a.n
	if !a.many {
		written = 1
	}
	// That there may be nulls where there are none does no harm.
	for at, v := range [...]uint32{1, 1, element, uint32(written), 1} {
		binary.BigEndian.PutUint32(a.b[4*at:], v)
	}
	return a.b
}

// only is the first element as a parameter by itself.
func (a *array) only() []byte {
	if element := a.b[arrayHeader:]; int32(binary.BigEndian.Uint32(element)) >= 0 {
		return element[4:]
	}
	return nil
}

// maxKeptArray is the most memory of an array that is kept for the next statement.
const maxKeptArray = 1 << 20

func (a *array) reset() {
	if cap(a.b) > maxKeptArray {
		a.b = nil
	}
	a.b, a.n, a.many, a.last = a.b[:0], 0, false, 0
}

// The types of elements.
const (
	textOID    = pgtype.TextOID
	bytesOID   = pgtype.ByteaOID
	integerOID = pgtype.Int8OID
	booleanOID = pgtype.BoolOID
)
