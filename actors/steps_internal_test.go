package actors

import (
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
	"github.com/e0ff5a15/mollifier/runstore"
	"github.com/e0ff5a15/mollifier/runstore/schema"
	"github.com/e0ff5a15/mollifier/shard"
)

// TestSteps takes the protocol apart. Nodes are the tables of package shard, whose
// requests go to the real scripts and statements one at a time, in an order that
// rapid draws; so do the steps of two drainers, of resets, of workers and of whoever
// changes a run. Between any two of them other steps may come.
//
// Without faults no run may become an alias, and answers of one key never go back to
// an earlier run. With faults a node dies, a claim runs out under its owner, a reply
// is lost while the call was not made, was made, or is yet to be made, Postgres can
// not be asked, and Redis loses everything or goes back to what it was; then aliases
// are allowed, and the rest still holds (see judge).
//
// By default the same histories are gone through each time. -rapid.checks says how many,
// of each kind, and then they are new ones; -rapid.steps how long.
func TestSteps(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if seed := flag.Lookup("rapid.seed"); seed.Value.String() == seed.DefValue {
			_ = seed.Value.Set("1201")
		}
	}
	t.Parallel()
	for _, faults := range []bool{false, true} {
		t.Run(map[bool]string{false: "nothing fails", true: "anything fails"}[faults], func(t *testing.T) {
			t.Parallel()
			b := newStepBench(t)
			rapid.Check(t, func(rt *rapid.T) { b.explore(rt, faults) })
		})
	}
}

// stepBench is what all histories share: the stores.
type stepBench struct {
	t       *testing.T
	ctx     context.Context
	db      *redisdb.DB
	claims  *claim.Store
	runs    *runstore.Store
	sql     *pgx.Conn
	raw     *redis.Client
	prefix  string
	names   redisdb.Names
	replies *Shards // turns replies of the stores into those of the table
	history int
}

const (
	stepClaimTTL = claim.MaxTTL
	stepFence    = buffer.Grace/4 - time.Millisecond
	longAgo      = run.Instant(time.Hour / time.Microsecond)
)

func newStepBench(t *testing.T) *stepBench {
	b := &stepBench{t: t, ctx: t.Context(), replies: &Shards{log: slog.New(slog.DiscardHandler)}}
	var url string
	url, b.prefix = stacktest.Redis(t)
	postgres := stacktest.Postgres(t)
	if err := schema.Migrate(b.ctx, postgres); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	b.db, err = redisdb.New(redisdb.Config{URL: url, Prefix: b.prefix, Partitions: 1, Deadline: 10 * time.Second})
	must(err)
	t.Cleanup(func() { _ = b.db.Close() })
	_, err = b.db.Open(b.ctx)
	must(err)
	b.names = b.db.Names()
	b.claims, err = claim.New(b.db, claim.Config{TTL: stepClaimTTL})
	must(err)
	b.runs, err = runstore.Open(b.ctx, runstore.Config{URL: postgres, MaxConns: 4, StatementTimeout: 20 * time.Second})
	must(err)
	t.Cleanup(b.runs.Close)
	b.sql, err = pgx.Connect(b.ctx, postgres)
	must(err)
	t.Cleanup(func() { _ = b.sql.Close(context.Background()) })
	opt, err := redis.ParseURL(url)
	must(err)
	opt.Protocol = 2
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	b.raw = redis.NewClient(opt)
	t.Cleanup(func() { _ = b.raw.Close() })
	return b
}

// stepNode is one node: its flights, and its ring of what it has acknowledged.
type stepNode struct {
	table  *shard.Table[int]
	buffer *buffer.Store
	kept   map[run.ID]buffer.Kept
}

// Keep makes a stepNode the keeper of its buffer.
func (n *stepNode) Keep(k buffer.Kept) { n.kept[k.ID] = k }

// stepCaller is one trigger and what it was told.
type stepCaller struct {
	shard.Caller[int]
	node    *stepNode
	came    run.Instant // on Redis's clock
	gone    bool        // its node died, or it left
	told    run.ID
	toldAt  run.Instant
	created bool
	sure    bool
	verb    shard.Verb // of the request that it was answered from
	err     error
}

// stepCall is a request under way.
type stepCall struct {
	shard.Request
	node *stepNode
	made bool // the store has executed it
	lost bool // the node has been told that it failed; it is yet to be executed
	out  stepReply
}

// stepReply is what a store said, by the request's verb.
type stepReply struct {
	claimed
	settle shard.SettleReply
	check  shard.CheckReply
	look   shard.LookReply
	accept shard.AcceptReply
}

type stepDrainer struct {
	token   buffer.Token
	leases  []buffer.Lease
	written []runstore.Materialised
}

