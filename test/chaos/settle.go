package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/test/chaos/cluster"
	"github.com/e0ff5a15/mollifier/test/chaos/history"
	"github.com/e0ff5a15/mollifier/test/chaos/load"
)

const (
	// drainWithin is how long the buffer may take to empty once all is well: the
	// leases of a dead drainer run out first.
	drainWithin = 2 * time.Minute
	// sample is how many of the ids that are in Postgres are read over HTTP as
	// well; ids of keys, and ids that are not there, all are.
	sample = 300
)

const rowsSQL = `
select id, env_id, kind, coalesce(alias_of, ''), status, tags,
       coalesce(case when payload is not null then convert_from(payload, 'UTF8')::json ->> 'token' end, ''),
       coalesce(case when metadata is not null then (convert_from(metadata, 'UTF8')::json ->> 'bumps')::int end, 0),
       kind = 0 and idempotency_key is not null and key_slot is null and key_past is null
  from runs where task = $1`

const overlapSQL = `
select count(*) from runs a join runs b on a.env_id = b.env_id and a.id < b.id
 where a.kind = 0 and b.kind = 0
   and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
   and a.accepted_at < b.key_until and b.accepted_at < a.key_until`

const aliasSQL = `select count(*) from runs a join runs b on b.id = a.alias_of where a.kind = 1 and b.kind <> 0`

// settle waits until nothing is in the buffer, and looks at what there is.
func (r *runner) settle(ctx context.Context, l *load.Load, seed uint64) (*history.End, error) {
	conn, err := r.cluster.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// What is put back comes into the buffer again: a ring that has nothing left to put
	// back, and then a buffer that is empty.
	if err := r.until(ctx, r.cluster.Kept, "the nodes keep"); err != nil {
		return nil, err
	}
	if err := r.until(ctx, r.cluster.Waiting, "the buffer holds"); err != nil {
		return nil, err
	}
	end := &history.End{Reads: map[string]history.Read{}}
	if end.Rows, err = rowsOf(ctx, conn, l.Task); err != nil {
		return nil, err
	}
	if err := errors.Join(
		conn.QueryRow(ctx, overlapSQL).Scan(&end.Overlaps),
		conn.QueryRow(ctx, aliasSQL).Scan(&end.BadAlias),
	); err != nil {
		return nil, err
	}
	return end, r.readAll(ctx, l, end, seed)
}

func rowsOf(ctx context.Context, conn *pgx.Conn, task string) (map[string]history.Row, error) {
	rows, err := conn.Query(ctx, rowsSQL, task)
	if err != nil {
		return nil, err
	}
	found := map[string]history.Row{}
	for rows.Next() {
		var (
			id, env string
			row     history.Row
		)
		if err := rows.Scan(&id, &env, &row.Kind, &row.AliasOf, &row.Status, &row.Tags, &row.Token, &row.Bumps, &row.Detached); err != nil {
			return nil, err
		}
		found[id] = row
	}
	return found, rows.Err()
}

// until waits until a count is 0.
func (r *runner) until(ctx context.Context, count func(context.Context) (int64, error), what string) error {
	waiting, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	for {
		left, err := count(waiting)
		if err == nil && left == 0 {
			return nil
		}
		if waitErr := cluster.Wait(waiting, 50*time.Millisecond); waitErr != nil {
			return fmt.Errorf("%s %d runs after %s (%w)", what, left, drainWithin, errors.Join(err, ctx.Err()))
		}
	}
}

// readAll asks the nodes for what was acknowledged.
func (r *runner) readAll(ctx context.Context, l *load.Load, end *history.End, seed uint64) error {
	type one struct {
		id  string
		env int
	}
	var (
		seen  = map[string]bool{}
		ask   []one
		rest  []one
		mu    sync.Mutex
		wait  sync.WaitGroup
		queue = make(chan one)
	)
	for _, op := range l.Record.Ops() {
		if op.Kind != history.Trigger || op.Outcome != history.OK || seen[op.Run] {
			continue
		}
		seen[op.Run] = true
		_, there := end.Rows[op.Run]
		if op.Key != "" || !there {
			ask = append(ask, one{op.Run, op.Env})
		} else {
			rest = append(rest, one{op.Run, op.Env})
		}
	}
	rnd := rand.New(rand.NewPCG(seed, 3))
	rnd.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	ask = append(ask, rest[:min(len(rest), sample)]...)
	for w := range 8 {
		own := rand.New(rand.NewPCG(seed, uint64(100+w)))
		wait.Go(func() {
			for o := range queue {
				read := l.Read(ctx, own, o.id, o.env)
				for try := 0; read.HTTP != 200 && read.HTTP != 404 && try < 5 && cluster.Wait(ctx, 200*time.Millisecond) == nil; try++ {
					read = l.Read(ctx, own, o.id, o.env)
				}
				mu.Lock()
				end.Reads[o.id] = read
				mu.Unlock()
			}
		})
	}
	for _, o := range ask {
		queue <- o
	}
	close(queue)
	wait.Wait()
	return ctx.Err()
}

// tidy takes this run's work off the next one's hands.
func (r *runner) tidy(ctx context.Context) error {
	conn, err := r.cluster.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `update runs set status = 'CANCELED' where kind = 0 and status in ('QUEUED', 'DELAYED', 'EXECUTING')`)
	return err
}
