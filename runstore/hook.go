package runstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/e0ff5a15/mollifier/run"
)

// Tx is what a [Hook] writes with: pgx.Tx.
type Tx = pgx.Tx

// Hook is told of runs in the transaction that inserts their rows, after all
// else that the transaction does: nil commits it. What it writes with tx stands
// exactly if the rows do. See "The hook" in the package's text for what its
// errors do. It is called by several goroutines at once, must return when ctx
// ends, and can neither commit nor roll back tx.
type Hook func(ctx context.Context, tx Tx, runs []run.Landed) error

// maxAlone is how many runs in a row the hook may refuse one by one before the
// hook is taken to be at fault, and not the runs.
const maxAlone = 8

// landing gathers what a transaction inserts, for the hook. Without a hook it
// gathers nothing.
type landing struct {
	hook Hook
	runs []run.Landed
}

func (l *landing) add(it *item, b birth) {
	if l.hook == nil || it.unfit {
		return
	}
	landed := run.Landed{
		ID: it.snapshot.ID, Trigger: it.snapshot.Trigger, Status: b.status,
		CreatedAt: b.at.Time(), Buffered: it.buffered,
	}
	if b.until != 0 {
		landed.KeyUntil = b.until.Time()
	}
	l.runs = append(l.runs, landed)
}

// tell calls the hook. It has the last word of a transaction.
func (l *landing) tell(ctx context.Context, tx pgx.Tx) error {
	if len(l.runs) == 0 {
		return nil
	}
	err := l.hook(ctx, lent{tx}, l.runs)
	server := tx.Conn().PgConn()
	switch {
	case server.IsClosed():
		return errors.Join(err, errors.New("the connection was lost in the hook"))
	case err != nil:
	case server.TxStatus() == 'T':
		return nil
	case server.TxStatus() == 'I':
		err = errors.New("it has ended the transaction")
	default:
		err = errors.New("it returned nil after a statement that failed")
	}
	return &hookError{err: err, ended: ctx.Err()}
}

// land inserts rows and tells the hook of those that are new, in one
// transaction; without a hook it is the statement alone. Rows are nearly always new: if
// an id is there already the statement has failed and changed nothing, and the one that
// expects it comes after it.
func (s *Store) land(ctx context.Context, conn *pgxpool.Conn, items []item, c *columns) (map[string]birth, error) {
	born, err := s.landBy(ctx, conn, items, c, &insertingNew)
	if idTaken(err) {
		return s.landBy(ctx, conn, items, c, &inserting)
	}
	return born, err
}

func (s *Store) landBy(
	ctx context.Context, conn *pgxpool.Conn, items []item, c *columns, by *insertion,
) (born map[string]birth, err error) {
	if s.hook == nil {
		return insertRows(ctx, conn, c, by)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if born, err = insertRows(ctx, tx, c, by); err != nil {
			return err
		}
		l, told := landing{hook: s.hook}, make(map[string]bool, len(born))
		for i := range items {
			id := items[i].snapshot.ID.String()
			if b, ok := born[id]; ok && !told[id] {
				told[id] = true
				l.add(&items[i], b)
			}
		}
		return l.tell(ctx, tx)
	})
	return born, err
}

// lent is a transaction that can be used, and not be ended.
type lent struct{ pgx.Tx }

var errLent = errors.New("the transaction ends when the hook has returned")

// Commit is refused.
func (lent) Commit(context.Context) error { return errLent }

// Rollback is refused: the hook returns an error instead.
func (lent) Rollback(context.Context) error { return errLent }

// hookError is what the hook answered.
type hookError struct {
	err   error
	ended error // of its context
}

func (e *hookError) Error() string { return "hook: " + e.err.Error() }

// cause says what a hook's error means. An error of Postgres that may pass is
// one of the store's own; run.ErrInvalid is about a run; of anything else nobody
// can tell, so it is nobody's last word.
func (e *hookError) cause() *cause {
	refused, ofPostgres := errors.AsType[*pgconn.PgError](e.err)
	if ofPostgres {
		if c := diagnoseState(refused.Code); c.verdict == transient {
			c.text = "hook: " + c.text
			return c
		}
	}
	c := &cause{verdict: hopeless, hook: true, answered: true, text: e.Error()}
	switch {
	case errors.Is(e.err, run.ErrInvalid):
		c.verdict, c.context = poison, e.err
	case e.ended != nil:
		c.verdict, c.hook, c.context = transient, false, e.ended
	case ofPostgres:
		c.text = "hook: SQLSTATE " + refused.Code // the rest may hold values
	}
	return c
}