type stepReset struct {
	hash   run.Hash
	cut    run.Instant
	inRuns bool
	doneAt run.Instant // on Redis's clock; 0: not yet
	kept   bool        // what Redis was remembered as has it
	undone bool        // Redis went back to before it
}

type steps struct {
	*rapid.T
	*stepBench
	env      string
	faults   bool
	nodes    []*stepNode
	callers  []*stepCaller
	wire     []*stepCall
	drainers [2]stepDrainer
	resets   []*stepReset
	failed   map[run.ID]run.Instant // when a worker had failed it
	tags     map[run.ID][]string    // that were acknowledged

	clock    time.Time // of the tables
	minted   uint64
	heard    run.Instant // the last of Redis's instants that nodes know
	aged     run.Instant // what was heard until then is older than any fence
	mollify  bool
	divert   bool
	blind    bool
	lossy    bool // Redis has lost something
	began    time.Time
	snapshot map[string]string
}

func (b *stepBench) explore(t *rapid.T, faults bool) {
	b.history++
	w := &steps{
		T: t, stepBench: b, faults: faults, env: fmt.Sprintf("env_%t_%d", faults, b.history),
		failed: map[run.ID]run.Instant{}, tags: map[run.ID][]string{}, clock: time.Unix(1_800_000_000, 0),
		began: time.Now(),
	}
	w.empty()
	w.hear()
	for range rapid.IntRange(1, 3).Draw(t, "nodes") {
		w.nodes = append(w.nodes, &stepNode{})
		w.start(w.nodes[len(w.nodes)-1])
	}
	w.mollify, w.divert = rapid.Bool().Draw(t, "mollify"), rapid.Bool().Draw(t, "divert")
	actions := map[string]func(*rapid.T){
		"trigger": w.trigger, "trigger again": w.trigger, "leave": w.leave,
		"make a call": w.makeAny, "hand a reply over": w.handAny, "go on": w.goOn, "go on again": w.goOn, "and again": w.goOn,
		"wake": w.wake, "pass time": w.passTime, "flip the gate": func(*rapid.T) { w.mollify = !w.mollify },
		"drain": w.drainAny, "drain more": w.drainAny, "lapse": w.lapse,
		"reset": w.reset, "fail a run": w.failRun, "change": w.change, "grow old": w.growOld,
	}
	if faults {
		actions["lose"] = w.lose
		actions["crash"] = w.crash
		actions["drainer dies"] = func(t *rapid.T) { w.drainers[rapid.IntRange(0, 1).Draw(t, "drainer")] = stepDrainer{} }
		actions["claim runs out"] = w.claimRunsOut
		actions["Postgres goes or comes"] = func(*rapid.T) { w.blind = !w.blind }
		actions["remember Redis"] = func(*rapid.T) { w.snapshot = w.dump() }
		actions["Redis loses"] = w.loseRedis
		actions["restore"] = func(t *rapid.T) { w.restore(w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]) }
	}
	for range 2 {
		t.Repeat(actions)
	}
	w.rest()
	w.judge()
}

// start makes a node anew: nothing of it is left but what the stores have.
func (w *steps) start(n *stepNode) {
	n.kept = map[run.ID]buffer.Kept{}
	var err error
	if n.buffer, err = buffer.New(w.db, buffer.Config{Fence: stepFence, Keeper: n}); err != nil {
		w.Fatal(err)
	}
	n.table = shard.NewTable(shard.Config{
		ClaimTTL: stepClaimTTL, WaitBudget: 5 * time.Second, Poll: time.Second, Gate: (*stepGate)(w),
		NewToken: func() (tok shard.Token) {
			w.minted++
			binary.BigEndian.PutUint64(tok[:], w.minted)
			return tok
		},
		NewID: func(p int) run.ID {
			w.minted++
			return run.MintID(w.clock.Add(time.Duration(w.minted)*time.Millisecond), p)
		},
		Durability: func() run.Durability { return run.DurableRedis },
	}, func(int) {})
}

// stepGate is what all nodes are told by their gate.
type stepGate steps

func (g *stepGate) Peek(*run.Snapshot) bool    { return g.mollify }
func (g *stepGate) Decide(*run.Snapshot) bool  { return g.mollify }
func (g *stepGate) Count(*run.Snapshot)        {}
func (g *stepGate) Diverts(*run.Snapshot) bool { return g.divert }
func (g *stepGate) Blind() bool                { return g.blind }
func (g *stepGate) Since() (shard.Moment, bool) {
	_, _, epoch := g.db.LastTime()
	return shard.Moment{At: g.heard, Epoch: epoch}, g.heard > g.aged && epoch != ""
}

// strict says that nothing has failed, not even the machine, under which claims run out.
func (w *steps) strict() bool { return !w.faults && time.Since(w.began) < stepClaimTTL/2 }

