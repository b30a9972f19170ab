package run

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

func (b BatchItem) key() string { return b.Batch + "#" + strconv.Itoa(b.Index) }

// Validate refuses what no store could hold or what no caller can mean, before
// anything is counted, claimed or written. The error is an [*InvalidError] for
// the first field that is wrong, in the wire's field order.
func (t *Trigger) Validate() error {
	v := &validation{}
	v.name("organisation", t.Organisation, MaxNameLen, true)
	v.name("environment", t.Environment, MaxNameLen, true)
	v.name("taskId", t.Task, MaxTaskLen, true)

	v.size("payload", len(t.Payload), MaxPayload)
	v.name("options.payloadType", t.PayloadType, MaxNameLen, false)
	v.atLeast("options.payloadSize", t.PayloadSize, 0)
	v.size("context", len(t.Context), MaxPayload)

	v.units("options.idempotencyKey", t.IdempotencyKey, MaxKeyLen)
	if t.KeyTTL != 0 {
		v.span("options.idempotencyKeyTTL", t.KeyTTL, MinKeyTTL, MaxKeyTTL)
	}
	v.oneOf("in-flight policy", string(t.InFlight), string(InFlightShare), string(InFlightWait), string(InFlightConflict))
	v.name("options.idempotencyKeyOptions.key", t.KeyOptions.Key, MaxShownKeyLen, false)
	v.oneOf("options.idempotencyKeyOptions.scope", t.KeyOptions.Scope, "run", "attempt", "global")
	v.name("request idempotency key", t.RequestKey, MaxRequestKeyLen, false)

	if !t.DelayUntil.IsZero() && (t.DelayUntil.Year() > 9999 || t.DelayUntil.Year() < 1) {
		v.fail("options.delay", "a year from 1 to 9999", Malformed)
	}
	if t.TTL != 0 {
		v.span("options.ttl", t.TTL, time.Second, MaxKeyTTL)
	}
	v.name("options.ttl", t.TTLText, MaxTTLText, false)
	v.tags(t.Tags)
	v.size("options.metadata", len(t.Metadata), MaxMetadata)
	v.name("options.metadataType", t.MetadataType, MaxNameLen, false)
	v.name("options.queue.name", t.Queue, MaxTaskLen+len("task/"), false)
	v.name("options.concurrencyKey", t.ConcurrencyKey, MaxConcurrencyKey, false)
	v.concurrency(t.Concurrency)
	if len(t.Gates) > MaxGates {
		v.fail("options.gates", fmt.Sprintf("at most %d", MaxGates), Malformed)
	}
	for _, g := range t.Gates {
		v.name("options.gates.queue", g.Queue, MaxNameLen, true)
		v.name("options.gates.concurrencyKey", g.ConcurrencyKey, MaxConcurrencyKey, false)
	}
	v.oneOf("options.machine", t.Machine, Machines[:]...)
	v.between("options.maxAttempts", t.MaxAttempts, 0, 1<<20)
	if t.MaxDuration != 0 {
		v.span("options.maxDuration", t.MaxDuration, MinMaxRunTime, MaxKeyTTL)
	}
	v.span("options.priority", t.Priority, -MaxKeyTTL, MaxKeyTTL)
	v.debounce(t.Debounce)
	v.name("options.lockToVersion", t.LockToVersion, MaxNameLen, false)
	v.units("options.externalDeploymentId", t.DeploymentID, MaxNameLen)
	v.name("options.region", t.Region, MaxNameLen, false)
	v.name("options.parentBatch", t.ParentBatch, MaxNameLen, false)
	v.name("options.parentAttempt", t.ParentAttempt, MaxNameLen, false)
	v.name("options.dependentAttempt", t.DependentTry, MaxNameLen, false)
	v.name("options.dependentBatch", t.DependentBatch, MaxNameLen, false)
	v.name("options.bulkActionId", t.BulkAction, MaxNameLen, false)
	v.name("batch", t.BatchItem.Batch, MaxNameLen, false)
	v.failed(t.Failed)
	v.between("index", t.BatchItem.Index, 0, 1<<20)
	v.name("trigger function", string(t.TriggerFunction), MaxNameLen, false)
	v.name("traceparent", t.TraceParent, 512, false)
	v.name("tracestate", t.TraceState, 1024, false)
	return v.err()
}

