package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/e0ff5a15/mollifier/client"
)

// Many runs at once; a second call with the same key makes no others.
func ExampleClient_TriggerBatch() {
	c, err := client.New(client.Config{URL: "http://127.0.0.1:8030", Key: "tr_dev_..."})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	batch := client.Batch{IdempotencyKey: "invoices-2026-11"}
	for order := range 100 {
		batch.Items = append(batch.Items, client.Trigger{Task: "send-invoice", Payload: fmt.Appendf(nil, `{"order":%d}`, order)})
	}
	handle, err := c.TriggerBatch(ctx, batch)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Field != "" {
		log.Fatal("an item is wrong: ", refused.Field) // as items[3].options.ttl
	}
	if err != nil {
		log.Fatal(err)
	}
	b, err := c.Batch(ctx, handle.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Status, len(b.Runs))
}

// A run is triggered and waited for.
func Example() {
	c, err := client.New(client.Config{URL: "http://127.0.0.1:8030", Key: "tr_dev_..."})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	handle, err := c.Trigger(ctx, client.Trigger{
		Task: "send-invoice", Payload: json.RawMessage(`{"order":42}`),
		Options: client.Options{IdempotencyKey: "order-42", Tags: []string{"user_7"}},
	})
	if errors.Is(err, client.Invalid) {
		log.Fatal("not sent: ", err) // the error names the field
	}
	if err != nil {
		log.Fatal(err)
	}
	r, err := c.Wait(ctx, handle.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Status, string(r.Output))
}
