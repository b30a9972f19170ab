package runstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/e0ff5a15/mollifier/run"
)

// insertion is the insert in its texts: for rows with ancestors or places in batches and
// for rows without, and each of them for many rows and for one, to set up whose arrays
// would cost more than to insert it.
type insertion struct{ linked, plain, linkedOne, plainOne prepared }

// prepared is a statement by the name that it is prepared under on connections that may
// keep its plan.
type prepared struct{ name, sql string }

var (
	// inserting leaves out rows whose id or slot is taken.
	inserting = newInsertion("mollifier_insert", "")
	// insertingNew leaves out rows whose slot is taken, and fails if a row's id is taken but
	// its slot is not. It looks into one unique index before it inserts, and the other
	// one into all of them.
	insertingNew = newInsertion("mollifier_insert_new", "(env_id, key_slot) where key_slot is not null")
)

func newInsertion(name, arbiter string) insertion {
	text := func(rows, ancestors string) string {
		return strings.NewReplacer(":rows\n", rows, ":ancestors\n", sqlFile(ancestors), ":arbiter", arbiter).
			Replace(sqlFile("insert"))
	}
	linked := func(rows string) string {
		return strings.ReplaceAll(sqlFile("insert_places"), ":insert\n", text(rows, "insert_ancestors"))
	}
	plain := func(rows string) string { return text(rows, "insert_roots") + sqlFile("insert_replies") }
	return insertion{
		linked: prepared{name, linked(unnested())}, linkedOne: prepared{name + "_one", linked(alone())},
		plain: prepared{name + "_plain", plain(unnested())}, plainOne: prepared{name + "_plain_one", plain(alone())},
	}
}

func (i *insertion) all() []*prepared {
	return []*prepared{&i.linked, &i.plain, &i.linkedOne, &i.plainOne}
}

// statement is the one for rows that are linked or not, for many or for one.
func (i *insertion) statement(linked, one bool) *prepared {
	switch {
	case linked && one:
		return &i.linkedOne
	case linked:
		return &i.linked
	case one:
		return &i.plainOne
	}
	return &i.plain
}

// unnested is the parameters as rows: where an array has one element for all of them,
// unnest gives null from the second on.
func unnested() string {
	var columns, arrays, names []string
	for i, c := range insertColumns {
		parameter := parameter(i) + "[]"
		names, arrays = append(names, c.name), append(arrays, parameter)
		if c.element == bytesOID {
			columns = append(columns, "u."+c.name)
			continue
		}
		columns = append(columns, fmt.Sprintf("coalesce(u.%s, (%s)[1]) as %[1]s", c.name, parameter))
	}
	return "select u.n, " + list(columns) + "\nfrom unnest(" + list(arrays) + ")\n" +
		"with ordinality as u (" + list(names) + ", n)\n"
}

// alone is the parameters as the only row.
func alone() string {
	columns := []string{"1 as n"}
	for i, c := range insertColumns {
		columns = append(columns, parameter(i)+" as "+c.name)
	}
	return "select " + list(columns) + "\n"
}

func parameter(i int) string {
	types := map[uint32]string{textOID: "text", bytesOID: "bytea", integerOID: "bigint", booleanOID: "boolean"}
	return "$" + strconv.Itoa(i+1) + "::" + types[insertColumns[i].element]
}

func list(l []string) string { return strings.Join(l, ", ") }

// columns are the parameters of sql/insert.sql: an array a column, and a boolean. They go
// to the driver as they are (see [array]); their memory is used again. Get them by
// newColumns and release them.
type columns struct {
	arrays   [len(insertColumns)]array
	at       int
	rows     int
	linked   bool // a row has an ancestor or a place in a batch
	buffered bool // expired rows are born expired
	order    []int
}

// The columns that are written over.
const (
	colSlot = 5
	colSpan = 7
	colPast = 31
)