func (w *steps) now() run.Instant {
	now, err := w.raw.Time(w.ctx).Result()
	if err != nil {
		w.Fatal(err)
	}
	return run.InstantOf(now)
}

// hear has the nodes know Redis's clock.
func (w *steps) hear() {
	if r := w.db.Run(w.ctx, []redisdb.Call{redisdb.ClockCall()})[0]; r.Err != nil {
		w.Fatal(r.Err)
	}
	w.heard, _, _ = w.db.LastTime()
}

// The keys: the first two are used, 0 is none.
func (w *steps) triggerOf(key int) run.Trigger {
	t := run.Trigger{Organisation: "org", Environment: w.env, Task: "task", Payload: []byte("x")}
	if key > 0 {
		t.IdempotencyKey, t.KeyTTL = fmt.Sprint("key", key), time.Hour
	}
	return t
}

func (w *steps) hash(key int) run.Hash {
	t := w.triggerOf(key)
	k := t.Key()
	return k.Hash()
}

func (w *steps) aKey(t *rapid.T) run.Hash { return w.hash(rapid.IntRange(1, 2).Draw(t, "key")) }

func (w *steps) aNode(t *rapid.T) *stepNode {
	return w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]
}

func (w *steps) trigger(t *rapid.T) {
	key := rapid.SampledFrom([]int{1, 1, 1, 2, 0}).Draw(t, "key")
	trigger := w.triggerOf(key)
	if key > 0 && rapid.IntRange(0, 3).Draw(t, "short") == 0 {
		trigger.KeyTTL = time.Microsecond // over when the next step comes
	}
	k := trigger.Key()
	var hash run.Hash
	if key > 0 {
		hash = k.Hash()
	}
	s := run.NewSnapshot(run.ID{}, k, hash, trigger)
	c := &stepCaller{node: w.aNode(t), came: w.now()}
	c.Caller = shard.Caller[int]{Ticket: len(w.callers), Snapshot: &s, Claims: true, Arrived: w.clock}
	w.callers = append(w.callers, c)
	c.node.table.Arrive(c.Caller)
	w.take(c.node, shard.Claim)
}

func (w *steps) leave(t *rapid.T) {
	c := pickStep(t, w.callers, func(c *stepCaller) bool { return !c.gone && c.told.IsZero() && c.err == nil })
	c.gone = true
	c.node.table.Leave(c.Ticket)
	w.take(c.node, shard.Claim)
}

func pickStep[E any](t *rapid.T, list []E, fit func(E) bool) E {
	fitting := slices.DeleteFunc(slices.Clone(list), func(e E) bool { return !fit(e) })
	if len(fitting) == 0 {
		t.Skip("nothing to pick")
	}
	return fitting[rapid.IntRange(0, len(fitting)-1).Draw(t, "pick")]
}

// take posts what a table asks for, and notes what it answers; verb is that of the
// request whose reply it took.
func (w *steps) take(n *stepNode, verb shard.Verb) {
	requests, answers := n.table.Take()
	for _, r := range requests {
		if r.Snapshot != nil {
			copied := *r.Snapshot // it may land late
			r.Snapshot = &copied
		}
		w.wire = append(w.wire, &stepCall{Request: r, node: n})
	}
	if len(answers) == 0 {
		return
	}
	at := w.now()
	for _, a := range answers {
		c := w.callers[a.Ticket]
		if c.gone || !c.told.IsZero() || c.err != nil {
			w.Fatalf("caller %d is answered twice, or after it left", a.Ticket)
		}
		if c.err = a.Err; a.Err == nil {
			c.told, c.toldAt, c.created = a.Result.ID(), at, !a.Result.Cached()
			c.sure, c.verb = a.Result.Identity() == run.Confirmed, verb
		} else if w.strict() && !strings.Contains(a.Err.Error(), run.ErrClaimTimeout.Error()) {
			w.Fatalf("caller %d: %v, and nothing has failed", a.Ticket, a.Err)
		}
	}
}

func (w *steps) makeAny(t *rapid.T) {
	s := pickStep(t, w.wire, func(s *stepCall) bool { return !s.made })
	w.make(s, rapid.IntRange(0, 4).Draw(t, "twice") == 0)
}

func (w *steps) handAny(t *rapid.T) {
	w.hand(pickStep(t, w.wire, func(s *stepCall) bool { return s.made }))
}

func (w *steps) goOn(t *rapid.T) {
	s := pickStep(t, w.wire, func(*stepCall) bool { return true })
	w.finish(s)
}

func (w *steps) finish(s *stepCall) {
	if !s.made {
		w.make(s, false)
	}
	if slices.Contains(w.wire, s) {
		w.hand(s)
	}
}

