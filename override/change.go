package override

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	_ "embed"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

var (
	//go:embed sql/put.sql
	putSQL string
	//go:embed sql/note.sql
	noteSQL string
	//go:embed sql/audit.sql
	auditSQL string
)

// Put puts an override in force on all nodes, in the place of the environment's last
// one of that kind. It returns once this node goes by it; if Postgres goes away in
// between, the change is made all the same. Errors: a [*run.InvalidError] that names
// the field; run.ErrUnavailable, after which the change may have been made.
func (s *Store) Put(ctx context.Context, o Override) (version int64, err error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	return s.change(ctx, o.Environment, o.Kind, o.By, func(ctx context.Context, tx pgx.Tx, was *Override) (*Override, error) {
		if was == nil {
			var n int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM overrides`).Scan(&n); err != nil {
				return nil, err
			}
			if n >= maxOverrides {
				return nil, &run.InvalidError{Field: "override", Rule: "a deployment takes at most 10000: clear one first"}
			}
		}
		_, err := tx.Exec(ctx, putSQL, o.Environment, o.Kind, o.Gate.Window.Microseconds(), o.Gate.Threshold,
			o.Gate.Hold.Microseconds(), o.Gate.Force, o.By.Name, o.By.Reason, o.For.Seconds())
		return &o, err
	})
}

// Clear ends an environment's override of a kind. Without one it is run.ErrNotFound,
// and nothing was changed. Else as [Store.Put].
func (s *Store) Clear(ctx context.Context, environment string, k Kind, by Author) (version int64, err error) {
	if err := by.check(); err != nil {
		return 0, err
	}
	return s.change(ctx, environment, k, by, func(ctx context.Context, tx pgx.Tx, was *Override) (*Override, error) {
		if was == nil {
			return nil, run.ErrNotFound
		}
		_, err := tx.Exec(ctx, `DELETE FROM overrides WHERE env_id = $1 AND kind = $2`, environment, k)
		return nil, err
	})
}

// change makes one change, under the lock on the version: whoever else changes
// something waits before it reads.
func (s *Store) change(ctx context.Context, environment string, k Kind, by Author,
	act func(ctx context.Context, tx pgx.Tx, was *Override) (is *Override, err error),
) (version int64, err error) {
	bounded, cancel := context.WithTimeout(ctx, loadTimeouts*s.cfg.Timeout)
	defer cancel()
	err = pgx.BeginFunc(bounded, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(bounded, selectVersion+` FOR UPDATE`); err != nil {
			return err
		}
		if _, err := tx.Exec(bounded, `DELETE FROM overrides WHERE ends_at <= now()`); err != nil {
			return err
		}
		all, err := inForce(bounded, tx)
		if err != nil {
			return err
		}
		state := State{Overrides: all}
		d := detail{}
		var before *Override
		if was, ok := state.Of(environment, k); ok {
			before = &was
			d.Was = document(before)
		}
		is, err := act(bounded, tx, before)
		if err != nil {
			return err
		}
		action := string(k) + ".set"
		if d.Is = document(is); is == nil {
			action = string(k) + ".clear"
		}
		if err := s.note(bounded, tx, Entry{Action: action, Environment: environment, By: by}, d); err != nil {
			return err
		}
		return tx.QueryRow(bounded, selectVersion).Scan(&version)
	})
	if err != nil {
		return 0, answered(err)
	}
	s.look(bounded)
	return version, nil
}

// look returns when this node has looked at Postgres since, or can not.
func (s *Store) look(ctx context.Context) {
	q := make(question)
	select {
	case s.asked <- q:
	case <-ctx.Done():
		return
	case <-s.ctx.Done():
		return
	}
	select {
	case <-q:
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

// answered tells this package's own answers from failures of Postgres.
func answered(err error) error {
	var invalid *run.InvalidError
	if errors.As(err, &invalid) || errors.Is(err, run.ErrNotFound) {
		return err
	}
	return unavailable(err)
}

// Entry is a line of the audit.
type Entry struct {
	ID          int64
	At          time.Time // by Postgres's clock
	Node        string    // that was asked
	Action      string    // gate.set, gate.clear, drain.set (it is paused), drain.clear, buffer.purge
	Environment string    // "" is all
	By          Author
	Detail      json.RawMessage // what was changed: a JSON object
}

// detail is what a change has changed. Absent is nothing.
type detail struct {
	Was *stored `json:"was,omitempty"`
	Is  *stored `json:"is,omitempty"`
}

type stored struct {
	Window    string `json:"window,omitempty"`
	Threshold int    `json:"threshold,omitempty"`
	Hold      string `json:"hold,omitempty"`
	Force     string `json:"force,omitempty"`
	Paused    bool   `json:"paused,omitempty"`
	For       string `json:"for,omitempty"`
}

func document(o *Override) *stored {
	if o == nil {
		return nil
	}
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	return &stored{
		text(o.Gate.Window), o.Gate.Threshold, text(o.Gate.Hold), o.Gate.Force, o.Kind == KindDrain, text(o.For.Round(time.Second)),
	}
}

func (s *Store) note(ctx context.Context, tx pgx.Tx, e Entry, detail any) error {
	document, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, noteSQL, e.By.Name, s.cfg.Node, e.Action, e.Environment, e.By.Reason, string(document))
	return err
}

// Note adds a line to the audit about something that is no override. Errors as
// [Store.Put].
func (s *Store) Note(ctx context.Context, action, environment string, by Author, detail any) error {
	if err := by.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeouts*s.cfg.Timeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		return s.note(ctx, tx, Entry{Action: action, Environment: environment, By: by}, detail)
	})
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// MaxAudit is the most lines that [Store.Audit] returns at once.
const MaxAudit = 1000

// Audit reads the newest lines of the audit: at most limit (1 to [MaxAudit]) before an
// id (0: from the newest on), of an environment ("": of all).
func (s *Store) Audit(ctx context.Context, environment string, before int64, limit int) ([]Entry, error) {
	if limit < 1 || limit > MaxAudit || before < 0 {
		return nil, &run.InvalidError{Field: "limit", Rule: "from 1 to 1000"}
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeouts*s.cfg.Timeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, auditSQL, before, environment, limit)
	if err != nil {
		return nil, unavailable(err)
	}
	var (
		all    []Entry
		e      Entry
		detail string
	)
	fields := []any{&e.ID, &e.At, &e.By.Name, &e.Node, &e.Action, &e.Environment, &e.By.Reason, &detail}
	if _, err = pgx.ForEachRow(rows, fields, func() error {
		next := e
		next.Detail = json.RawMessage(detail)
		all = append(all, next)
		return nil
	}); err != nil {
		return nil, unavailable(err)
	}
	return all, nil
}

// TrimAudit deletes lines of the audit that are older than age by Postgres's clock, the
// oldest first and at most limit, and says how many. The error is run.ErrUnavailable.
func (s *Store) TrimAudit(ctx context.Context, age time.Duration, limit int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeouts*s.cfg.Timeout)
	defer cancel()
	done, err := s.pool.Exec(ctx, `DELETE FROM admin_audit WHERE id IN (
		SELECT id FROM admin_audit WHERE at < now() - make_interval(secs => $1) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)`, age.Seconds(), limit)
	if err != nil {
		return 0, unavailable(err)
	}
	return int(done.RowsAffected()), nil
}
