package run_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/e0ff5a15/mollifier/run"
)

const accepted = run.Instant(1_700_000_000_000_000)

func buffered(t run.Trigger) *run.Snapshot {
	t.Organisation, t.Environment, t.Task = "org", "env", "task"
	s := run.NewSnapshot(run.MintID(time.UnixMilli(1), 1), t.Key(), t.Key().Hash(), t)
	s.Accept(accepted)
	return &s
}

func fullPatch() run.Patch {
	return run.Patch{
		Ver: 7, At: accepted + 5, Cancel: &run.Cancellation{Reason: "why \x01 \"🙂\""}, AddTags: []string{"a", ""},
		Metadata: &run.Metadata{Bytes: []byte("{\"n\":\x00 9007199254740993}"), Type: "application/json"}, Delay: accepted + 9,
	}
}

func TestPatchesRoundTrip(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]run.Patch{
		"zero": {}, "full": fullPatch(),
		"cancel without reason": {Ver: 1, Cancel: &run.Cancellation{}},
		"no metadata":           {Ver: 1, Metadata: &run.Metadata{Type: "x"}},
		"empty metadata":        {Ver: 1, Metadata: &run.Metadata{Bytes: []byte{}, Type: ""}},
	} {
		b, err := p.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := run.DecodePatch(b[len("before"):])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if p.Metadata != nil && (got.Metadata.Bytes == nil) != (p.Metadata.Bytes == nil) {
			t.Errorf("%s: nil and empty metadata are not the same", name)
		}
	}
}

