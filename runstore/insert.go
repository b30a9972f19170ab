package runstore

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/e0ff5a15/mollifier/run"
)

// The insert, and the one for rows without ancestors and batches, by the names that they
// are prepared under on connections that may keep their plans.
var (
	insertSQL = insertStatement("mollifier_insert", sqlFile("insert_ancestors"), sqlFile("insert_places"))
	plainSQL  = insertStatement("mollifier_insert_plain", sqlFile("insert_roots"), "")
)

type prepared struct{ name, sql string }

func insertStatement(name, ancestors, places string) prepared {
	return prepared{name, strings.NewReplacer(":ancestors\n", ancestors, ":places\n", places).Replace(statement("insert"))}
}

// columns are the parameters of sql/insert.sql: an array a column, all of one
// length, and a boolean. They go to the driver as they are (see [array]); their
// memory is used again. Get them by newColumns and release them.
type columns struct {
	arrays   [len(columnTypes)]array
	at       int
	linked   bool // a row has an ancestor or a place in a batch
	buffered bool // expired rows are born expired
}

// The columns that are written over.
const (
	colSlot = 5
	colSpan = 7
	colPast = 31
)

// columnTypes are the types of the arrays' elements.
var columnTypes = [...]uint32{
	textOID, textOID, textOID, textOID, textOID, bytesOID, integerOID, integerOID,
	bytesOID, textOID, integerOID, bytesOID, bytesOID, bytesOID, textOID, bytesOID,
	textOID, textOID, textOID, textOID, textOID, textOID, textOID, booleanOID,
	textOID, integerOID, integerOID, integerOID, integerOID, textOID, textOID,
	bytesOID, integerOID, textOID, integerOID, textOID, textOID, integerOID,
}

var columnsPool = sync.Pool{New: func() any { return new(columns) }}

func newColumns(buffered bool) *columns {
	c := columnsPool.Get().(*columns)
	c.linked, c.buffered = false, buffered
	return c
}

// release gives the memory back. Nobody may use c afterwards.
func (c *columns) release() {
	for i := range c.arrays {
		c.arrays[i].reset()
	}
	columnsPool.Put(c)
}

func (c *columns) next() *array {
	c.at++
	return &c.arrays[c.at-1]
}

// add appends one row, accepted at the given instant; zero means Postgres's clock.
func (c *columns) add(it *item, at run.Instant) {
	s := it.snapshot
	t := &s.Trigger
	kind, span := "", int64(0)
	switch {
	case s.Key.IsZero():
	case it.buffered:
		kind, span = string(rune(s.Key.Kind)), int64(s.KeyUntil-s.AcceptedAt)
	default:
		kind, span = string(rune(s.Key.Kind)), t.IdentityTTL().Microseconds()
	}
	lineage := s.Lineage.Of(t.ParentRun)
	c.linked = c.linked || t.BatchItem.Batch != "" || !lineage.Ancestor.IsZero()
	c.at = 0
	c.next().text(s.ID.String())
	c.next().text(t.Environment)
	c.next().text(t.Organisation)
	c.next().text(t.Task)
	c.next().text(kind)
	c.next().bytes(it.slot())
	c.next().integer(int64(at))
	c.next().integer(span)
	c.next().bytes(t.Payload)
	c.next().text(t.PayloadType)
	c.next().integer(t.PayloadSize)
	c.next().bytes(s.PayloadHash[:])
	c.next().bytes(digestBytes(s.RequestHash))
	c.next().bytes(t.Metadata)
	c.next().text(t.MetadataType)
	c.next().bytes(t.Context)
	c.next().text(t.IdempotencyKey)
	c.next().text(arrayText(t.Tags))
	c.next().text(t.Queue)
	c.next().text(t.ConcurrencyKey)
	c.next().text(t.Machine)
	c.next().text(t.Region)
	c.next().text(t.LockToVersion)
	c.next().boolean(t.Test)
	c.next().text(t.BatchItem.Batch)
	c.next().integer(int64(t.BatchItem.Index))
	c.next().integer(instantOf(t.DelayUntil))
	c.next().integer(t.TTL.Microseconds())
	c.next().integer(t.Priority.Microseconds())
	c.next().text(t.ParentRun.String())
	c.next().text(it.options)
	c.next().bytes(nil)
	c.next().integer(it.ver)
	c.next().text(string(it.ended))
	c.next().integer(int64(it.endedAt))
	c.next().text(it.failure)
	c.next().text(lineage.Ancestor.String())
	c.next().integer(int64(lineage.Distance))
}

