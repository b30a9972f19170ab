package mollifier_test

import (
	"context"
	"fmt"
	"log"

	mollifier "github.com/e0ff5a15/mollifier"
	"github.com/e0ff5a15/mollifier/run"
)

// Embed the engine: open it on your Redis and Postgres, trigger, close.
func Example() {
	ctx := context.Background()
	engine, err := mollifier.New(ctx, mollifier.Config{
		Redis: "redis://localhost:6379", Postgres: "postgres://localhost/app", Migrate: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(ctx)
	result, err := engine.Trigger(ctx, run.Trigger{
		Organisation: "acme", Environment: "prod", Task: "send-invoice",
		Payload: []byte(`{"order":42}`), IdempotencyKey: "order-42",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.ID(), result.Cached()) // a thousand of these: one id, one false
}

// A worker in a few lines: take what is queued, do it, say what became of it.
func ExampleEngine_Take() {
	var engine *mollifier.Engine // from mollifier.New
	work := func(payload []byte) ([]byte, error) { return payload, nil }

	ctx := context.Background()
	runs, err := engine.Take(ctx, run.TakeRequest{Most: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range runs {
		finish := run.Finish{Status: run.Completed}
		if finish.Output, err = work(r.Trigger.Payload); err != nil {
			// FAILED clears the key: the next trigger of it makes a new run.
			finish = run.Finish{Status: run.Failed, Failure: &run.Failure{Message: err.Error()}}
		}
		if _, err := engine.Finish(ctx, r.Trigger.Environment, r.ID, finish); err != nil {
			log.Print(err)
		}
	}
}