var errStep = &run.RefusedError{Reason: run.ErrUnavailable, Part: "test"}

// make executes a call, or has Postgres be away; twice: once more, as if its reply had
// been lost on the way and somebody repeated it.
func (w *steps) make(s *stepCall, twice bool) {
	s.made = true
	s.out = w.execute(s)
	if twice {
		again := w.execute(s)
		if one, two := repeated(s, s.out), repeated(s, again); one != two {
			w.Fatalf("%v twice:\n%s\n%s", s.Verb, one, two)
		}
	}
	w.Logf("%v of flight %d: %s", s.Verb, s.Ref.Flight, repeated(s, s.out))
	w.hear()
	if s.lost || s.Verb == shard.Release || s.Verb == shard.Renew || s.Verb == shard.Landed {
		w.gone(s)
	}
}

func (w *steps) execute(s *stepCall) (out stepReply) {
	if toPostgres := s.Verb == shard.Settle || s.Verb == shard.CheckHolder || s.Verb == shard.Look; toPostgres && w.blind {
		out.settle, out.check, out.look = shard.SettleReply{Err: errStep}, shard.CheckReply{Err: errStep}, shard.LookReply{Err: errStep}
		return out
	}
	switch s.Verb {
	case shard.Settle:
		r := w.runs.Settle(w.ctx, []runstore.Settlement{{Snapshot: s.Snapshot}})[0]
		out.settle = settleReply(&r)
	case shard.CheckHolder:
		r := w.runs.Check(w.ctx, []runstore.Check{{Environment: s.Environment, Hash: s.Hash, ID: s.Run}})[0]
		out.check = checkReply(&r)
	case shard.Look:
		states, err := w.runs.Keys(w.ctx, []runstore.KeyRef{{Environment: s.Environment, Hash: s.Hash, ID: s.Run}})
		if out.look.Err = err; err == nil {
			out.look.Seen = seen(&states[0])
		}
	case shard.Accept:
		a := acceptance(&s.Request)
		if a.Since != 0 && a.Since <= w.aged {
			a.Since -= longAgo
		}
		out.accept = w.replies.acceptReply(&s.Request, s.node.buffer.Accept(w.ctx, []buffer.Acceptance{a})[0])
	case shard.Landed:
		if err := s.node.buffer.Landed(w.ctx, []buffer.Ref{{Environment: s.Environment, ID: s.Run}})[0]; err != nil {
			w.Fatal(err)
		}
	default:
		out.claimed = w.replies.claimReply(&s.Request, w.claims.Do(w.ctx, []claim.Op{claimOp(&s.Request)})[0])
	}
	for _, err := range []error{out.settle.Err, out.check.Err, out.look.Err, out.accept.Err, out.claim.Err, out.publish.Err} {
		if err != nil {
			w.Fatalf("%v: %v", s.Verb, err)
		}
	}
	return out
}

// repeated is what a reply has in common with that to a repetition.
func repeated(s *stepCall, r stepReply) string {
	if r.claim.Wait = 0; s.Anew {
		r.claim.AcceptedAt = 0 // taken anew, and anew
	}
	if r.accept.Wait = 0; s.Verb == shard.Accept && s.Claimed && (r.accept.State == shard.AcceptHeld || r.accept.State == shard.AcceptStale) {
		// The claim became the holder's record, and is not there to be shown again: the
		// repetition may have to claim anew.
		return "held or stale"
	}
	return fmt.Sprintf("%+v", map[shard.Verb]any{
		shard.Claim: r.claim, shard.Settle: r.settle, shard.CheckHolder: r.check, shard.Publish: r.publish, shard.Look: r.look, shard.Accept: r.accept,
	}[s.Verb])
}

func (w *steps) gone(s *stepCall) {
	w.wire = slices.DeleteFunc(w.wire, func(x *stepCall) bool { return x == s })
}

func (w *steps) hand(s *stepCall) {
	w.gone(s)
	t, r := s.node.table, &s.out
	switch s.Verb {
	case shard.Claim:
		t.Claimed(w.clock, s.Ref, r.claim)
	case shard.Settle:
		t.Settled(w.clock, s.Ref, r.settle)
	case shard.CheckHolder:
		t.Checked(s.Ref, r.check)
	case shard.Publish:
		t.Published(s.Ref, r.publish)
	case shard.Look:
		t.Looked(w.clock, s.Ref, r.look)
	case shard.Accept:
		t.AcceptAnswered(w.clock, s.Ref, r.accept)
	}
	w.take(s.node, s.Verb)
}

