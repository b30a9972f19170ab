package buffer

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

func patch(t *testing.T, b *bench, r Ref, p run.Patch) Entry {
	t.Helper()
	e, outcome, err := b.Patch(t.Context(), r, func(*Entry) (run.Patch, error) { return p, nil })
	if err != nil || outcome != Applied {
		t.Fatalf("%d %v", outcome, err)
	}
	return e
}

// A change counts in every state but materialised, and survives leases.
func TestPatch(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s := snap(1, "key")
	b.buffered(s)
	token := NewToken()
	for i, step := range []func(){
		func() {},
		func() { b.lease(1, 1, token) },
		func() { b.lapse(1); b.reap(1) },
	} {
		step()
		e := patch(t, b, ref(s), run.Patch{AddTags: []string{fmt.Sprint("tag", i)}})
		read, _ := b.get(ref(s))
		if e.Ver != int64(i+1) || fmt.Sprint(read.Patches) != fmt.Sprint(e.Patches) || read.Ver != e.Ver || read.Size != e.Size {
			t.Fatalf("%+v, read %+v", e, read)
		}
	}
	if err := b.sound(); err != nil { // the bytes of patches are counted
		t.Fatal(err)
	}
	e, _ := b.get(ref(s))
	if got := e.Patched(); fmt.Sprint(got.Trigger.Tags) != "[tag0 tag1 tag2]" || got.Ver != 3 {
		t.Fatalf("%+v", got)
	}
	// Nothing to change, and a change that is refused, write nothing.
	before := b.state()
	patch(t, b, ref(s), run.Patch{})
	refused := errors.New("refused")
	if _, outcome, err := b.Patch(t.Context(), ref(s), func(*Entry) (run.Patch, error) { return run.Patch{}, refused }); err != refused || outcome != 0 {
		t.Fatalf("%d %v", outcome, err)
	}
	if b.state() != before {
		t.Fatal("something was written")
	}
	// An ack of an earlier version returns what is later, and changes nothing.
	for _, ver := range []int64{0, 2} {
		a := b.ack(Ack{Ref: ref(s), Ver: ver})
		if a.Done() || a.Ver != 3 || fmt.Sprint(a.Later) != fmt.Sprint(e.Patches[ver:]) || b.state() != before {
			t.Fatalf("%+v", a)
		}
	}
	if a := b.ack(Ack{Ref: ref(s), Ver: 3}); !a.Done() {
		t.Fatalf("%+v", a)
	}
	got, outcome, err := b.Patch(t.Context(), ref(s), func(*Entry) (run.Patch, error) { return run.Patch{Delay: 1}, nil })
	if err != nil || outcome != InPostgres || got.Ver != 3 {
		t.Fatalf("%d %v", outcome, err)
	}
}

// The ack between a writer's read and its write: the writer learns of it.
func TestPatchMeetsAck(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s := snap(1, "")
	b.buffered(s)
	_, outcome, err := b.Patch(t.Context(), ref(s), func(*Entry) (run.Patch, error) {
		b.ack(Ack{Ref: ref(s)})
		return run.Patch{Delay: 1}, nil
	})
	if err != nil || outcome != InPostgres {
		t.Fatalf("%d %v", outcome, err)
	}
	gone := snap(1, "")
	b.buffered(gone)
	_, outcome, err = b.Patch(t.Context(), ref(gone), func(*Entry) (run.Patch, error) {
		b.raw.Del(t.Context(), b.entryName(gone))
		return run.Patch{Delay: 1}, nil
	})
	if err != nil || outcome != NotFound || b.status(ref(gone)) != "gone" {
		t.Fatalf("%d %v", outcome, err)
	}
}

// Cases 31 and 35: of many writers at once, none is lost, and the versions have
// no gap.
func TestFiftyWriters(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s := snap(1, "key")
	b.buffered(s)
	const n = 50
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			_, outcome, err := b.Patch(t.Context(), ref(s), func(e *Entry) (run.Patch, error) {
				// Equal bytes from two writers at one version, on purpose.
				return run.Patch{Metadata: &run.Metadata{Bytes: fmt.Appendf(nil, `{"n":%d}`, e.Ver+1), Type: "application/json"}}, nil
			})
			if err != nil || outcome != Applied {
				t.Errorf("%d %v", outcome, err)
			}
		})
	}
	wg.Wait()
	e, _ := b.get(ref(s))
	if got := e.Patched(); e.Ver != n || string(got.Trigger.Metadata) != fmt.Sprintf(`{"n":%d}`, n) {
		t.Fatalf("version %d, metadata %s", e.Ver, got.Trigger.Metadata)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

// The very same write, executed twice, is one; equal bytes of another are not.
func TestPatchTwice(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	s := snap(1, "key")
	b.buffered(s)
	send := func(ver int64, stored string) any {
		a := b.each(t.Context(), patchScript, nil, []item{{
			partition: 1, keys: []string{b.entryName(s), b.names.Usage(1)}, args: []any{env, ver, stored, 10, 1 << 20},
		}})[0]
		if a.err != nil {
			t.Fatal(a.err)
		}
		return a.value
	}
	body := string(must((&run.Patch{Ver: 1, Delay: 5}).Append(nil)))
	mine, another := "0123456789abcdef"+body, "fedcba9876543210"+body
	for range 3 {
		if got := send(0, mine); got != "d" {
			t.Fatalf("%v", got)
		}
	}
	if entry, _ := send(0, another).(string); len(entry) < headSize {
		t.Fatal("another's equal patch was taken for a repetition")
	}
	if e, _ := b.get(ref(s)); e.Ver != 1 {
		t.Fatalf("%+v", e)
	}
	patch(t, b, ref(s), run.Patch{Delay: 7})
	b.ack(Ack{Ref: ref(s), Ver: 2})
	if got := send(0, mine); got != "d" { // later patches and an ack came in between
		t.Fatalf("%v", got)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}

func TestPatchBounds(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{MaxPatches: 2}, {MaxEntryBytes: 900}} {
		b := onSharedWith(t, cfg)
		s := snap(1, "")
		b.buffered(s)
		var refused *run.RefusedError
		for range 10 {
			_, outcome, err := b.Patch(t.Context(), ref(s), func(*Entry) (run.Patch, error) {
				return run.Patch{Metadata: &run.Metadata{Bytes: make([]byte, 100)}}, nil
			})
			if err != nil {
				if !errors.As(err, &refused) || !errors.Is(err, run.ErrOverloaded) || outcome != 0 || refused.RetryAfter != time.Second {
					t.Fatalf("%d %v", outcome, err)
				}
				break
			}
		}
		if refused == nil {
			t.Fatalf("%+v: ten patches were taken", cfg)
		}
		if e, _ := b.get(ref(s)); e.Ver == 0 || e.Ver > 6 {
			t.Fatalf("version %d", e.Ver)
		}
		if err := b.sound(); err != nil {
			t.Fatal(err)
		}
	}
}
