package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// row is what Postgres holds of one id.
type row struct {
	kind    int    // 0 a run, 1 another name of aliasOf
	aliasOf string // empty unless kind is 1
	key     string // the idempotency key, empty for none
}

const kindRun, kindAlias = 0, 1

// connect never names the address in its error.
func connect(ctx context.Context, postgres string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(postgres)
	if err != nil {
		return nil, errors.New("the Postgres URL can not be read")
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, errors.New("can not reach Postgres to check the promise")
	}
	return conn, nil
}

const (
	// drainTime is how long what was acknowledged may take to reach Postgres.
	drainTime = time.Minute
	lookEvery = 100 * time.Millisecond
)

// drainedRows reads all ids of a storm's task, once as many are there as were
// acknowledged, or drainTime has passed.
func drainedRows(ctx context.Context, postgres string, s *storm) (map[string]row, error) {
	conn, err := connect(ctx, postgres)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := awaitRows(ctx, conn, s); err != nil {
		return nil, err
	}
	return readRows(ctx, conn, s.task)
}

func awaitRows(ctx context.Context, conn *pgx.Conn, s *storm) error {
	want := map[string]bool{}
	for _, a := range s.acks {
		if a.err == nil {
			want[a.id] = true
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for giveUp := time.Now().Add(drainTime); time.Now().Before(giveUp); {
		n, err := countRows(ctx, conn, s.task)
		if err != nil || n >= len(want) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil // the comparison says what is missing
}

func countRows(ctx context.Context, conn *pgx.Conn, tasks ...string) (n int, err error) {
	if err = conn.QueryRow(ctx, `select count(*) from runs where task = any($1) and kind in (0, 1)`, tasks).Scan(&n); err != nil {
		err = fmt.Errorf("count the runs: %w", err)
	}
	return n, err
}

// readRows reads all ids of a task.
func readRows(ctx context.Context, conn *pgx.Conn, task string) (map[string]row, error) {
	found, err := conn.Query(ctx, `
		select id, kind, coalesce(alias_of, ''), coalesce(idempotency_key, '')
		from runs where task = $1 and kind in (0, 1)`, task)
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	rows := map[string]row{}
	var (
		id string
		r  row
	)
	if _, err := pgx.ForEachRow(found, []any{&id, &r.kind, &r.aliasOf, &r.key}, func() error {
		rows[id] = r
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	return rows, nil
}

// compare finds every way in which the acknowledgements of a storm and the rows
// of its task break the promise: one run for each key and for each trigger
// without one, every acknowledged id resolves, every caller of a key has the same
// run, and exactly one of them made it.
func compare(keys []string, acks []ack, rows map[string]row) (runs, duplicates int, broken []string) {
	report := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }

	runsOf := map[string]int{} // by key
	for _, r := range rows {
		if r.kind == kindRun {
			runs++
			runsOf[r.key]++
		}
	}
	type caller struct{ id, canonical string }
	var (
		first    = map[string]caller{} // by key
		makers   = map[string]int{}    // by key
		seen     = map[string]bool{}   // ids of triggers without a key
		expected int
	)
	for i, a := range acks {
		key := keys[i]
		if a.err != nil {
			report("trigger %d was never acknowledged: %v", i, a.err)
			continue
		}
		if a.cached {
			duplicates++
		}
		canonical := a.id
		r, ok := rows[a.id]
		if ok && r.kind == kindAlias {
			canonical = r.aliasOf
			r, ok = rows[canonical]
		}
		switch {
		case !ok || r.kind != kindRun:
			report("acknowledged run %s is not in Postgres", a.id)
			continue
		case r.key != key:
			report("run %s has the key %q and was answered to %q", a.id, r.key, key)
			continue
		}
		if key == "" {
			expected++
			if seen[a.id] {
				report("run %s was answered to two triggers without a key", a.id)
			}
			seen[a.id] = true
			if a.cached {
				report("run %s was answered as a duplicate to a trigger without a key", a.id)
			}
			continue
		}
		if !a.cached {
			makers[key]++
		}
		switch f, met := first[key]; {
		case !met:
			first[key] = caller{a.id, canonical}
			expected++
		case f.id != a.id:
			report("key %s was answered with run %s and with run %s", key, f.id, a.id)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(first)) {
		if n := runsOf[key]; n != 1 {
			report("key %s has %d runs in Postgres", key, n)
		}
		if n := makers[key]; n != 1 {
			report("key %s has %d callers who were told that they made the run", key, n)
		}
	}
	if runs != expected {
		report("%d runs in Postgres where %d were acknowledged", runs, expected)
	}
	return runs, duplicates, broken
}
