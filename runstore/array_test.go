package runstore

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// What is appended is what the driver reads, for each type of element, whatever the
// memory was used for before.
func TestArrayIsWhatPostgresReads(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	var a array
	for range 2 {
		want := [][]byte{{1, 2}, nil, {}, bytes.Repeat([]byte{0}, 1000)}
		for _, b := range want {
			a.bytes(b)
		}
		a.bytes([]byte("undone"))
		a.undo()
		var blobs [][]byte
		scan(t, m, pgtype.ByteaArrayOID, a.param(bytesOID), &blobs)
		if !slices.EqualFunc(blobs, want, func(x, y []byte) bool { return (x == nil) == (y == nil) && bytes.Equal(x, y) }) {
			t.Errorf("bytes: %v", blobs)
		}
		a.reset()

		texts := []string{"", "ü", "a\"b{},", "🧨"}
		for _, s := range texts {
			a.text(s)
		}
		var got []string
		scan(t, m, pgtype.TextArrayOID, a.param(textOID), &got)
		if !slices.Equal(got, texts) {
			t.Errorf("texts: %q", got)
		}
		a.reset()

		numbers := []int64{0, -1, math.MaxInt64, math.MinInt64}
		for _, i := range numbers {
			a.integer(i)
		}
		var integers []int64
		scan(t, m, pgtype.Int8ArrayOID, a.param(integerOID), &integers)
		if !slices.Equal(integers, numbers) {
			t.Errorf("integers: %v", integers)
		}
		a.reset()

		a.boolean(true)
		a.boolean(false)
		var booleans []bool
		scan(t, m, pgtype.BoolArrayOID, a.param(booleanOID), &booleans)
		if !slices.Equal(booleans, []bool{true, false}) {
			t.Errorf("booleans: %v", booleans)
		}
		a.reset()

		empty := []string{"not", "empty"}
		scan(t, m, pgtype.TextArrayOID, a.param(textOID), &empty)
		if empty == nil || len(empty) > 0 {
			t.Errorf("an empty array: %v", empty)
		}
		a.reset()
	}
}

func scan(t *testing.T, m *pgtype.Map, oid uint32, b []byte, into any) {
	t.Helper()
	if err := m.Scan(oid, pgtype.BinaryFormatCode, b, into); err != nil {
		t.Fatal(err)
	}
}

// The types that are sent are those that the statement asks for.
func TestTypesOfTheInsert(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	conn, err := s.hot.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, insert := range []prepared{insertSQL, plainSQL} {
		described, err := conn.Conn().Prepare(t.Context(), insert.name, insert.sql)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(described.ParamOIDs, paramTypes()) {
			t.Errorf("types %v, want %v", paramTypes(), described.ParamOIDs)
		}
	}
}