// insertColumns are the arrays, in the order in which add fills them.
var insertColumns = [...]struct {
	name    string
	element uint32 // type
}{
	{"id", textOID},
	{"env_id", textOID},
	{"org_id", textOID},
	{"task", textOID},
	{"key_kind", textOID},
	{"key_slot", bytesOID},
	{"accepted_at", integerOID},
	{"span", integerOID},
	{"payload", bytesOID},
	{"payload_type", textOID},
	{"payload_size", integerOID},
	{"payload_hash", bytesOID},
	{"request_hash", bytesOID},
	{"metadata", bytesOID},
	{"metadata_type", textOID},
	{"context", bytesOID},
	{"idempotency_key", textOID},
	{"tags", textOID},
	{"queue", textOID},
	{"concurrency_key", textOID},
	{"machine", textOID},
	{"region", textOID},
	{"version", textOID},
	{"test", booleanOID},
	{"batch_id", textOID},
	{"batch_index", integerOID},
	{"delay_until", integerOID},
	{"ttl", integerOID},
	{"priority", integerOID},
	{"parent_id", textOID},
	{"options", textOID},
	{"key_past", bytesOID},
	{"buffer_ver", integerOID},
	{"ended", textOID},
	{"ended_at", integerOID},
	{"failure", textOID},
	{"ancestor_id", textOID},
	{"distance", integerOID},
}

var columnsPool = sync.Pool{New: func() any { return new(columns) }}

func newColumns(buffered bool) *columns {
	c := columnsPool.Get().(*columns)
	c.linked, c.buffered, c.rows = false, buffered, 0
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

// addAll appends the items, accepted at what at says of each, in the one order in which
// everybody takes slots. Rows for slots that are not locked are added by it alone.
func (c *columns) addAll(items []item, at func(i int) run.Instant) {
	c.order = c.order[:0]
	for i := range items {
		c.order = append(c.order, i)
	}
	slices.SortFunc(c.order, func(x, y int) int { return items[x].bySlot(&items[y]) })
	for _, i := range c.order {
		accepted := at(i)
		c.add(&items[i], accepted)
		if items[i].late {
			c.outside(nil, accepted, accepted)
		}
	}
}

// bySlot orders items by environment, slot and id; those without a slot come last.
func (it *item) bySlot(other *item) int {
	s, o := it.snapshot, other.snapshot
	if c := strings.Compare(s.Trigger.Environment, o.Trigger.Environment); c != 0 {
		return c
	}
	switch free := s.Key.IsZero(); {
	case free != o.Key.IsZero():
		if free {
			return 1
		}
		return -1
	case !free:
		if c := bytes.Compare(s.Hash[:], o.Hash[:]); c != 0 {
			return c
		}
	}
	return strings.Compare(s.ID.String(), o.ID.String())
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
	c.at, c.rows = 0, c.rows+1
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

// one reports whether there is one row: its parameters are no arrays.
func (c *columns) one() bool { return c.rows == 1 }

// params are the parameters of the statement, all in binary.
func (c *columns) params() [][]byte {
	params := make([][]byte, len(c.arrays)+1)
	for i := range c.arrays {
		if c.one() {
			params[i] = c.arrays[i].only()
		} else {
			params[i] = c.arrays[i].param(insertColumns[i].element)
		}
	}
	params[len(c.arrays)] = []byte{boolean(c.buffered)}
	return params
}

// paramTypes are the types of params.
func paramTypes(one bool) []uint32 {
	arrayOf := map[uint32]uint32{
		textOID: pgtype.TextArrayOID, bytesOID: pgtype.ByteaArrayOID,
		integerOID: pgtype.Int8ArrayOID, booleanOID: pgtype.BoolArrayOID,
	}
	var types []uint32
	for _, c := range insertColumns {
		if one {
			types = append(types, c.element)
		} else {
			types = append(types, arrayOf[c.element])
		}
	}
	return append(types, booleanOID)
}

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
func insertRows(ctx context.Context, q querier, c *columns, by *insertion) (map[string]birth, error) {
	conn, insert := q.Conn(), by.statement(c.linked, c.one())
	var result *pgconn.ResultReader
	if mayKeepPlan(conn) {
		kept, err := conn.Prepare(ctx, insert.name, insert.sql) // from memory but for the first time
		if err != nil {
			return nil, err
		}
		result = conn.PgConn().ExecStatement(ctx, kept, c.params(), allBinary, allBinary)
	} else {
		result = conn.PgConn().ExecParams(ctx, insert.sql, c.params(), paramTypes(c.one()), allBinary, allBinary)
	}
	born := make(map[string]birth, c.rows)
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

// idTaken reports whether a row was not inserted because of its id.
func idTaken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" && e.TableName == "runs"
}