// validation keeps the first fault it meets.
type validation struct{ first *InvalidError }

func (v *validation) err() error {
	if v.first == nil {
		return nil
	}
	return v.first
}

func (v *validation) fail(field, rule string, fault Fault) {
	if v.first == nil {
		v.first = &InvalidError{Field: field, Rule: rule, Fault: fault}
	}
}

// text refuses what a Postgres text column, a JSON document or a hash could
// not carry: NUL and invalid UTF-8.
func (v *validation) text(field, s string) {
	if strings.IndexByte(s, 0) >= 0 {
		v.fail(field, "must not contain a NUL character", Malformed)
	}
	if !utf8.ValidString(s) {
		v.fail(field, "must be valid UTF-8", Malformed)
	}
}

func (v *validation) name(field, s string, limit int, required bool) {
	if s == "" {
		if required {
			v.fail(field, "must not be empty", Malformed)
		}
		return
	}
	if len(s) > limit {
		v.fail(field, fmt.Sprintf("at most %d bytes", limit), Malformed)
	}
	v.text(field, s)
}

// units limits a text in UTF-16 code units, as JavaScript clients count.
func (v *validation) units(field, s string, limit int) {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	if n > limit {
		v.fail(field, fmt.Sprintf("at most %d characters", limit), Malformed)
	}
	v.text(field, s)
}

func (v *validation) size(field string, n, limit int) {
	if n > limit {
		v.fail(field, fmt.Sprintf("at most %d bytes", limit), TooLarge)
	}
}

func (v *validation) atLeast(field string, n, limit int64) {
	if n < limit {
		v.fail(field, fmt.Sprintf("at least %d", limit), Malformed)
	}
}

func (v *validation) between(field string, n, low, high int) {
	if n < low || n > high {
		v.fail(field, fmt.Sprintf("from %d to %d", low, high), Malformed)
	}
}

func (v *validation) span(field string, d, low, high time.Duration) {
	if d < low || d > high {
		v.fail(field, "from "+spanText(low)+" to "+spanText(high), Malformed)
	}
}

func (v *validation) oneOf(field, s string, allowed ...string) {
	if s != "" && !slices.Contains(allowed, s) {
		v.fail(field, "one of "+strings.Join(allowed, ", "), Malformed)
	}
}

func (v *validation) tags(tags []string) {
	for _, tag := range tags {
		if strings.TrimSpace(tag) == "" {
			v.fail("options.tags", "must not contain a blank tag", Malformed)
		}
		v.units("options.tags", tag, MaxTagLen)
	}
	if len(tags) > MaxTags {
		v.fail("options.tags", fmt.Sprintf("at most %d", MaxTags), Unprocessable)
	}
}

func (v *validation) concurrency(names []string) {
	if len(names) > MaxConcurrency {
		v.fail("options.concurrency", fmt.Sprintf("at most %d", MaxConcurrency), Malformed)
	}
	for _, s := range names {
		ok := s != "" && len(s) <= 122
		for i := range len(s) {
			c := s[i]
			ok = ok && (c == '_' || c == '-' || ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z'))
		}
		if !ok {
			v.fail("options.concurrency", "each 1 to 122 characters of [a-zA-Z0-9_-]", Malformed)
		}
	}
}

func (v *validation) failed(f *Failure) {
	if f == nil {
		return
	}
	const most = 64 << 10
	v.name("failed.message", f.Message, most, false)
	v.name("failed.name", f.Name, MaxNameLen, false)
	v.name("failed.stackTrace", f.StackTrace, most, false)
}

func (v *validation) debounce(d *Debounce) {
	if d == nil {
		return
	}
	if d.Key == "" {
		v.fail("options.debounce.key", "must not be empty", Unprocessable)
	}
	v.units("options.debounce.key", d.Key, MaxDebounceKey)
	if d.Delay <= 0 || d.Delay > MaxKeyTTL {
		v.fail("options.debounce.delay", "more than 0 and at most "+spanText(MaxKeyTTL), Unprocessable)
	}
	if d.MaxDelay != 0 && (d.MaxDelay <= d.Delay || d.MaxDelay > MaxKeyTTL) {
		v.fail("options.debounce.maxDelay", "more than options.debounce.delay and at most "+spanText(MaxKeyTTL), Unprocessable)
	}
}