// lose tells a node that a call has failed, which was made, was not made, or is yet to
// be made.
func (w *steps) lose(t *rapid.T) {
	s := pickStep(t, w.wire, func(s *stepCall) bool { return !s.lost && s.Verb != shard.Landed })
	fate := rapid.SampledFrom([]string{"not made", "made", "late"}).Draw(t, "fate")
	switch {
	case s.made:
	case fate == "made":
		if w.make(s, false); !slices.Contains(w.wire, s) {
			return // wants no reply
		}
	case s.Verb == shard.Release || s.Verb == shard.Renew:
		w.gone(s)
		return
	}
	unknown := s.made || fate == "late" || rapid.Bool().Draw(t, "nobody knows")
	told := *s
	told.out.claim = shard.ClaimReply{Err: errStep, MaybeClaimed: unknown}
	told.out.settle = shard.SettleReply{Err: errStep, Unknown: unknown}
	told.out.check, told.out.publish = shard.CheckReply{Err: errStep}, shard.PublishReply{Err: errStep}
	told.out.look, told.out.accept = shard.LookReply{Err: errStep}, shard.AcceptReply{Err: errStep}
	if s.lost = true; s.made || fate != "late" {
		w.gone(s)
	}
	w.hand(&told)
}

// crash ends a node in the middle of whatever it does; what it has sent may land.
func (w *steps) crash(t *rapid.T) {
	n := w.aNode(t)
	land := rapid.Bool().Draw(t, "what was sent lands")
	for _, s := range slices.Clone(w.wire) {
		if s.node == n && (s.made || !land) {
			w.gone(s)
		}
		s.lost = s.lost || s.node == n
	}
	for _, c := range w.callers {
		c.gone = c.gone || c.node == n && c.told.IsZero() && c.err == nil
	}
	w.start(n)
}

func (w *steps) wake(t *rapid.T) {
	n := w.aNode(t)
	n.table.Wake(w.aKey(t))
	w.take(n, shard.Claim)
}

func (w *steps) passTime(t *rapid.T) {
	w.clock = w.clock.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 6 * time.Second}).Draw(t, "time"))
	for _, n := range w.nodes {
		n.table.Tick(w.clock)
		w.take(n, shard.Claim)
	}
}

// drainAny takes the next step of a drainer: lease, materialise, acknowledge; now and
// then twice.
func (w *steps) drainAny(t *rapid.T) {
	d := &w.drainers[rapid.IntRange(0, 1).Draw(t, "drainer")]
	w.drainStep(d, rapid.IntRange(1, 3).Draw(t, "n"), rapid.IntRange(0, 4).Draw(t, "twice") == 0)
}

func (w *steps) drainStep(d *stepDrainer, n int, twice bool) (did bool) {
	b := w.nodes[0].buffer
	switch {
	case len(d.leases) == 0:
		d.token = buffer.NewToken()
		var err error
		if d.leases, err = b.Lease(w.ctx, 0, w.env, n, d.token, time.Hour); err != nil {
			w.Fatal(err)
		}
		if twice {
			again, err := b.Lease(w.ctx, 0, w.env, n, d.token, time.Hour)
			if ids := fmt.Sprint(leaseIDs(d.leases)); err != nil || fmt.Sprint(leaseIDs(again)) != ids {
				w.Fatalf("a lease asked for again gave %v, then %v, %v", ids, leaseIDs(again), err)
			}
		}
		return len(d.leases) > 0
	case w.blind:
	case d.written == nil:
		items := make([]runstore.Materialisation, len(d.leases))
		for i := range d.leases {
			e := &d.leases[i].Entry
			items[i] = runstore.Materialisation{Snapshot: &e.Snapshot, Patches: e.Patches, Ver: e.Ver}
		}
		d.written = w.runs.Materialise(w.ctx, items)
		if twice {
			for i, r := range w.runs.Materialise(w.ctx, items) {
				if r.Outcome != runstore.Replayed || r.Canonical != d.written[i].Canonical {
					w.Fatalf("materialised again: %+v, was %+v", r, d.written[i])
				}
			}
		}
		for i, r := range d.written {
			w.Logf("materialise %s version %d: %s, %s", d.leases[i].ID, d.leases[i].Entry.Ver, r.Outcome, r.Canonical)
			switch {
			case r.Err != nil:
				w.Fatal(r.Err)
			case r.Outcome == runstore.Aliased && w.strict():
				w.Fatalf("%s became an alias of %s, and nothing has failed", d.leases[i].ID, r.Canonical)
			}
		}
	default:
		acks := make([]buffer.Ack, len(d.leases))
		for i := range d.leases {
			acks[i] = buffer.Ack{Ref: d.leases[i].Ref, Ver: d.leases[i].Entry.Ver, Canonical: d.written[i].Canonical}
		}
		acked := b.Ack(w.ctx, acks)
		if twice {
			if again := b.Ack(w.ctx, acks); fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", acked) {
				w.Fatalf("acknowledged again: %+v, was %+v", again, acked)
			}
		}
		var dirty []buffer.Lease
		for i, a := range acked {
			if a.Err != nil {
				w.Fatal(a.Err)
			}
			w.Logf("ack %s version %d: %d later", d.leases[i].ID, d.leases[i].Entry.Ver, len(a.Later))
			if l := d.leases[i]; !a.Done() {
				l.Entry.Patches, l.Entry.Ver = append(slices.Clip(l.Entry.Patches), a.Later...), a.Ver
				dirty = append(dirty, l)
			}
		}
		d.leases, d.written = dirty, nil
	}
	return true
}

