//go:build unix

package mollifiertest_test

import (
	"context"
	"testing"
	"time"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/mollifiertest"
	"github.com/e0ff5a15/mollifier/mollifiertest/link"
	"github.com/e0ff5a15/mollifier/run"
)

// A webhook that comes twice, on two nodes, is one run.
func ExampleRequireOneRun() {
	var t *testing.T // the test's

	stores := mollifiertest.NewStores(t)
	a, b := stores.Start(t), stores.Start(t)
	hook := run.Trigger{Organisation: "acme", Environment: "prod", Task: "invoice", IdempotencyKey: "evt_42"}
	first, err := a.Trigger(t.Context(), hook)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Trigger(t.Context(), hook)
	if err != nil {
		t.Fatal(err)
	}
	mollifiertest.RequireOneRun(t, a, "prod", first, again)
}

// What is acknowledged in a storm is there when a node has crashed.
func ExampleNode_Crash() {
	var t *testing.T // the test's

	stores := mollifiertest.NewStores(t)
	doomed := stores.Start(t, func(c *mollifier.Config) { c.NoDrain = true })
	doomed.Mollify(t, "prod")
	acked, err := doomed.Trigger(t.Context(), run.Trigger{Organisation: "acme", Environment: "prod", Task: "invoice"})
	if err != nil {
		t.Fatal(err)
	}
	mollifiertest.RequireBuffered(t, acked)
	doomed.Crash()
	survivor := stores.Start(t)
	stores.RequireDrained(t)
	if _, err := survivor.Run(t.Context(), "prod", acked.ID()); err != nil {
		t.Fatal(err)
	}
}

// A Postgres that answers late, and then not at all.
func ExampleStart() {
	var t *testing.T // the test's

	node := mollifiertest.Start(t, func(c *mollifier.Config) {
		c.OnMaterialised = func(context.Context, mollifier.Tx, []run.Landed) error { return nil } // yours
	})
	node.Postgres.SetWeather(link.Weather{Latency: 200 * time.Millisecond})
	// ... what your program does, and then:
	node.Postgres.SetWeather(link.Weather{Refuse: true})
}
