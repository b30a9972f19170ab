package run

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// full returns a valid trigger with every field set, so that a test which
// spoils one field spoils nothing else.
func full() Trigger {
	return Trigger{
		Organisation: "org", Environment: "env", Task: "task",
		Payload: []byte(`{"a":1}`), PayloadType: "application/super+json", PayloadSize: 7,
		Context: []byte("context"), Metadata: []byte(`{"m":1}`), MetadataType: "application/json",
		IdempotencyKey: "key", KeyTTL: time.Hour, KeyOptions: KeyOptions{Key: "k", Scope: "run"},
		RequestKey: "request", BatchItem: BatchItem{Batch: "batch_1", Index: 3}, Failed: &Failure{Message: "m", Name: "n", StackTrace: "s"},
		DelayUntil: time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC), TTL: time.Minute, TTLText: "60s",
		Tags: []string{"one", "two"}, Queue: "task/task", ConcurrencyKey: "tenant",
		Concurrency: []string{"c1", "c2"}, Gates: []Gate{{Queue: "g", ConcurrencyKey: "k"}},
		Machine: "micro", MaxAttempts: 3, MaxDuration: time.Hour, Priority: -time.Second,
		Debounce:      &Debounce{Key: "d", Delay: time.Second, Trailing: true, MaxDelay: time.Minute},
		LockToVersion: "20260101.1", DeploymentID: "deployment", Region: "eu", Test: true,
		ParentRun: ID{"run_parent"}, ResumeParent: true, ParentBatch: "batch_0", ParentAttempt: "attempt_1",
		DependentTry: "attempt_2", DependentBatch: "batch_2", BulkAction: "bulk_1", OneTimeToken: true,
		TraceParent: "00-1", TraceState: "a=b", TriggerFunction: FunctionBatchTrigger,
	}
}

// everyField fails the test if full has forgotten a field.
func everyField(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("full() leaves %s zero", path)
	}
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]() && v.Type() != reflect.TypeFor[ID]() {
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "InFlight" {
				continue // it is the request's, and no part of the run
			}
			everyField(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		everyField(t, path, v.Elem())
	}
	if v.Kind() == reflect.Slice && v.Len() > 0 {
		everyField(t, path+"[0]", v.Index(0))
	}
}

// eachText visits every text in v that can be set.
func eachText(v reflect.Value, path string, visit func(path string, text reflect.Value)) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			visit(path, v)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachText(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachText(v.Index(i), path+"[]", visit)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			eachText(v.Elem(), path, visit)
		}
	}
}

func TestFullTriggerIsValid(t *testing.T) {
	t.Parallel()
	trigger := full()
	everyField(t, "Trigger", reflect.ValueOf(trigger))
	if err := trigger.Validate(); err != nil {
		t.Error(err)
	}
	least := Trigger{Organisation: "o", Environment: "e", Task: "t"}
	if err := least.Validate(); err != nil {
		t.Error(err)
	}
}

