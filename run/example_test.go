package run_test

import (
	"errors"
	"fmt"

	"github.com/e0ff5a15/mollifier/run"
)

// Whatever text a customer chooses, two different tuples are two keys.
func ExampleKey() {
	a := run.Key{Kind: run.KindIdempotency, Environment: "prod", Task: "mail:send", Text: "42"}
	b := run.Key{Kind: run.KindIdempotency, Environment: "prod", Task: "mail", Text: "send:42"}
	fmt.Println(a.Hash() == b.Hash(), len(a.Hash().String()))
	// Output: false 43
}

func ExampleTrigger_Validate() {
	t := run.Trigger{
		Organisation: "acme", Environment: "prod", Task: "send-mail",
		IdempotencyKey: "order-42\x00",
	}
	err := t.Validate()
	fmt.Println(errors.Is(err, run.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// options.idempotencyKey: must not contain a NUL character
}