func TestPatchesOfOtherBuilds(t *testing.T) {
	t.Parallel()
	full := fullPatch()
	b, err := full.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	later := append([]byte{b[0] + 1}, b[1:]...)
	if _, err := run.DecodePatch(later); !errors.Is(err, run.ErrUnknownVersion) {
		t.Errorf("a later version: %v", err)
	}
	for n := range b {
		if _, err := run.DecodePatch(b[:n]); err == nil || n > 0 && errors.Is(err, run.ErrUnknownVersion) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := run.DecodePatch(append(b, 0)); err == nil {
		t.Error("bytes after the end")
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	s := buffered(run.Trigger{
		Tags: []string{"x"}, Metadata: []byte(`{"a":1}`), MetadataType: "application/json",
		DelayUntil: accepted.Add(time.Hour).Time(), Payload: []byte(`"p"`),
	})
	before := *s
	patches := []run.Patch{
		{Ver: 3, At: accepted + 3, Cancel: &run.Cancellation{Reason: "second"}},
		{Ver: 1, At: accepted + 1, AddTags: []string{"y", "x"}, Delay: accepted.Add(2 * time.Hour)},
		{Ver: 2, At: accepted + 2, Cancel: &run.Cancellation{Reason: "first"}, Metadata: &run.Metadata{Bytes: []byte("m"), Type: "t"}},
		{Ver: 1, At: accepted + 1, AddTags: []string{"y", "x"}},
	}
	got := s.Apply(patches...)
	want := run.Patched{
		Snapshot: *s, Ver: 3, UpdatedAt: accepted + 3,
		Cancelled: &run.Cancellation{Reason: "first"}, CancelledAt: accepted + 2,
	}
	want.Trigger.Tags, want.Trigger.Metadata, want.Trigger.MetadataType = []string{"x", "y"}, []byte("m"), "t"
	want.Trigger.DelayUntil = accepted.Add(2 * time.Hour).Time()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(run.ID{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, *s, cmp.AllowUnexported(run.ID{})); diff != "" || len(s.Trigger.Tags) != 1 {
		t.Errorf("the snapshot changed: %s", diff)
	}
	if patches[0].Ver != 3 {
		t.Error("the patches were reordered")
	}
	// As a whole or one after the other, and again: the same.
	if diff := cmp.Diff(got, s.Apply(append(patches, patches...)...), cmp.AllowUnexported(run.ID{})); diff != "" {
		t.Error(diff)
	}
	if got.Status(accepted) != run.Canceled {
		t.Errorf("status %s", got.Status(accepted))
	}
	if fresh := s.Apply(); fresh.Ver != 0 || fresh.Cancelled != nil || fresh.UpdatedAt != accepted {
		t.Errorf("%+v", fresh)
	}
}

func TestStatusOfABufferedRun(t *testing.T) {
	t.Parallel()
	hour := run.Instant(time.Hour / time.Microsecond)
	for _, c := range []struct {
		delay time.Time
		ttl   time.Duration
		now   run.Instant
		want  run.Status
	}{
		{want: run.Queued, now: accepted},
		{delay: (accepted + hour).Time(), now: accepted + hour - 1, want: run.Delayed},
		{delay: (accepted + hour).Time(), now: accepted + hour, want: run.Queued},
		{delay: (accepted - hour).Time(), now: accepted, want: run.Queued},
		{ttl: time.Hour, now: accepted + hour - 1, want: run.Queued},
		{ttl: time.Hour, now: accepted + hour, want: run.Expired},
		{delay: (accepted + hour).Time(), ttl: time.Hour, now: accepted + 2*hour - 1, want: run.Queued},
		{delay: (accepted + hour).Time(), ttl: time.Hour, now: accepted + 2*hour, want: run.Expired},
		{delay: (accepted - hour).Time(), ttl: time.Hour, now: accepted + hour - 1, want: run.Queued},
	} {
		p := buffered(run.Trigger{DelayUntil: c.delay, TTL: c.ttl}).Apply()
		if got := p.Status(c.now); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func wantInvalid(t *testing.T, err error, fault run.Fault) {
	t.Helper()
	invalid, ok := errors.AsType[*run.InvalidError](err)
	if !ok || invalid.Fault != fault {
		t.Errorf("got %v, want an invalid input of kind %d", err, fault)
	}
}

// Case 33: the cap on tags holds in the buffer, all or nothing.
func TestPatchesOfTags(t *testing.T) {
	t.Parallel()
	var nine []string
	for i := range 9 {
		nine = append(nine, fmt.Sprint("t", i))
	}
	p := buffered(run.Trigger{Tags: nine}).Apply()
	_, err := p.Tag(accepted, []string{"a", "b"})
	wantInvalid(t, err, run.Unprocessable)
	_, err = p.Tag(accepted, []string{" "})
	wantInvalid(t, err, run.Malformed)
	_, err = p.Tag(accepted, []string{strings.Repeat("x", 129)})
	wantInvalid(t, err, run.Malformed)
	patch, err := p.Tag(accepted+1, []string{"a", "t3", "a"})
	if err != nil || !slices.Equal(patch.AddTags, []string{"a"}) || patch.Ver != 1 || patch.At != accepted+1 {
		t.Fatalf("%+v, %v", patch, err)
	}
	p = p.Apply(patch)
	if len(p.Trigger.Tags) != 10 {
		t.Errorf("%v", p.Trigger.Tags)
	}
	if same, err := p.Tag(accepted, nine); err != nil || !same.Empty() {
		t.Errorf("nothing new: %+v, %v", same, err)
	}
	if got := run.UniteTags(nine, []string{"t1", "a", "b"}); len(got) != run.MaxTags || got[9] != "a" || len(nine) != 9 {
		t.Errorf("%v", got)
	}
}

func TestPatchesOfCancel(t *testing.T) {
	t.Parallel()
	p := buffered(run.Trigger{TTL: time.Hour}).Apply()
	patch := p.Cancel(accepted, "a\x00b\xff"+strings.Repeat("🙂", 1000))
	if r := patch.Cancel.Reason; !strings.HasPrefix(r, "ab\uFFFD🙂") || len(r) > run.MaxReason+2 || strings.ContainsRune(r, 0) {
		t.Errorf("reason %q", r)
	}
	if again := p.Cancel(accepted.Add(time.Hour), ""); !again.Empty() {
		t.Error("an expired run was cancelled")
	}
	p = p.Apply(patch)
	if again := p.Cancel(accepted, "x"); !again.Empty() {
		t.Error("cancelled twice")
	}
	if _, err := p.SetMetadata(accepted, run.MetadataChange{Replace: &run.Metadata{}}); !errors.Is(err, run.ErrConflict) {
		t.Errorf("metadata of a cancelled run: %v", err)
	}
	if _, err := p.Reschedule(accepted, accepted.Add(time.Hour).Time()); !errors.Is(err, run.ErrConflict) {
		t.Errorf("delay of a cancelled run: %v", err)
	}
	if (run.Cancellation{}).Failure().Message == "" || (run.Cancellation{Reason: "x"}).Failure().Message != "x" {
		t.Error("the error of a cancelled run says why")
	}
}

// Case 90: a run that does not wait for its delay is not rescheduled.
func TestPatchesOfDelay(t *testing.T) {
	t.Parallel()
	later := accepted.Add(2 * time.Hour).Time()
	p := buffered(run.Trigger{}).Apply()
	if _, err := p.Reschedule(accepted, later); !errors.Is(err, run.ErrConflict) {
		t.Errorf("%v", err)
	}
	p = buffered(run.Trigger{DelayUntil: accepted.Add(time.Hour).Time()}).Apply()
	if _, err := p.Reschedule(accepted.Add(time.Hour), later); !errors.Is(err, run.ErrConflict) {
		t.Errorf("once it is due: %v", err)
	}
	_, err := p.Reschedule(accepted, time.Time{})
	wantInvalid(t, err, run.Malformed)
	patch, err := p.Reschedule(accepted, later)
	if err != nil {
		t.Fatal(err)
	}
	p = p.Apply(patch)
	if !p.Trigger.DelayUntil.Equal(later) {
		t.Errorf("%v", p.Trigger.DelayUntil)
	}
}

func FuzzDecodePatch(f *testing.F) {
	full := fullPatch()
	b, err := full.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := run.DecodePatch(b)
		if err != nil {
			return
		}
		again, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		q, err := run.DecodePatch(again)
		if err != nil {
			t.Fatal(err)
		}
		if p.Metadata != nil && !bytes.Equal(p.Metadata.Bytes, q.Metadata.Bytes) || p.Ver != q.Ver {
			t.Fatalf("%+v became %+v", p, q)
		}
		buffered(run.Trigger{}).Apply(p)
	})
}
