package runstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

func ids(runs []run.Run) []string {
	list := make([]string, len(runs))
	for i := range runs {
		list[i] = runs[i].ID.String()
	}
	return list
}

func TestListPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	var want []string
	for i := range 7 {
		want = append(want, s.want(Created, keyed(fmt.Sprint("k", i), 1000)).ID.String())
	}
	// Imported ids sort by their bytes, whatever the database's language does.
	for _, text := range []string{"RUN_z", "run-1", "_a", "Zebra", "apple", "run_", "x"} {
		id, err := run.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		snap := snapshot(run.Trigger{})
		snap.ID = id
		want = append(want, s.want(Created, snap).ID.String())
	}
	slices.Sort(want)
	slices.Reverse(want)
	// What is no run of this environment is not in its list.
	s.drain(Aliased, fromBuffer("k1", 1001, 5000))
	s.reset("k2", 5000)
	s.want(Created, snapshot(run.Trigger{Environment: "env_2"}))

	for _, limit := range []int{1, 3, 14, 100} {
		var down, up []string
		for p := (Page{Limit: limit}); ; {
			page, err := s.List(ctx, env, Filter{}, p)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > limit {
				t.Fatalf("%d runs, limit %d", len(page), limit)
			}
			down = append(down, ids(page)...)
			if len(page) < limit {
				break
			}
			p.After = page[len(page)-1].ID
		}
		last, _ := run.ParseID(want[len(want)-1])
		for p := (Page{Limit: limit, Before: last}); ; {
			page, err := s.List(ctx, env, Filter{}, p)
			if err != nil {
				t.Fatal(err)
			}
			up = slices.Concat(ids(page), up)
			if len(page) < limit {
				break
			}
			p.Before = page[0].ID
		}
		if !slices.Equal(down, want) || !slices.Equal(up, want[:len(want)-1]) {
			t.Errorf("by %d:\ndown %q\nup   %q\nwant %q", limit, down, up, want)
		}
	}
	oldest, _ := run.ParseID("apple")
	if page, err := s.List(ctx, env, Filter{}, Page{Limit: 100, Oldest: oldest}); err != nil || !slices.Equal(ids(page), want[:slices.Index(want, "apple")+1]) {
		t.Errorf("none older than apple: %q, %v", ids(page), err)
	}
	for _, p := range []Page{{}, {Limit: MaxPage + 1}} {
		if _, err := s.List(ctx, env, Filter{}, p); !errors.Is(err, run.ErrInvalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, err := s.List(ctx, "", Filter{}, Page{Limit: 1}); !errors.Is(err, run.ErrInvalid) {
		t.Error(err)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	plain := snapshot(run.Trigger{})
	plain.AcceptedAt = 5_000_000
	other := snapshot(run.Trigger{
		Task: "other", LockToVersion: "v2", Tags: []string{"red", "green"}, Region: "eu", Queue: "fast", Machine: "micro", Test: true,
		BatchItem: run.BatchItem{Batch: "batch_1", Index: 3}, BulkAction: "bulk_1",
	})
	other.AcceptedAt = 9_000_000
	s.want(Created, plain)
	s.want(Created, other)
	s.finish(other.ID, run.Completed)
	yes, no := true, false
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"all":          {Filter{}, "op"},
		"status":       {Filter{Statuses: []run.Status{run.Completed, run.Crashed}}, "o"},
		"statuses":     {Filter{Statuses: []run.Status{run.Completed, run.Queued}}, "op"},
		"task":         {Filter{Tasks: []string{"other", "none"}}, "o"},
		"version":      {Filter{Versions: []string{"v2"}}, "o"},
		"any tag":      {Filter{Tags: []string{"blue", "green"}}, "o"},
		"no such tag":  {Filter{Tags: []string{"blue"}}, ""},
		"region":       {Filter{Regions: []string{"eu"}}, "o"},
		"queue":        {Filter{Queues: []string{"task/task"}}, "p"},
		"machine":      {Filter{Machines: []string{"micro"}}, "o"},
		"test":         {Filter{Test: &yes}, "o"},
		"no test":      {Filter{Test: &no}, "p"},
		"from":         {Filter{From: time.UnixMicro(9_000_000)}, "o"},
		"from later":   {Filter{From: time.UnixMicro(9_000_001)}, ""},
		"to":           {Filter{To: time.UnixMicro(5_000_000)}, "p"},
		"batch":        {Filter{Batch: "batch_1"}, "o"},
		"other batch":  {Filter{Batch: "batch_2"}, ""},
		"bulk action":  {Filter{BulkAction: "bulk_1"}, "o"},
		"all together": {Filter{Tasks: []string{"other"}, Test: &no}, ""},
	} {
		runs, err := s.List(ctx, env, c.f, Page{Limit: 10})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got strings.Builder
		for _, r := range runs {
			got.WriteString(map[run.ID]string{plain.ID: "p", other.ID: "o"}[r.ID])
		}
		if got.String() != c.want {
			t.Errorf("%s: %q, want %q", name, got.String(), c.want)
		}
	}
}

func TestListUsesAnIndex(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	conn, err := s.sql.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "set enable_seqscan = off; set enable_sort = off"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), "explain "+listSQL[1][0], env, "run_x", 10, []string{}, []string{}, []string{}, []string{}, []string{}, []string{}, []string{}, nil, 0, 0, "", "", "run_a")
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	var line string
	for rows.Next() {
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if rows.Err() != nil || !strings.Contains(plan.String(), "Index Scan Backward") || strings.Contains(plan.String(), "Sort") {
		t.Errorf("%v\n%s", rows.Err(), plan.String())
	}
}