func leaseIDs(leases []buffer.Lease) (ids []run.ID) {
	for i := range leases {
		ids = append(ids, leases[i].ID)
	}
	return ids
}

// lapse has all leases run out; their drainers may go on, and are late.
func (w *steps) lapse(*rapid.T) {
	name := w.names.Leases(0)
	for _, member := range w.raw.ZRange(w.ctx, name, 0, -1).Val() {
		w.raw.ZAdd(w.ctx, name, redis.Z{Score: 1, Member: member})
	}
	if _, err := w.nodes[0].buffer.Reap(w.ctx, 0, 1000); err != nil {
		w.Fatal(err)
	}
}

// reset begins a reset, or takes the next step of one; each step may be made twice.
func (w *steps) reset(t *rapid.T) {
	open := slices.DeleteFunc(slices.Clone(w.resets), func(r *stepReset) bool { return r.doneAt != 0 })
	if len(open) == 0 || rapid.IntRange(0, 3).Draw(t, "another") == 0 {
		hash := w.aKey(t)
		cut, err := w.claims.Clock(w.ctx, 0, hash)
		if err != nil {
			w.Fatal(err)
		}
		w.resets = append(w.resets, &stepReset{hash: hash, cut: cut})
		return
	}
	r := open[rapid.IntRange(0, len(open)-1).Draw(t, "which")]
	times := 1 + rapid.IntRange(0, 3).Draw(t, "twice")/3
	if !r.inRuns {
		if w.blind {
			return
		}
		for range times {
			cut, _, err := w.runs.Reset(w.ctx, w.env, r.hash, r.cut)
			if err != nil {
				w.Fatal(err)
			}
			if cut < r.cut {
				w.Fatalf("a cut at %d became one at %d", r.cut, cut)
			}
			r.cut, r.inRuns = cut, true
		}
		return
	}
	for range times {
		if _, err := w.claims.Reset(w.ctx, 0, r.hash, r.cut); err != nil {
			w.Fatal(err)
		}
	}
	w.hear()
	r.doneAt = w.now()
}

// failRun is a worker's plain SQL.
func (w *steps) failRun(t *rapid.T) {
	if w.blind {
		t.Skip("Postgres is away")
	}
	status := rapid.SampledFrom([]run.Status{run.Failed, run.Failed, run.Completed}).Draw(t, "status")
	var text string
	err := w.sql.QueryRow(w.ctx, `update runs set status = $3 where id = (
		select id from runs where env_id = $1 and kind = 0 and key_slot = $2 and status in ('QUEUED', 'EXECUTING')) returning id`,
		w.env, w.keyBytes(t), string(status)).Scan(&text)
	if err != nil {
		t.Skip("there is none")
	}
	if id, err := run.ParseID(text); err == nil && status == run.Failed {
		w.failed[id] = w.now()
	}
}

func (w *steps) keyBytes(t *rapid.T) []byte {
	h := w.aKey(t)
	return h[:]
}

