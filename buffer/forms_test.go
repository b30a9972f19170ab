package buffer

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// fields reads an entry by the names that its fields have in form 1; the test's
// own reading of form 2. An entry of form 1 is read as it is.
func (b *bench) fields(name string) map[string]string {
	b.t.Helper()
	ctx := b.t.Context()
	switch b.raw.Type(ctx, name).Val() {
	case "none":
		return map[string]string{}
	case "hash":
		return b.raw.HGetAll(ctx, name).Val()
	}
	text := b.raw.Get(ctx, name).Val()
	if len(text) < 126 {
		b.t.Fatalf("%s: %q", name, text)
	}
	number := func(from, to int) string {
		n := must(strconv.ParseInt(text[from:to], 10, 64))
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	f := map[string]string{
		"v": text[:1], "st": text[1:2], "t": strings.TrimSpace(text[2:24]), "x": number(24, 30), "n": number(30, 36),
		"acc": number(36, 52), "until": number(52, 68), "ver": number(68, 73), "h": strings.TrimSpace(text[83:126]),
	}
	patches := len(text) - must(strconv.Atoi(text[73:83]))
	f["s"] = text[126:patches]
	size := len(f["s"])
	for n, rest := 1, text[patches:]; rest != ""; n++ {
		length := int(binary.BigEndian.Uint32([]byte(rest)))
		f[fmt.Sprint("p", n)] = rest[4 : 4+length]
		rest, size = rest[4+length:], size+length
	}
	f["b"] = strconv.Itoa(size)
	for field, value := range f {
		if value == "" {
			delete(f, field)
		}
	}
	return f
}

// age rewrites an entry as the builds before this one did.
func (b *bench) age(name string) {
	b.t.Helper()
	ctx := b.t.Context()
	if b.raw.Type(ctx, name).Val() != "string" {
		return
	}
	f, left := b.fields(name), b.raw.PTTL(ctx, name).Val()
	f["v"] = "1"
	b.raw.Del(ctx, name)
	if err := b.raw.HSet(ctx, name, f).Err(); err != nil {
		b.t.Fatal(err)
	}
	if left > 0 {
		b.raw.PExpire(ctx, name, left)
	}
}

// change rewrites a part of an entry in its place: one of as many bytes.
func (b *bench) change(name, from, to string) {
	b.t.Helper()
	text := b.raw.Get(b.t.Context(), name).Val()
	at := strings.Index(text, from)
	if at < 0 || len(from) != len(to) {
		b.t.Fatalf("%q is not in %q", from, text)
	}
	if err := b.raw.SetRange(b.t.Context(), name, int64(at), to).Err(); err != nil {
		b.t.Fatal(err)
	}
}

// What the build before wrote is read as it was meant, whoever meets it first, and
// becomes of today's form where it is changed. It goes all the way to the grace.
func TestEntriesOfTheFormBefore(t *testing.T) {
	t.Parallel()
	b := onShared(t)
	keyed, keyless, gone := snap(1, "keyed"), snap(1, ""), snap(1, "gone")
	for _, s := range []*run.Snapshot{keyed, keyless, gone} {
		b.buffered(s)
	}
	patch(t, b, ref(keyed), run.Patch{Delay: 5})
	patch(t, b, ref(keyed), run.Patch{AddTags: []string{"tag"}})
	want := map[run.ID]Entry{}
	old := func() {
		t.Helper()
		for _, s := range []*run.Snapshot{keyed, keyless, gone} {
			if e, found := b.get(ref(s)); found {
				e.Now = 0
				want[s.ID] = e
			}
			b.age(b.entryName(s))
		}
		for _, s := range []*run.Snapshot{keyed, keyless, gone} {
			e, found := b.get(ref(s))
			e.Now = 0
			if before, was := want[s.ID]; found != was || found && fmt.Sprintf("%+v", e) != fmt.Sprintf("%+v", before) {
				t.Fatalf("%+v, was %+v", e, before)
			}
		}
	}
	old()
	if p := must(b.Heads(t.Context(), []int{1}))[0]; p.Heads[0].AcceptedAt != want[keyed.ID].Snapshot.AcceptedAt {
		t.Fatalf("%+v", p)
	}
	b.want(b.fresh(keyed), AlreadyThere)
	old()
	other := snap(1, "keyed")
	if got := b.want(b.fresh(other), BoundTo); got.Run != keyed.ID || !got.Queued {
		t.Fatalf("%+v", got)
	}
	patch(t, b, ref(keyed), run.Patch{Delay: 7})
	old()
	token := NewToken()
	if got := b.lease(1, 9, token); len(got) != 3 || got[0].Entry.Ver != 3 || len(got[0].Entry.Patches) != 3 {
		t.Fatalf("%+v", got)
	}
	old()
	if got := b.lease(1, 9, token); len(got) != 3 {
		t.Fatalf("asked again: %v", ids(got))
	}
	old()
	b.held("extend", b.Extend(t.Context(), []Holding{{ref(keyed), token}}, time.Hour), HeldDone)
	b.held("requeue", b.Requeue(t.Context(), []Requeue{{Ref: ref(keyed), Token: token, Count: true}}), HeldDone)
	old()
	b.held("fail", b.Fail(t.Context(), []Holding{{ref(gone), token}}), HeldDone)
	delete(want, gone.ID)
	b.lapse(1)
	b.reap(1)
	old()
	if later := b.ack(Ack{Ref: ref(keyed), Ver: 1}); len(later.Later) != 2 || later.Ver != 3 {
		t.Fatalf("%+v", later)
	}
	old()
	b.ack(Ack{Ref: ref(keyed), Ver: 3})
	b.ack(Ack{Ref: ref(keyless)})
	old()
	if e, found := b.get(ref(keyed)); !found || e.Status != Materialised || e.Attempts != 1 {
		t.Fatalf("%+v", e)
	}
	if err := b.sound(); err != nil {
		t.Fatal(err)
	}
}
