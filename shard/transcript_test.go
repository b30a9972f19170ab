package shard

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/e0ff5a15/mollifier/run"
)

// TestTranscripts replays what testdata tells: one command to the table, and
// what it left to do. Run it with -rewrite after a change that is meant.
//
//	arrive a key=k [payload=p] [request=q] [kind=request] [not-enrolled] [in-flight=wait|conflict]
//	leave a
//	claimed REF mine acc=N | pending wait=D | resolved run=R | failed [maybe]
//	settled REF created | held run=R [payload=p] [request=q] | stale floor=N | failed | unknown | rejected | empty
//	checked REF holds run=R [payload=p] | cleared | unknown | failed
//	published REF done | lost | failed
//	claimed REF bound run=R [queued]
//	looked REF nothing | held run=R [until=N] [known] | ended run=R [until=N] floor=N [known] | failed
//	accepted REF new acc=N | held|bound|met run=R [queued] | own | wait wait=D | stale | full wait=D | failed
//	world [mollify] [blind] [fresh] [divert]     what the gate says from now on; nothing: it passes everything
//	wake key=k | wake-all | tick +D | fail REF | fail-caller a | fail-all
//	table
//
// A REF is flight.post, as the request was printed. Tokens are named t1, t2 and
// runs r1, r2 in the order in which they are minted.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			tr := newTranscript()
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				out, err := tr.command(d)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				return out
			})
		})
	}
}

var (
	errStore    = errors.New("store failed")
	errPoison   = errors.New("snapshot refused")
	errFull     = errors.New("buffer full")
	errPanicked = errors.New("flight failed")
)

type transcript struct {
	table   *Table[string]
	now     time.Time
	tokens  int
	runs    int
	keys    map[run.Hash]string
	settles map[Ref]*run.Snapshot
	gate    *toldGate
}

func newTranscript() *transcript {
	tr := &transcript{
		now:     time.Unix(1_000_000, 0),
		keys:    map[run.Hash]string{},
		settles: map[Ref]*run.Snapshot{},
		gate:    &toldGate{},
	}
	tr.table = NewTable[string](Config{
		ClaimTTL: 9 * time.Second, WaitBudget: 5 * time.Second, Poll: time.Second,
		Gate: tr.gate, Durability: func() run.Durability { return run.DurableRedis }, NewToken: func() Token { tr.tokens++; return Token{byte(tr.tokens)} },
		NewID: func(int) run.ID { tr.runs++; return mustID(fmt.Sprintf("r%d", tr.runs)) },
	}, func(string) {})
	return tr
}

func mustID(text string) run.ID {
	id, err := run.ParseID(text)
	if err != nil {
		panic(err)
	}
	return id
}

// options are the arguments of a command: bare words, and name=value.
type options struct {
	words  []string
	values map[string]string
}

// instant is a value that is an instant; 0 without one.
func (o options) instant(name string) (at run.Instant) {
	_, _ = fmt.Sscan(o.values[name], &at)
	return at
}

func (o options) has(word string) bool { return slices.Contains(o.words, word) }

func optionsOf(d *datadriven.TestData) options {
	o := options{values: map[string]string{}}
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			o.words = append(o.words, a.Key)
		} else {
			o.values[a.Key] = a.Vals[0]
		}
	}
	return o
}

func (tr *transcript) command(d *datadriven.TestData) (out string, err error) {
	o := optionsOf(d)
	word := ""
	if len(o.words) > 0 {
		word = o.words[0]
	}
	if d.Cmd == "table" {
		return tr.state(), nil
	}
	defer func() {
		if p := recover(); p != nil {
			out, err = fmt.Sprintf("panic: %v\n%s", p, tr.left()), nil
		}
	}()
	switch d.Cmd {
	case "arrive":
		tr.table.Arrive(tr.caller(word, o))
	case "leave":
		tr.table.Leave(word)
	case "wake":
		tr.table.Wake(hashOf(o.values["key"], run.KindIdempotency))
	case "world":
		tr.gate.mollify, tr.gate.blind, tr.gate.fresh = o.has("mollify"), o.has("blind"), o.has("fresh")
		tr.gate.divert, tr.gate.tells = o.has("divert"), true
		return "", nil
	case "wake-all":
		tr.table.WakeAll()
	case "tick":
		step, err := time.ParseDuration(strings.TrimPrefix(word, "+"))
		if err != nil {
			return "", err
		}
		tr.now = tr.now.Add(step)
		tr.table.Tick(tr.now)
	case "fail-caller":
		tr.table.FailCaller(word, errPanicked)
	case "fail-all":
		tr.table.FailAll(errPanicked)
	default:
		if err := tr.reply(d.Cmd, word, o); err != nil {
			return "", err
		}
	}
	return tr.left(), nil
}

func hashOf(key string, kind run.Kind) run.Hash {
	return run.Key{Kind: kind, Environment: "env", Task: "task", Text: key}.Hash()
}

