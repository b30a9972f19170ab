package buffer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/e0ff5a15/mollifier/run"
)

// Each script that writes, twice with the same arguments, in each state of an entry:
// the second call changes nothing, and answers as the first did, or that it was done.
func TestTwice(t *testing.T) {
	t.Parallel()
	keeper := &shelf{}
	b := onSharedWith(t, Config{Keeper: keeper})
	ctx := t.Context()
	var mine, theirs Token

	lend := func(to *Token) func(*run.Snapshot) {
		return func(s *run.Snapshot) {
			b.buffered(s)
			b.lease(1, 1, *to)
		}
	}
	tag := func(s *run.Snapshot) { patch(t, b, ref(s), run.Patch{AddTags: []string{"a"}}) }
	states := map[string]func(*run.Snapshot){
		"gone":               func(*run.Snapshot) {},
		"queued":             func(s *run.Snapshot) { b.buffered(s) },
		"changed":            func(s *run.Snapshot) { b.buffered(s); tag(s) },
		"leased":             lend(&mine),
		"leased and changed": func(s *run.Snapshot) { lend(&mine)(s); tag(s) },
		"lent to another":    lend(&theirs),
		"held back": func(s *run.Snapshot) {
			lend(&mine)(s)
			b.Requeue(ctx, []Requeue{{Ref: ref(s), Token: mine, Delay: time.Hour}})
		},
		"returned": func(s *run.Snapshot) { lend(&mine)(s); b.lapse(1); b.reap(1) },
		"lapsed":   func(s *run.Snapshot) { lend(&mine)(s); b.lapse(1) },
		"put aside": func(s *run.Snapshot) {
			lend(&mine)(s)
			b.Requeue(ctx, []Requeue{{Ref: ref(s), Token: mine, aside: true}})
		},
		"materialised":        func(s *run.Snapshot) { b.buffered(s); b.ack(Ack{Ref: ref(s)}) },
		"failed":              func(s *run.Snapshot) { lend(&mine)(s); b.Fail(ctx, []Holding{{ref(s), mine}}) },
		"lost with its place": func(s *run.Snapshot) { b.buffered(s); b.raw.Del(ctx, b.entryName(s)) },
	}
	held := func(r []HeldReply) string { return fmt.Sprintf("held %d %v", r[0].Held, r[0].Err) }
	scripts := []struct {
		name  string
		call  func(*run.Snapshot, Acceptance) string
		again map[string]string // what it answers when it was done, by the beginning of what it had answered
	}{
		{"accept", func(_ *run.Snapshot, a Acceptance) string {
			got := b.accept(a)
			return fmt.Sprint(got.State, " ", got.Run, got.AcceptedAt, got.Until)
		}, map[string]string{"accepted": "already there"}},
		{"lease", func(*run.Snapshot, Acceptance) string { return fmt.Sprint(ids(b.lease(1, 2, mine))) }, nil},
		{"extend", func(s *run.Snapshot, _ Acceptance) string {
			return held(b.Extend(ctx, []Holding{{ref(s), mine}}, time.Hour))
		}, nil},
		{"requeue", func(s *run.Snapshot, _ Acceptance) string {
			return held(b.Requeue(ctx, []Requeue{{Ref: ref(s), Token: mine, Count: true}}))
		}, map[string]string{"held 1": "held 2"}},
		{"requeue later", func(s *run.Snapshot, _ Acceptance) string {
			return held(b.Requeue(ctx, []Requeue{{Ref: ref(s), Token: mine, Delay: time.Hour}}))
		}, map[string]string{"held 1": "held 2"}},
		{"requeue aside", func(s *run.Snapshot, _ Acceptance) string {
			return held(b.Requeue(ctx, []Requeue{{Ref: ref(s), Token: mine, aside: true}}))
		}, map[string]string{"held 1": "held 2"}},
		{"reap", func(*run.Snapshot, Acceptance) string { return fmt.Sprint(b.reap(1)) }, map[string]string{"{": "{0 0 0}"}},
		{"revive", func(*run.Snapshot, Acceptance) string {
			return fmt.Sprint(must(b.Revive(ctx, 1, 100)))
		}, map[string]string{"1": "0"}},
		{"ack", func(s *run.Snapshot, _ Acceptance) string { return fmt.Sprintf("%+v", b.ack(Ack{Ref: ref(s)})) }, nil},
		{"fail", func(s *run.Snapshot, _ Acceptance) string { return held(b.Fail(ctx, []Holding{{ref(s), mine}})) }, map[string]string{"held 1": "held 3"}},
		{"landed", func(s *run.Snapshot, _ Acceptance) string { return fmt.Sprint(b.Landed(ctx, []Ref{ref(s)})) }, nil},
		{"restore", func(s *run.Snapshot, _ Acceptance) string {
			k, ok := keeper.kept[s.ID]
			if !ok {
				return "nothing kept"
			}
			return fmt.Sprintf("%+v", b.Restore(ctx, []Kept{k})[0])
		}, map[string]string{"{Run:true": fmt.Sprintf("%+v", Restored{})}},
		{"patch", func(s *run.Snapshot, _ Acceptance) string {
			body := string(must((&run.Patch{Ver: 1, Delay: 5}).Append(nil)))
			a := b.each(ctx, patchScript, nil, []item{{
				partition: 1, keys: []string{b.entryName(s), b.names.Usage(1)}, args: []any{env, 0, "0123456789abcdef" + body, 10, 1 << 20},
			}})[0]
			return fmt.Sprint(a.value, a.err)
		}, nil},
	}
	for state, bring := range states {
		for _, script := range scripts {
			for _, key := range []string{"", "key"} {
				for _, name := range b.raw.Keys(ctx, b.prefix+":{*").Val() {
					b.raw.Del(ctx, name)
				}
				mine, theirs = NewToken(), NewToken()
				s := snap(1, key)
				bring(s)
				a := b.fresh(s)
				first := script.call(s, a)
				after := b.state()
				second := script.call(s, a)
				want := first
				for was, is := range script.again {
					if rest, ok := strings.CutPrefix(first, was); ok {
						if want = is; was != "{" && was != "{Run:true" {
							want += rest
						}
					}
				}
				if second != want {
					t.Errorf("%s, %s, key %q: %s, then %s, want %s", script.name, state, key, first, second, want)
				}
				if again := b.state(); again != after {
					t.Errorf("%s, %s, key %q: the second call changed\n%s\ninto\n%s", script.name, state, key, after, again)
				}
			}
		}
	}
}
