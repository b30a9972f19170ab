package main

import (
	"testing"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
)

func TestMain(m *testing.M) { mollifiertest.Main(m) }

// One key, one run, whichever node was asked, and whether it passed or was mollified.
func TestStorm(t *testing.T) {
	t.Parallel()
	stores := mollifiertest.NewStores(t)
	var nodes []*mollifier.Engine
	for range 3 {
		nodes = append(nodes, stores.Start(t).Engine)
	}
	const keys = 5
	answers, err := Storm(t.Context(), nodes, keys, 60)
	if err != nil {
		t.Fatal(err)
	}
	stores.RequireDrained(t)
	for key, results := range answers {
		if len(results) != 60 {
			t.Errorf("%s: %d answers", key, len(results))
		}
		mollifiertest.RequireOneRun(t, nodes[0], "prod", results...)
	}
	if n := stores.Count(t, "select count(*) from runs where kind = 0"); n != keys || len(answers) != keys {
		t.Errorf("%d runs of %d keys", n, len(answers))
	}
}