// Cases 97 and 115: what Postgres can not hold is refused, in every text there
// is. The fields come from the type, so that a new one can not be forgotten.
func TestEveryTextRefusesWhatNoStoreHolds(t *testing.T) {
	t.Parallel()
	visited := 0
	for what, bad := range map[string]string{
		"NUL": "a\x00b", "NUL alone": "\x00", "NUL at the end": "a\x00",
		"invalid UTF-8": "a\xffb", "half a character": "a\xe2\x82", "surrogate": "\xed\xa0\x80",
	} {
		trigger := full()
		eachText(reflect.ValueOf(&trigger), "Trigger", func(path string, text reflect.Value) {
			visited++
			before := text.String()
			text.SetString(bad)
			err := trigger.Validate()
			text.SetString(before)
			invalid, ok := errors.AsType[*InvalidError](err)
			switch {
			case !ok || !errors.Is(err, ErrInvalid):
				t.Errorf("%s with %s: %v", path, what, err)
			case invalid.Field == "" || invalid.Rule == "" || invalid.Fault != Malformed:
				t.Errorf("%s with %s: %+v", path, what, invalid)
			case strings.Contains(err.Error(), bad):
				t.Errorf("%s with %s: the error holds the value", path, what)
			}
		})
	}
	if visited < 6*25 {
		t.Errorf("only %d texts were tried", visited)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	text := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int, s string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = s
		}
		return out
	}
	textLimit := func(field string, limit int, set func(*Trigger, string)) limitCase {
		return limitCase{
			field: field, fault: Malformed,
			good: []func(*Trigger){func(x *Trigger) { set(x, text(limit)) }},
			bad:  []func(*Trigger){func(x *Trigger) { set(x, text(limit+1)) }},
		}
	}
	// UTF-16 units: an emoji counts two, whatever its bytes.
	unitLimit := func(field string, limit int, set func(*Trigger, string)) limitCase {
		return limitCase{
			field: field, fault: Malformed,
			good: []func(*Trigger){
				func(x *Trigger) { set(x, text(limit)) },
				func(x *Trigger) { set(x, strings.Repeat("👍", limit/2)) },
				func(x *Trigger) { set(x, strings.Repeat("€", limit)) },
			},
			bad: []func(*Trigger){
				func(x *Trigger) { set(x, text(limit+1)) },
				func(x *Trigger) { set(x, strings.Repeat("👍", limit/2)+"x") },
				func(x *Trigger) { set(x, "x"+strings.Repeat("€", limit)) },
			},
		}
	}
	spanLimit := func(field string, low, high time.Duration, set func(*Trigger, time.Duration)) limitCase {
		return limitCase{
			field: field, fault: Malformed,
			good: []func(*Trigger){func(x *Trigger) { set(x, low) }, func(x *Trigger) { set(x, high) }, func(x *Trigger) { set(x, 0) }},
			bad:  []func(*Trigger){func(x *Trigger) { set(x, low-1) }, func(x *Trigger) { set(x, high+1) }, func(x *Trigger) { set(x, -high-1) }},
		}
	}
	numberLimit := func(field string, low, high int, set func(*Trigger, int)) limitCase {
		return limitCase{
			field: field, fault: Malformed,
			good: []func(*Trigger){func(x *Trigger) { set(x, low) }, func(x *Trigger) { set(x, high) }},
			bad:  []func(*Trigger){func(x *Trigger) { set(x, low-1) }, func(x *Trigger) { set(x, high+1) }},
		}
	}
	one := func(field string, fault Fault, good, bad func(*Trigger)) limitCase {
		return limitCase{field: field, fault: fault, good: []func(*Trigger){good}, bad: []func(*Trigger){bad}}
	}
	cases := []limitCase{
		textLimit("organisation", 128, func(x *Trigger, s string) { x.Organisation = s }),
		textLimit("environment", 128, func(x *Trigger, s string) { x.Environment = s }),
		textLimit("taskId", 512, func(x *Trigger, s string) { x.Task = s }),
		one("organisation", Malformed, func(x *Trigger) { x.Organisation = "o" }, func(x *Trigger) { x.Organisation = "" }),
		one("environment", Malformed, func(x *Trigger) { x.Environment = "e" }, func(x *Trigger) { x.Environment = "" }),
		one("taskId", Malformed, func(x *Trigger) { x.Task = "t" }, func(x *Trigger) { x.Task = "" }),
		one("payload", TooLarge, func(x *Trigger) { x.Payload = make([]byte, 3_145_728) }, func(x *Trigger) { x.Payload = make([]byte, 3_145_729) }),
		textLimit("options.payloadType", 128, func(x *Trigger, s string) { x.PayloadType = s }),
		one("options.payloadSize", Malformed, func(x *Trigger) { x.PayloadSize = 0 }, func(x *Trigger) { x.PayloadSize = -1 }),
		one("context", TooLarge, func(x *Trigger) { x.Context = make([]byte, 3_145_728) }, func(x *Trigger) { x.Context = make([]byte, 3_145_729) }),
		unitLimit("options.idempotencyKey", 2048, func(x *Trigger, s string) { x.IdempotencyKey = s }),
		spanLimit("options.idempotencyKeyTTL", time.Second, 365*24*time.Hour, func(x *Trigger, d time.Duration) { x.KeyTTL = d }),
		textLimit("options.idempotencyKeyOptions.key", 65_536, func(x *Trigger, s string) { x.KeyOptions.Key = s }),
		one("options.idempotencyKeyOptions.scope", Malformed, func(x *Trigger) { x.KeyOptions.Scope = "global" }, func(x *Trigger) { x.KeyOptions.Scope = "galaxy" }),
		textLimit("request idempotency key", 256, func(x *Trigger, s string) { x.RequestKey = s }),
		one("options.delay", Malformed,
			func(x *Trigger) { x.DelayUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) },
			func(x *Trigger) { x.DelayUntil = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		one("options.delay", Malformed,
			func(x *Trigger) { x.DelayUntil = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC) },
			func(x *Trigger) { x.DelayUntil = time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC) }),
		spanLimit("options.ttl", time.Second, 365*24*time.Hour, func(x *Trigger, d time.Duration) { x.TTL = d }),
		one("options.tags", Unprocessable, func(x *Trigger) { x.Tags = many(10, "t") }, func(x *Trigger) { x.Tags = many(11, "t") }),
		one("options.tags", Malformed, func(x *Trigger) { x.Tags = []string{" t "} }, func(x *Trigger) { x.Tags = []string{"t", " \t"} }),
		unitLimit("options.tags", 128, func(x *Trigger, s string) { x.Tags = []string{"t", s} }),
		one("options.metadata", TooLarge, func(x *Trigger) { x.Metadata = make([]byte, 262_144) }, func(x *Trigger) { x.Metadata = make([]byte, 262_145) }),
		textLimit("options.metadataType", 128, func(x *Trigger, s string) { x.MetadataType = s }),
		textLimit("options.queue.name", 517, func(x *Trigger, s string) { x.Queue = s }),
		textLimit("options.concurrencyKey", 1024, func(x *Trigger, s string) { x.ConcurrencyKey = s }),
		one("options.concurrency", Malformed, func(x *Trigger) { x.Concurrency = many(2, "c") }, func(x *Trigger) { x.Concurrency = many(3, "c") }),
		textLimit("options.concurrency", 122, func(x *Trigger, s string) { x.Concurrency = []string{s} }),
		one("options.concurrency", Malformed, func(x *Trigger) { x.Concurrency = []string{"aZ09_-"} }, func(x *Trigger) { x.Concurrency = []string{"a.b"} }),
		one("options.concurrency", Malformed, func(x *Trigger) { x.Concurrency = nil }, func(x *Trigger) { x.Concurrency = []string{""} }),
		one("options.gates", Malformed, func(x *Trigger) { x.Gates = []Gate{{Queue: "a"}, {Queue: "b"}, {Queue: "c"}} }, func(x *Trigger) { x.Gates = []Gate{{Queue: "a"}, {Queue: "b"}, {Queue: "c"}, {Queue: "d"}} }),
		textLimit("options.gates.queue", 128, func(x *Trigger, s string) { x.Gates = []Gate{{Queue: s}} }),
		one("options.gates.queue", Malformed, func(x *Trigger) { x.Gates = []Gate{{Queue: "q"}} }, func(x *Trigger) { x.Gates = []Gate{{}} }),
		textLimit("options.gates.concurrencyKey", 1024, func(x *Trigger, s string) { x.Gates = []Gate{{Queue: "q", ConcurrencyKey: s}} }),
		one("options.machine", Malformed, func(x *Trigger) { x.Machine = "large-2x" }, func(x *Trigger) { x.Machine = "large-3x" }),
		numberLimit("options.maxAttempts", 0, 1<<20, func(x *Trigger, n int) { x.MaxAttempts = n }),
		spanLimit("options.maxDuration", 5*time.Second, 365*24*time.Hour, func(x *Trigger, d time.Duration) { x.MaxDuration = d }),
		spanLimit("options.priority", -365*24*time.Hour, 365*24*time.Hour, func(x *Trigger, d time.Duration) { x.Priority = d }),
		unitLimit("options.debounce.key", 512, func(x *Trigger, s string) { x.Debounce.Key = s }),
		one("options.debounce.key", Unprocessable, func(x *Trigger) { x.Debounce.Key = "d" }, func(x *Trigger) { x.Debounce.Key = "" }),
		one("options.debounce.delay", Unprocessable,
			func(x *Trigger) { *x.Debounce = Debounce{Key: "d", Delay: 365 * 24 * time.Hour} },
			func(x *Trigger) { *x.Debounce = Debounce{Key: "d", Delay: 365*24*time.Hour + 1} }),
		one("options.debounce.delay", Unprocessable,
			func(x *Trigger) { *x.Debounce = Debounce{Key: "d", Delay: 1} }, func(x *Trigger) { *x.Debounce = Debounce{Key: "d"} }),
		one("options.debounce.maxDelay", Unprocessable,
			func(x *Trigger) { *x.Debounce = Debounce{Key: "d", Delay: time.Second, MaxDelay: time.Second + 1} },
			func(x *Trigger) { *x.Debounce = Debounce{Key: "d", Delay: time.Second, MaxDelay: time.Second} }),
		textLimit("options.lockToVersion", 128, func(x *Trigger, s string) { x.LockToVersion = s }),
		unitLimit("options.externalDeploymentId", 128, func(x *Trigger, s string) { x.DeploymentID = s }),
		textLimit("options.region", 128, func(x *Trigger, s string) { x.Region = s }),
		textLimit("options.parentBatch", 128, func(x *Trigger, s string) { x.ParentBatch = s }),
		textLimit("options.parentAttempt", 128, func(x *Trigger, s string) { x.ParentAttempt = s }),
		textLimit("options.dependentAttempt", 128, func(x *Trigger, s string) { x.DependentTry = s }),
		textLimit("options.dependentBatch", 128, func(x *Trigger, s string) { x.DependentBatch = s }),
		textLimit("options.bulkActionId", 128, func(x *Trigger, s string) { x.BulkAction = s }),
		textLimit("batch", 128, func(x *Trigger, s string) { x.BatchItem.Batch = s }),
		numberLimit("index", 0, 1<<20, func(x *Trigger, n int) { x.BatchItem.Index = n }),
		textLimit("trigger function", 128, func(x *Trigger, s string) { x.TriggerFunction = TriggerFunction(s) }),
		textLimit("traceparent", 512, func(x *Trigger, s string) { x.TraceParent = s }),
		textLimit("tracestate", 1024, func(x *Trigger, s string) { x.TraceState = s }),
	}
	for _, c := range cases {
		for i, good := range c.good {
			trigger := full()
			good(&trigger)
			if err := trigger.Validate(); err != nil {
				t.Errorf("%s, at its limit (%d): %v", c.field, i, err)
			}
		}
		for i, bad := range c.bad {
			trigger := full()
			bad(&trigger)
			invalid, ok := errors.AsType[*InvalidError](trigger.Validate())
			if !ok || invalid.Field != c.field || invalid.Fault != c.fault {
				t.Errorf("%s, over its limit (%d): %+v", c.field, i, invalid)
			}
		}
	}
}

type limitCase struct {
	field     string
	fault     Fault
	good, bad []func(*Trigger)
}