func (tr *transcript) caller(ticket string, o options) Caller[string] {
	trigger := run.Trigger{
		Organisation: "org", Environment: "env", Task: "task",
		Payload: []byte(o.values["payload"]), RequestKey: o.values["request"],
		InFlight: run.InFlight(o.values["in-flight"]),
	}
	if o.values["kind"] != "request" {
		trigger.IdempotencyKey = o.values["key"]
	}
	key := trigger.Key()
	var hash run.Hash
	if !key.IsZero() {
		hash = key.Hash()
		tr.keys[hash] = cmp.Or(o.values["key"], o.values["request"])
	}
	s := run.NewSnapshot(run.ID{}, key, hash, trigger)
	return Caller[string]{Ticket: ticket, Snapshot: &s, Claims: !o.has("not-enrolled"), Arrived: tr.now}
}

func (tr *transcript) reply(verb, at string, o options) error {
	var ref Ref
	if _, err := fmt.Sscanf(at, "%d.%d", &ref.Flight, &ref.Post); err != nil {
		return fmt.Errorf("%s %q: %w", verb, at, err)
	}
	what := ""
	if len(o.words) > 1 {
		what = o.words[1]
	}
	switch verb + " " + what {
	case "claimed mine":
		var acc run.Instant
		if _, err := fmt.Sscan(o.values["acc"], &acc); err != nil {
			return err
		}
		tr.table.Claimed(tr.now, ref, ClaimReply{State: Claimed, AcceptedAt: acc})
	case "claimed pending":
		wait, err := time.ParseDuration(o.values["wait"])
		if err != nil {
			return err
		}
		tr.table.Claimed(tr.now, ref, ClaimReply{State: Pending, Wait: wait})
	case "claimed resolved":
		tr.table.Claimed(tr.now, ref, ClaimReply{State: Resolved, Holder: Holder{ID: mustID(o.values["run"])}})
	case "claimed failed":
		tr.table.Claimed(tr.now, ref, ClaimReply{Err: errStore, MaybeClaimed: o.has("maybe")})
	case "settled created":
		s := tr.settles[ref]
		tr.table.Settled(tr.now, ref, SettleReply{Created: true, Holder: Holder{
			ID: s.ID, Canonical: s.ID, AcceptedAt: s.AcceptedAt, Until: s.KeyUntil,
			PayloadHash: s.PayloadHash, RequestHash: s.RequestHash,
		}})
	case "settled held":
		tr.table.Settled(tr.now, ref, SettleReply{Holder: holderOf(o)})
	case "settled empty":
		tr.table.Settled(tr.now, ref, SettleReply{Created: true})
	case "settled stale":
		tr.table.Settled(tr.now, ref, SettleReply{Stale: true, Floor: o.instant("floor")})
	case "settled failed":
		tr.table.Settled(tr.now, ref, SettleReply{Err: errStore})
	case "settled unknown":
		tr.table.Settled(tr.now, ref, SettleReply{Err: errStore, Unknown: true})
	case "settled rejected":
		tr.table.Settled(tr.now, ref, SettleReply{Err: errPoison, Rejected: true})
	case "checked holds":
		tr.table.Checked(ref, CheckReply{Holds: true, Holder: holderOf(o)})
	case "checked cleared":
		tr.table.Checked(ref, CheckReply{Found: true})
	case "checked unknown":
		tr.table.Checked(ref, CheckReply{})
	case "checked failed":
		tr.table.Checked(ref, CheckReply{Err: errStore})
	case "claimed bound":
		h := holderOf(o)
		h.Buffered = true
		tr.table.Claimed(tr.now, ref, ClaimReply{State: Bound, Holder: h, Queued: o.has("queued")})
	case "looked nothing":
		tr.table.Looked(tr.now, ref, LookReply{})
	case "looked held":
		tr.table.Looked(tr.now, ref, LookReply{Seen: Seen{Known: o.has("known"), Found: true, Live: true, Holder: holderOf(o)}})
	case "looked ended":
		tr.table.Looked(tr.now, ref, LookReply{Seen: Seen{Known: o.has("known"), Found: true, Holder: holderOf(o), Floor: o.instant("floor")}})
	case "looked failed":
		tr.table.Looked(tr.now, ref, LookReply{Err: errStore})
	case "accepted new":
		s := tr.settles[ref]
		var acc run.Instant
		if _, err := fmt.Sscan(o.values["acc"], &acc); err != nil {
			return err
		}
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{State: Accepted, Holder: Holder{
			ID: s.ID, AcceptedAt: acc, PayloadHash: s.PayloadHash, RequestHash: s.RequestHash, Buffered: true,
		}})
	case "accepted held":
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{State: AcceptHeld, Holder: holderOf(o)})
	case "accepted bound":
		h := holderOf(o)
		h.Buffered = true
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{State: AcceptBound, Holder: h, Queued: o.has("queued")})
	case "accepted met":
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{State: AcceptMet, Holder: holderOf(o)})
	case "accepted wait", "accepted full":
		wait, err := time.ParseDuration(o.values["wait"])
		if err != nil {
			return err
		}
		state := AcceptWait
		if what == "full" {
			state = AcceptFull
		}
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{State: state, Wait: wait, Full: errFull})
	case "accepted stale":
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{State: AcceptStale})
	case "accepted failed":
		tr.table.AcceptAnswered(tr.now, ref, AcceptReply{Err: errStore})
	case "published done":
		tr.table.Published(ref, PublishReply{Done: true})
	case "published lost":
		tr.table.Published(ref, PublishReply{})
	case "published failed":
		tr.table.Published(ref, PublishReply{Err: errStore})
	case "fail ":
		tr.table.Fail(ref, errPanicked)
	default:
		return fmt.Errorf("unknown command %q", verb+" "+what)
	}
	return nil
}