// change tags a run that somebody was told of, where it is; it notes what was acknowledged.
func (w *steps) change(t *rapid.T) {
	c := pickStep(t, w.callers, func(c *stepCaller) bool { return !c.told.IsZero() && len(w.tags[c.told]) < 2 })
	w.minted++
	tag := fmt.Sprint("tag", w.minted)
	n := w.aNode(t)
	e, outcome, err := n.buffer.Patch(w.ctx, buffer.Ref{Environment: w.env, ID: c.told}, func(e *buffer.Entry) (run.Patch, error) {
		return run.Patch{AddTags: []string{tag}}, nil
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Logf("change %s by %s: %d, version %d", c.told, tag, outcome, e.Ver)
	if outcome != buffer.Applied {
		return
	}
	versions, err := w.runs.Versions(w.ctx, w.env, []run.ID{c.told})
	if err != nil {
		w.Fatal(err)
	}
	// Known: Redis went back to before a change that Postgres has and that no node has a
	// copy of any more. The next change gets its number, and is taken for it.
	if ver, there := versions[c.told]; !w.lossy || !there || ver < e.Ver {
		w.tags[c.told] = append(w.tags[c.told], tag)
	}
}

// growOld has so much time pass that graces, the life of records and every fence end,
// but not the claims and leases, which are renewed.
func (w *steps) growOld(*rapid.T) {
	w.aged = w.now()
	for _, name := range w.raw.Keys(w.ctx, w.prefix+":{*").Val() {
		if w.raw.Type(w.ctx, name).Val() != "string" {
			continue
		}
		text := w.raw.Get(w.ctx, name).Val()
		record := strings.Contains(name, "}:k:") && (strings.HasPrefix(text, "1|r|") || strings.HasPrefix(text, "1|f|"))
		if record || strings.Contains(name, "}:e:") && len(text) > 1 && text[1] == 'm' {
			w.raw.Del(w.ctx, name)
		}
	}
}

// claimRunsOut ends a claim under its owner.
func (w *steps) claimRunsOut(t *rapid.T) {
	name := w.names.Record(0, w.aKey(t))
	f := strings.Split(w.raw.Get(w.ctx, name).Val(), "|")
	if len(f) != 6 || f[1] != "p" {
		t.Skip("no claim")
	}
	f[4] = "3"
	w.raw.Set(w.ctx, name, strings.Join(f, "|"), redis.KeepTTL)
}

func (w *steps) empty() {
	if names := w.raw.Keys(w.ctx, w.prefix+":{*").Val(); len(names) > 0 {
		w.raw.Del(w.ctx, names...)
	}
}

func (w *steps) dump() map[string]string {
	all := map[string]string{}
	for _, name := range w.raw.Keys(w.ctx, w.prefix+":{*").Val() {
		all[name] = w.raw.Dump(w.ctx, name).Val()
	}
	for _, r := range w.resets {
		r.kept = r.doneAt != 0
	}
	return all
}

// loseRedis has Redis go back to what it was when it was last remembered, or to nothing.
func (w *steps) loseRedis(t *rapid.T) {
	w.lossy = true
	w.empty()
	w.aged = w.now() // it is another server
	if w.snapshot == nil || rapid.Bool().Draw(t, "everything") {
		return
	}
	for name, value := range w.snapshot {
		if err := w.raw.Restore(w.ctx, name, time.Minute, value).Err(); err != nil {
			w.Fatal(err)
		}
	}
	for _, r := range w.resets {
		r.undone = r.undone || r.doneAt != 0 && !r.kept
	}
}

// restore is a look of a node's ring.
func (w *steps) restore(n *stepNode) {
	if w.blind {
		return
	}
	for _, id := range sortedIDs(n.kept) {
		k := n.kept[id]
		stands := n.buffer.Standing(w.ctx, []buffer.Kept{k})[0]
		if stands.Err != nil {
			w.Fatal(stands.Err)
		}
		versions, err := w.runs.Versions(w.ctx, w.env, []run.ID{id})
		if err != nil {
			w.Fatal(err)
		}
		ver, there := versions[id]
		switch {
		case stands.Stand == buffer.Landed, stands.Stand == buffer.Gone && there && ver >= k.Ver():
			delete(n.kept, id)
		case stands.Stand != buffer.Waiting:
			r := n.buffer.Restore(w.ctx, []buffer.Kept{k})[0]
			w.Logf("restore %s version %d, which stands %d: %+v", id, k.Ver(), stands.Stand, r)
			if r.Err != nil {
				w.Fatal(r.Err)
			}
		}
	}
}

func sortedIDs[V any](m map[run.ID]V) []run.ID {
	var ids []run.ID
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b run.ID) int { return cmp.Compare(a.String(), b.String()) })
	return ids
}

// rest lets everything come to its end; nothing fails any more.
func (w *steps) rest() {
	w.blind = false
	for round := 0; ; round++ {
		for len(w.wire) > 0 {
			w.finish(w.wire[0])
		}
		busy := false
		w.clock = w.clock.Add(time.Second)
		for _, n := range w.nodes {
			n.table.Tick(w.clock)
			w.take(n, shard.Claim)
			busy = busy || n.table.Timed() || n.table.Flights() > 0
		}
		if !busy && len(w.wire) == 0 {
			break
		}
		if round > 200 {
			w.Fatal("the tables do not come to rest")
		}
	}
	for _, n := range w.nodes {
		w.restore(n)
	}
	for i := range w.drainers {
		for d := &w.drainers[i]; len(d.leases) > 0; {
			w.drainStep(d, 1, false)
		}
	}
	w.lapse(nil)
	for d := &w.drainers[0]; w.drainStep(d, 100, false); {
	}
	for _, c := range w.callers {
		if !c.gone && c.told.IsZero() && c.err == nil {
			w.Fatalf("caller %d was never answered", c.Ticket)
		}
	}
}