// outside keeps the row that was added last, accepted at that instant, out of its
// key's slot: past is the key that it once had, nil for none, and until the end of
// its interval.
func (c *columns) outside(past []byte, at, until run.Instant) {
	for _, i := range [...]int{colSlot, colSpan, colPast} {
		c.arrays[i].undo()
	}
	c.arrays[colSlot].bytes(nil)
	c.arrays[colSpan].integer(int64(until - at))
	c.arrays[colPast].bytes(past)
}

// params are the parameters of the statement, all in binary.
func (c *columns) params() [][]byte {
	params := make([][]byte, len(c.arrays)+1)
	for i := range c.arrays {
		params[i] = c.arrays[i].param(columnTypes[i])
	}
	params[len(c.arrays)] = []byte{boolean(c.buffered)}
	return params
}

// paramTypes are the types of params.
var paramTypes = sync.OnceValue(func() []uint32 {
	arrayOf := map[uint32]uint32{
		textOID: pgtype.TextArrayOID, bytesOID: pgtype.ByteaArrayOID,
		integerOID: pgtype.Int8ArrayOID, booleanOID: pgtype.BoolArrayOID,
	}
	var types []uint32
	for _, element := range columnTypes {
		types = append(types, arrayOf[element])
	}
	return append(types, booleanOID)
})

// birth is a row that was inserted.
type birth struct {
	at, until run.Instant
	status    run.Status
}

func (b birth) holder(s *run.Snapshot) Holder {
	return Holder{
		ID: s.ID, Canonical: s.ID, AcceptedAt: b.at, Until: b.until, Status: b.status,
		PayloadHash: s.PayloadHash, RequestHash: s.RequestHash,
	}
}

// allBinary is for parameters, and for results, all of one form.
var allBinary = []int16{pgtype.BinaryFormatCode}

// insertRows inserts rows by id, and answers those that were inserted.
func insertRows(ctx context.Context, q querier, c *columns) (map[string]birth, error) {
	conn, insert := q.Conn(), plainSQL
	if c.linked {
		insert = insertSQL
	}
	var result *pgconn.ResultReader
	if mayKeepPlan(conn) {
		kept, err := conn.Prepare(ctx, insert.name, insert.sql) // from memory but for the first time
		if err != nil {
			return nil, err
		}
		result = conn.PgConn().ExecStatement(ctx, kept, c.params(), allBinary, allBinary)
	} else {
		result = conn.PgConn().ExecParams(ctx, insert.sql, c.params(), paramTypes(), allBinary, allBinary)
	}
	born := make(map[string]birth, c.arrays[0].n)
	readable := true
	for result.NextRow() {
		row := result.Values()
		b, ok := readBirth(row)
		readable = readable && ok
		if ok {
			born[string(row[0])] = b
		}
	}
	if _, err := result.Close(); err != nil {
		return nil, forgetStale(conn, err)
	}
	if !readable {
		return nil, unreadable("of an insert")
	}
	return born, nil
}

func readBirth(row [][]byte) (b birth, ok bool) {
	if len(row) != 4 || len(row[1]) != 8 || len(row[2]) != 8 {
		return b, false
	}
	b.at = run.Instant(binary.BigEndian.Uint64(row[1]))
	b.until = run.Instant(binary.BigEndian.Uint64(row[2]))
	b.status = run.Status(row[3])
	return b, true
}

// forgetStale gives a connection up whose kept statement a migration has made void,
// so that it is prepared anew on another.
func forgetStale(conn *pgx.Conn, err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "0A000" {
		_ = conn.Close(context.Background()) // of a statement that has failed, nothing is lost
	}
	return err
}