func holderOf(o options) Holder {
	id := mustID(o.values["run"])
	return Holder{
		ID: id, Canonical: id, AcceptedAt: o.instant("acc"), Until: o.instant("until"),
		PayloadHash: run.DigestPayload(run.DefaultPayloadType, []byte(o.values["payload"])),
		RequestHash: run.DigestRequest("env", "task", o.values["request"]),
	}
}

// left tells what the last call left to do.
func (tr *transcript) left() string {
	requests, answers := tr.table.Take()
	slices.SortStableFunc(requests, func(a, b Request) int { return cmp.Compare(a.Ref.Flight, b.Ref.Flight) })
	slices.SortStableFunc(answers, func(a, b Answer[string]) int { return strings.Compare(a.Ticket, b.Ticket) })
	var b strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&b, "post %d.%d %s", r.Ref.Flight, r.Ref.Post, r.Verb)
		if k := tr.keys[r.Hash]; k != "" {
			fmt.Fprintf(&b, " %s", k)
		}
		switch r.Verb {
		case Settle:
			tr.settles[r.Ref] = r.Snapshot
			fmt.Fprintf(&b, " run=%s payload=%q acc=%d", r.Snapshot.ID, r.Snapshot.Trigger.Payload, r.Snapshot.AcceptedAt)
		case Look:
			fmt.Fprintf(&b, " in %s", r.Environment)
			if !r.Run.IsZero() {
				fmt.Fprintf(&b, " for %s", r.Run)
			}
		case Accept:
			tr.settles[r.Ref] = r.Snapshot
			fmt.Fprintf(&b, " run=%s payload=%q", r.Snapshot.ID, r.Snapshot.Trigger.Payload)
			if r.Claimed {
				fmt.Fprintf(&b, " t%d", r.Token[0])
			}
			if r.Since.At != 0 {
				fmt.Fprintf(&b, " since=%d of %s", r.Since.At, r.Since.Epoch)
			}
			if r.Seen.Found {
				fmt.Fprintf(&b, " seen=%s", r.Seen.Holder.ID)
			}
			if r.Seen.Skipped {
				b.WriteString(" not-looked")
			}
			if r.Unsure {
				b.WriteString(" unsure")
			}
		case CheckHolder, Landed:
			fmt.Fprintf(&b, " run=%s in %s", r.Run, r.Environment)
		case Publish:
			fmt.Fprintf(&b, " t%d run=%s", r.Token[0], r.Holder.ID)
			if r.Found {
				b.WriteString(" found")
			}
		default:
			fmt.Fprintf(&b, " t%d", r.Token[0])
			if !r.Observed.IsZero() {
				fmt.Fprintf(&b, " replacing=%s", r.Observed)
			}
			if r.Floor != 0 {
				fmt.Fprintf(&b, " from=%d", r.Floor)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString(tr.gate.heard())
	for _, a := range answers {
		fmt.Fprintf(&b, "answer %s: %s\n", a.Ticket, told(a))
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}

func told(a Answer[string]) string {
	if a.Err != nil {
		return a.Err.Error()
	}
	words := []string{a.Result.ID().String(), "new"}
	if a.Result.Cached() {
		words[1] = "cached"
	}
	if a.Result.Identity() != run.Confirmed {
		words = append(words, string(a.Result.Identity()))
	}
	if a.Result.State() == run.Buffered {
		words = append(words, "buffered")
	}
	if !a.Result.PayloadMatch() {
		words = append(words, "of another payload")
	}
	return strings.Join(words, " ")
}

// state tells the flights in the table, and whether time matters to them.
func (tr *transcript) state() string {
	var b strings.Builder
	for _, f := range tr.table.flights {
		fmt.Fprintf(&b, "flight %d %s cohort=%s late=%s", f.Flight, f.state, tickets(f.cohort), tickets(f.late))
		if len(f.behind) > 0 {
			fmt.Fprintf(&b, " behind=%s", tickets(f.behind))
		}
		b.WriteByte('\n')
	}
	lines := strings.SplitAfter(b.String(), "\n")
	slices.Sort(lines)
	return fmt.Sprintf("%sflights=%d callers=%d timed=%t",
		strings.Join(lines, ""), tr.table.Flights(), len(tr.table.callers), tr.table.Timed())
}

func tickets(list []Caller[string]) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.Ticket
	}
	return "[" + strings.Join(names, " ") + "]"
}