// row is a run as it is at the end.
type row struct {
	id, canonical string
	kind          int
	acc, until    run.Instant
	tags          []string
}

// judge holds what callers were told to what is in Postgres, when all is quiet.
func (w *steps) judge() {
	rows := map[string]row{}
	found, err := w.sql.Query(w.ctx, `select id, coalesce(alias_of, id), kind, accepted_at, coalesce(key_until, 0), tags
		from runs where env_id = $1 and kind <> 2`, w.env)
	if err != nil {
		w.Fatal(err)
	}
	var r row
	if _, err := pgx.ForEachRow(found, []any{&r.id, &r.canonical, &r.kind, &r.acc, &r.until, &r.tags}, func() error {
		rows[r.id] = r
		r.tags = nil
		if r.kind == 1 && w.strict() {
			w.Fatalf("%s is an alias, and nothing has failed", r.id)
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
	// A key has one run at a time.
	var overlaps int
	if err := w.sql.QueryRow(w.ctx, `select count(*) from runs a join runs b
		on a.env_id = b.env_id and a.id < b.id and a.kind = 0 and b.kind = 0
		and coalesce(a.key_slot, a.key_past) = coalesce(b.key_slot, b.key_past)
		and a.accepted_at < b.key_until and b.accepted_at < a.key_until where a.env_id = $1`, w.env).Scan(&overlaps); err != nil {
		w.Fatal(err)
	}
	if overlaps > 0 {
		w.Fatalf("%d pairs of runs of one key overlap", overlaps)
	}

	created := map[string]int{}
	for _, c := range w.callers {
		if c.told.IsZero() {
			continue
		}
		// What was acknowledged is there.
		told, ok := rows[c.told.String()]
		if !ok {
			if w.lossy && !w.keeps(c.told, "") {
				continue // Redis lost it, and the node that had it died
			}
			w.Fatalf("caller %d was told of %s, which is nowhere", c.Ticket, c.told)
		}
		canonical, ok := rows[told.canonical]
		if !ok || canonical.kind != 0 {
			w.Fatalf("%s stands for %s, which is no run", told.id, told.canonical)
		}
		if c.created {
			if created[told.id]++; created[told.id] > 1 {
				w.Fatalf("%s was new to two callers", told.id)
			}
		}
		if c.Snapshot.Key.IsZero() {
			if told.id != c.Snapshot.ID.String() || told.kind != 0 {
				w.Fatalf("caller %d has no key and was told of %s", c.Ticket, told.id)
			}
			continue
		}
		// Who came after a reset was complete has no run from before its cut.
		for _, r := range w.resets {
			if r.hash == c.Snapshot.Hash && r.doneAt != 0 && r.doneAt < c.came && !r.undone && canonical.acc < r.cut {
				w.Fatalf("caller %d came at %d, after the reset of %d, and has %s of %d", c.Ticket, c.came, r.cut, canonical.id, canonical.acc)
			}
		}
		if !w.strict() {
			continue
		}
		// Nor a run that had failed, but for the instant between settle and publish.
		id, _ := run.ParseID(canonical.id)
		if at := w.failed[id]; at != 0 && at < c.came && c.verb != shard.Publish && c.verb != shard.Accept {
			w.Fatalf("caller %d came at %d and has %s, which had failed at %d", c.Ticket, c.came, canonical.id, at)
		}
		// Answers of one key do not go back.
		for _, other := range w.callers {
			if other.told.IsZero() || other.Snapshot.Hash != c.Snapshot.Hash || other.toldAt >= c.came {
				continue
			}
			if before := rows[rows[other.told.String()].canonical]; before.acc > canonical.acc {
				w.Fatalf("caller %d was told of %s of %d, and %d, who came after that, of %s of %d",
					other.Ticket, before.id, before.acc, c.Ticket, canonical.id, canonical.acc)
			}
		}
	}
	// No change that was acknowledged is lost.
	for id, tags := range w.tags {
		told, ok := rows[id.String()]
		if !ok {
			continue // judged above
		}
		for _, tag := range tags {
			if has := rows[told.canonical].tags; !slices.Contains(has, tag) && len(has) < run.MaxTags && (!w.lossy || w.keeps(id, tag)) {
				w.Fatalf("%s was tagged %s, and %s has %v", id, tag, told.canonical, rows[told.canonical].tags)
			}
		}
	}
}

// keeps says that a living node still has a copy of a run, with a change that added a
// tag, or of whatever version if that is empty.
func (w *steps) keeps(id run.ID, tag string) bool {
	return slices.ContainsFunc(w.nodes, func(n *stepNode) bool {
		k, ok := n.kept[id]
		return ok && (tag == "" || slices.ContainsFunc(k.Patches, func(p string) bool { return strings.Contains(p, strconv.Quote(tag)) }))
	})
}
