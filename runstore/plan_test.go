package runstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/e0ff5a15/mollifier/run"
)

// No connection keeps a plan that was made while the tables were empty, but that
// of the insert.
func TestPlansAreMadeAnew(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var cold string
	if err := s.cold.QueryRow(t.Context(), "show plan_cache_mode").Scan(&cold); err != nil {
		t.Fatal(err)
	}
	if cold != planAnew {
		t.Errorf("the cold pool's plan_cache_mode is %s", cold)
	}
	keyed := snapshot(run.Trigger{IdempotencyKey: "k"})
	s.want(Created, keyed)
	s.want(Held, snapshot(run.Trigger{IdempotencyKey: "k"}))
	if c := s.Check(t.Context(), []Check{{keyed.Trigger.Environment, keyed.Hash, keyed.ID}}); !c[0].Holds {
		t.Fatalf("%+v", c)
	}
	for _, conn := range s.hot.AcquireAllIdle(t.Context()) {
		rows, err := conn.Query(t.Context(), "select statement from pg_prepared_statements where name <> ''")
		if err != nil {
			t.Fatal(err)
		}
		kept, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		kept = slices.DeleteFunc(kept, func(sql string) bool { return slices.Contains(statementsKept(), sql) })
		if len(kept) > 0 {
			t.Errorf("the hot pool keeps %q", kept)
		}
		conn.Release()
	}
}

func statementsKept() (texts []string) {
	for _, insert := range slices.Concat(inserting.all(), insertingNew.all()) {
		texts = append(texts, insert.sql)
	}
	return texts
}

// The plan of the insert that is made while all tables are empty, or so small that
// nothing is cheaper than to read all of them, probes one index entry for each row.
func TestTheKeptPlanIsTheRightOne(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	theInsertProbes(t, s)
	if _, err := s.CreateBatch(t.Context(), NewBatch{Environment: "env_1", ID: "batch_1", Items: 1}); err != nil {
		t.Fatal(err)
	}
	s.want(Created, snapshot(run.Trigger{}))
	if _, err := s.sql.Exec(t.Context(), "analyze runs, batches"); err != nil {
		t.Fatal(err)
	}
	theInsertProbes(t, s)
}

func theInsertProbes(t *testing.T, s *testStore) {
	t.Helper()
	for _, insert := range slices.Concat(inserting.all(), insertingNew.all()) {
		plan := planOf(t, s, insert)
		for _, wrong := range []string{"Seq Scan", "Hash Join", "Merge Join", "Bitmap", "Sort Key: u."} {
			if strings.Contains(plan, wrong) {
				t.Errorf("%s: %s in\n%s", insert.name, wrong, plan)
			}
		}
		for line := range strings.Lines(plan) {
			if strings.Contains(line, "Index Cond: ") && !strings.Contains(line, "(id = ") {
				t.Errorf("%s: an index is read for a whole environment:\n%s", insert.name, plan)
			}
		}
		probes := []string{"id = b.batch_id", "id = COALESCE(u.ancestor_id", "id = (COALESCE("}
		switch insert {
		case &inserting.linkedOne, &insertingNew.linkedOne:
			probes[1] = "id = $37"
		case &inserting.plain, &inserting.plainOne, &insertingNew.plain, &insertingNew.plainOne:
			probes = nil
		}
		for _, probe := range probes {
			if !strings.Contains(plan, probe) {
				t.Errorf("%s: no index is probed by %s in\n%s", insert.name, probe, plan)
			}
		}
	}
}

func planOf(t *testing.T, s *testStore, insert *prepared) string {
	t.Helper()
	conn, err := s.hot.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	// As the driver does it, a named statement; the values do not matter to a kept plan.
	if _, err := conn.Exec(t.Context(), "prepare kept as "+insert.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = conn.Exec(t.Context(), "deallocate kept") }()
	values := strings.Repeat("null, ", len(insertColumns)) + "null"
	rows, err := conn.Query(t.Context(), "explain execute kept("+values+")", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "Seq Scan on retention") }) // one row
	return strings.Join(lines, "\n")
}

// Behind a pooler that has no named statements, there are none.
func TestNamedStatementsCanBeForbidden(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	config := s.hot.Config().ConnString()
	joint := "?"
	if strings.Contains(config, "?") {
		joint = "&"
	}
	other := openStore(t, config+joint+"default_query_exec_mode=cache_describe")
	other.want(Created, snapshot(run.Trigger{}))
	for _, conn := range other.hot.AcquireAllIdle(t.Context()) {
		var n int
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_prepared_statements where name <> ''").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			t.Errorf("%d named statements", n)
		}
		conn.Release()
	}
}
