package runstore

import (
	"bytes"
	"math"
	"slices"
	"strings"
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

// Elements that are all the same are sent as one, but bytes; one that differs has all
// of them sent, whatever is taken back.
func TestArrayOfWhatIsTheSame(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	var a array
	for _, c := range []struct{ texts, want []string }{
		{[]string{"same"}, []string{"same"}},
		{[]string{"same", "same", "same"}, []string{"same"}},
		{[]string{"", "", ""}, []string{""}},
		{[]string{"one", "two"}, []string{"one", "two"}},
		{[]string{"one", "one", "one", "three", "one", "one"}, []string{"one", "one", "one", "three", "one", "one"}},
	} {
		for _, taken := range []string{"", "one", "another"} {
			for i, s := range c.texts {
				a.text(s)
				if i == len(c.texts)-2 {
					a.text(taken)
					a.undo()
				}
			}
			var got []string
			scan(t, m, pgtype.TextArrayOID, a.param(textOID), &got)
			if a.n != len(c.texts) || len(got) != 1 && len(got) != len(c.texts) {
				t.Fatalf("%d elements, %d of them written, of %d", a.n, len(got), len(c.texts))
			}
			for i, s := range c.texts {
				if got[min(i, len(got)-1)] != s {
					t.Errorf("%q of %q, %q taken back", got, c.texts, taken)
				}
			}
			a.reset()
		}
		for _, s := range c.texts {
			a.text(s)
		}
		var got []string
		scan(t, m, pgtype.TextArrayOID, a.param(textOID), &got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q are sent as %q, want %q", c.texts, got, c.want)
		}
		a.reset()
	}
	for _, c := range []struct {
		blobs [][]byte
		want  int
	}{
		{[][]byte{nil, nil, nil}, 1},
		{[][]byte{{1}, {1}, {1}}, 3},
		{[][]byte{nil, nil, {1}, {1}}, 4},
		{[][]byte{{1}, nil, nil}, 3},
	} {
		for _, b := range c.blobs {
			a.bytes(b)
		}
		var got [][]byte
		scan(t, m, pgtype.ByteaArrayOID, a.param(bytesOID), &got)
		if len(got) != c.want || len(got) > 1 && !slices.EqualFunc(got, c.blobs, func(x, y []byte) bool { return (x == nil) == (y == nil) && bytes.Equal(x, y) }) {
			t.Errorf("%v are sent as %v", c.blobs, got)
		}
		a.reset()
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
	for _, insert := range slices.Concat(inserting.all(), insertingNew.all()) {
		one := strings.HasSuffix(insert.name, "_one")
		described, err := conn.Conn().Prepare(t.Context(), insert.name, insert.sql)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(described.ParamOIDs, paramTypes(one)) {
			t.Errorf("types %v, want %v", paramTypes(one), described.ParamOIDs)
		}
	}
}
