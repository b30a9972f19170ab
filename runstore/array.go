package runstore

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgtype"
)

// array is a one-dimensional array parameter in Postgres's binary form, appended to
// element by element. The driver would look for the way to encode each element, and
// allocate for it; that was most of what an insert cost this process.
type array struct {
	b     []byte
	n     uint32 // elements
	nulls bool
	last  int // where the last element begins
}

// The header: dimensions, whether there are nulls, the type of the elements, their
// number, and the index of the first. It is filled in at the end.
const arrayHeader = 20

func (a *array) element(size int) {
	if a.n == 0 {
		a.b = append(a.b[:0], make([]byte, arrayHeader)...)
	}
	a.n++
	a.last = len(a.b)
	a.b = binary.BigEndian.AppendUint32(a.b, uint32(int32(size)))
}

func (a *array) text(s string) {
	a.element(len(s))
	a.b = append(a.b, s...)
}

// bytes appends bytes; nil is NULL.
func (a *array) bytes(b []byte) {
	if b == nil {
		a.nulls = true
		a.element(-1)
		return
	}
	a.element(len(b))
	a.b = append(a.b, b...)
}

func (a *array) integer(i int64) {
	a.element(8)
	a.b = binary.BigEndian.AppendUint64(a.b, uint64(i))
}

func (a *array) boolean(v bool) {
	a.element(1)
	a.b = append(a.b, boolean(v))
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

// param is the array as a parameter of elements of that type. An array without
// elements is empty, not NULL.
func (a *array) param(element uint32) []byte {
	if a.n == 0 {
		a.b = append(a.b[:0], make([]byte, arrayHeader)...)
		binary.BigEndian.PutUint32(a.b[8:], element)
		return a.b[:12]
	}
	for at, v := range [...]uint32{1, uint32(boolean(a.nulls)), element, a.n, 1} {
		binary.BigEndian.PutUint32(a.b[4*at:], v)
	}
	return a.b
}

// maxKeptArray is the most memory of an array that is kept for the next statement.
const maxKeptArray = 1 << 20

func (a *array) reset() {
	if cap(a.b) > maxKeptArray {
		a.b = nil
	}
	a.b, a.n, a.nulls, a.last = a.b[:0], 0, false, 0
}

// The types of elements.
const (
	textOID    = pgtype.TextOID
	bytesOID   = pgtype.ByteaOID
	integerOID = pgtype.Int8OID
	booleanOID = pgtype.BoolOID
)
