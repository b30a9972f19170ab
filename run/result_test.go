package run

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Case 1: an empty run id must not get anywhere.
func TestZeroResultCannotBeRead(t *testing.T) {
	t.Parallel()
	zero := reflect.ValueOf(Result{})
	for i := range zero.NumMethod() {
		mustPanic(t, "Result{}."+zero.Type().Method(i).Name, func() { zero.Method(i).Call(nil) })
	}
	mustPanic(t, "a result without an id", func() { NewResult(Answer{Cached: true}) })
}

// Case 2: who lost a race carries the winner's id in every field.
func TestResult(t *testing.T) {
	t.Parallel()
	id, winner := MintID(time.Unix(1, 0), 1), MintID(time.Unix(2, 0), 1)
	r := NewResult(Answer{ID: id})
	if r.ID() != id || r.Canonical() != id || r.Cached() || !r.PayloadMatch() ||
		r.Identity() != Confirmed || r.Durability() != DurablePostgres || r.State() != Materialised {
		t.Errorf("defaults: %+v", r)
	}
	r = NewResult(Answer{
		ID: id, Canonical: winner, Cached: true, Identity: Provisional,
		Durability: DurableRedis, State: Buffered, AcceptedAt: 7,
	})
	if r.ID() != id || r.Canonical() != winner || !r.Cached() || r.PayloadMatch() || r.Identity() != Provisional ||
		r.Durability() != DurableRedis || r.State() != Buffered || !r.AcceptedAt().Equal(time.UnixMicro(7)) {
		t.Errorf("all set: %+v", r)
	}
	if !NewResult(Answer{ID: id, Cached: true, PayloadMatch: true}).PayloadMatch() {
		t.Error("an equal payload does not match")
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause")
	refused := fmt.Errorf("trigger: %w", &RefusedError{Reason: ErrUnavailable, Part: "postgres", RetryAfter: time.Second, Err: cause})
	if !errors.Is(refused, ErrUnavailable) || !errors.Is(refused, cause) || errors.Is(refused, ErrOverloaded) || errors.Is(refused, ErrInvalid) {
		t.Errorf("%v is not what it should be", refused)
	}
	if got, ok := errors.AsType[*RefusedError](refused); !ok || got.Part != "postgres" {
		t.Errorf("%v is no RefusedError", refused)
	}
	bare := &RefusedError{Reason: ErrClosed, Part: "engine"}
	if !errors.Is(bare, ErrClosed) || bare.Error() != "engine: engine closed" {
		t.Errorf("%v", bare)
	}
	invalid := fmt.Errorf("trigger: %w", &InvalidError{Field: "options.tags", Rule: "at most 10", Fault: Unprocessable})
	if !errors.Is(invalid, ErrInvalid) || errors.Is(invalid, ErrNotFound) || !strings.Contains(invalid.Error(), "options.tags: at most 10") {
		t.Errorf("%v", invalid)
	}
	if got, ok := errors.AsType[*InvalidError](invalid); !ok || got.Fault != Unprocessable {
		t.Errorf("%v is no InvalidError", invalid)
	}
}
