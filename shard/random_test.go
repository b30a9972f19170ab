package shard

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/run"
)

// TestRandom lets several tables share the model of the stores while requests,
// replies, wake-ups, resets, failures and time come in any order, and holds the
// tables to what the package promises.
func TestRandom(t *testing.T) {
	t.Parallel()
	for range 3 {
		t.Run("nothing fails", func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { explore(t, false) })
		})
		t.Run("anything fails", func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { explore(t, true) })
		})
	}
}

const (
	claimTTL   = 9 * time.Second
	waitBudget = 5 * time.Second
	poll       = time.Second
)

// client is one caller and what it was told.
type client struct {
	Caller[int]
	node     int
	key      int // 0: none
	arrived  int // step
	behind   int // the last step in which it stood behind a passage
	poison   bool
	left     bool
	answered int
	closed   bool      // nobody can share its answer any more
	sharers  []*client // who shares its answer
}

// sent is one request on its way: it is executed, then its reply delivered.
type sent struct {
	Request
	node     int
	at       int           // step in which it was posted
	snapshot *run.Snapshot // a copy of what is to be settled, as it was posted
	owner    *client       // of the snapshot
	landed   int           // step in which it was executed; 0: not yet
	lost     bool          // its reply was an error already: it only has to land
	claim    ClaimReply
	settle   SettleReply
	check    CheckReply
	publish  PublishReply
	look     LookReply
	accept   AcceptReply
}

type resetting struct {
	hash  run.Hash
	cut   run.Instant
	run   *modelRun
	begun bool
}

type world struct {
	*rapid.T
	*stores
	faults  bool
	nodes   []*Table[int]
	clients []*client
	wire    []*sent // posted, not yet delivered
	past    []*sent // delivered: may be delivered again
	resets  []*resetting
	minted  uint64
	wakesTo [][]run.Hash // per node

	owners    map[*run.Snapshot]*client
	settled   map[run.ID]bool      // snapshots that were created, and whose reply came
	unsure    map[run.ID]bool      // snapshots whose reply was lost
	flightOf  map[Token][2]uint64  // node and flight of a token
	unsettled map[Token]bool       // a settle under it may still land
	given     map[Token]bool       // released, failed or of unknown fate: may be waited for
	fresh     map[run.ID][]*client // told that the run is new
	posted    map[sentKey]*sent
	calls     int
	gate      randomGate
	strayed   bool // a leader left or was refused: who was counted is not who was created
	told      map[run.ID]bool
}

type sentKey struct {
	node int
	ref  Ref
}

// The keys: 0 is none, the last makes no claims.
const keyCount = 4

func explore(t *rapid.T, faults bool) {
	w := &world{
		T: t, faults: faults, stores: newStores(claimTTL),
		owners: map[*run.Snapshot]*client{}, settled: map[run.ID]bool{}, flightOf: map[Token][2]uint64{},
		unsettled: map[Token]bool{}, given: map[Token]bool{}, fresh: map[run.ID][]*client{}, posted: map[sentKey]*sent{},
	}
	w.strict, w.epoch, w.unsure, w.told = !faults, "e", map[run.ID]bool{}, map[run.ID]bool{}
	w.gate = randomGate{w: w, counted: map[*run.Snapshot]int{}}
	w.gate.divert = rapid.Bool().Draw(t, "divert")
	for range rapid.IntRange(1, 3).Draw(t, "nodes") {
		w.nodes = append(w.nodes, NewTable[int](Config{
			ClaimTTL: claimTTL, WaitBudget: waitBudget, Poll: poll, Gate: &w.gate, NewToken: w.token, NewID: w.id,
			Durability: func() run.Durability { return run.DurableRedis },
		}, func(ticket int) { w.clients[ticket].closed = true }))
	}
	w.wakesTo = make([][]run.Hash, len(w.nodes))
	actions := map[string]func(*rapid.T){
		"arrive": w.arrive, "arrive again": w.arrive, "share": w.share, "leave": w.leave,
		"execute": w.executeAny, "deliver": w.deliverAny, "go on": w.goOn, "go on again": w.goOn, "and again": w.goOn,
		"deliver again": w.deliverAgain, "wake": w.wakeAny, "pass time": w.passTime, "tick": w.tickAny,
		"reset": w.reset, "reset at once": w.resetAtOnce, "fail run": w.failRun,
		"flip gate": w.flipGate, "drain": w.drainAny, "drain more": w.drainAny,
		"": func(*rapid.T) { w.check() },
	}
	if faults {
		actions["lose"] = w.lose
		actions["fail flight"] = w.failFlight
		actions["go blind"] = func(*rapid.T) { w.gate.blind = !w.gate.blind }
		actions["lease runs out"] = w.leaseOut
	}
	for range 4 {
		t.Repeat(actions)
	}
	w.drain()
}

func (w *world) token() Token {
	w.minted++
	var tok Token
	binary.BigEndian.PutUint64(tok[:], w.minted)
	return tok
}

func (w *world) id(int) run.ID {
	w.minted++
	return mustID(fmt.Sprintf("run-%d", w.minted))
}

func (w *world) arrive(t *rapid.T) {
	w.enter(w.newClient(t, rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node"), rapid.SampledFrom([]int{1, 1, 1, 2, 3, 0}).Draw(t, "key")))
}

func (w *world) enter(c *client) {
	w.nodes[c.node].Arrive(c.Caller)
	w.take(c.node, nil)
}

// share has a caller share the answer of another that is not closed yet.
func (w *world) share(t *rapid.T) {
	first := pick(t, w.clients, func(c *client) bool {
		return c.key != 0 && c.shares() && !c.closed && !c.left && c.answered == 0 && w.nodes[c.node].callers[c.Ticket] != nil
	})
	b := w.newClient(t, first.node, first.key)
	b.Snapshot.Trigger.InFlight = run.InFlightShare
	first.sharers = append(first.sharers, b)
}

func (c *client) shares() bool {
	p := c.Snapshot.Trigger.InFlight
	return p == "" || p == run.InFlightShare
}

func (w *world) newClient(t *rapid.T, node, key int) *client {
	trigger := run.Trigger{
		Organisation: "org", Environment: "env", Task: "task",
		Payload: []byte(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "payload")),
		KeyTTL:  rapid.SampledFrom([]time.Duration{0, time.Second, 4 * time.Second}).Draw(t, "ttl"),
	}
	if key != 0 {
		trigger.IdempotencyKey = fmt.Sprint("key", key)
		trigger.InFlight = rapid.SampledFrom([]run.InFlight{"", "", run.InFlightWait, run.InFlightConflict}).Draw(t, "in flight")
		trigger.RequestKey = rapid.SampledFrom([]string{"", "", "q1", "q2"}).Draw(t, "request")
	}
	k := trigger.Key()
	var hash run.Hash
	if key != 0 {
		hash = k.Hash()
	}
	s := run.NewSnapshot(run.ID{}, k, hash, trigger)
	c := &client{
		node: node, key: key,
		poison: rapid.IntRange(0, 9).Draw(t, "poison") == 0,
		Caller: Caller[int]{
			Ticket: len(w.clients), Snapshot: &s, Claims: key != keyCount-1, Arrived: w.now.Time(),
		},
	}
	w.step++
	c.arrived = w.step
	w.clients = append(w.clients, c)
	w.owners[&s] = c
	return c
}

func (w *world) leave(t *rapid.T) {
	c := pick(t, w.clients, func(c *client) bool { return !c.left && c.answered == 0 && w.nodes[c.node].callers[c.Ticket] != nil })
	w.nodes[c.node].Leave(c.Ticket)
	c.left, w.strayed = true, true
	w.take(c.node, nil)
	w.again(c)
}

// again has those who shared with a caller come by themselves.
func (w *world) again(c *client) {
	sharers := c.sharers
	c.sharers = nil
	for _, b := range sharers {
		w.enter(b)
	}
}

// pick draws one of those that are fit; if there is none, the action is skipped.
func pick[E any](t *rapid.T, list []E, fit func(E) bool) E {
	var of []int
	for i, e := range list {
		if fit(e) {
			of = append(of, i)
		}
	}
	if len(of) == 0 {
		t.Skip("nothing to pick")
	}
	return list[of[rapid.IntRange(0, len(of)-1).Draw(t, "pick")]]
}

func (w *world) executeAny(t *rapid.T) {
	w.execute(pick(t, w.wire, func(s *sent) bool { return s.landed == 0 }))
}

func (w *world) goOn(t *rapid.T) { w.finish(pick(t, w.wire, func(*sent) bool { return true })) }

func (w *world) finish(s *sent) {
	if s.landed == 0 {
		w.execute(s)
	}
	if slices.Contains(w.wire, s) {
		w.deliver(s)
	}
}

func (w *world) execute(s *sent) {
	w.step++
	s.landed = w.step
	w.gate.heard = w.now // what Redis replies tells its time
	k := w.keys[s.Hash]
	switch s.Verb {
	case Claim:
		s.claim = w.claim(s.Request)
		// A node must not wait for a claim that it made itself and still stands by.
		if s.claim.State == Pending && w.nodes[s.node].current(s.Ref, claiming) != nil {
			owner := w.flightOf[k.token]
			if owner[0] == uint64(s.node) && !w.given[k.token] {
				w.Fatalf("node %d waits for its own claim: flight %d for flight %d", s.node, s.Ref.Flight, owner[1])
			}
		}
	case Publish:
		s.publish = w.stores.publish(s.Request)
	case Release:
		w.release(s.Request)
	case Renew:
		w.renew(s.Request)
	case Landed:
		w.landed(s.Run)
	case Settle:
		s.settle = w.settle(*s.snapshot, !s.snapshot.Key.IsZero(), s.owner.poison)
	case CheckHolder:
		s.check = w.stores.check(s.Request)
	case Look:
		s.look = w.stores.look(s.Request)
	case Accept:
		s.accept = w.stores.accept(s.Request, *s.snapshot, w.gate.full)
	}
	if w.broken != "" {
		w.Fatalf("%s", w.broken)
	}
	for _, h := range w.wakes {
		for n := range w.wakesTo {
			w.wakesTo[n] = append(w.wakesTo[n], h)
		}
	}
	w.wakes = nil
	if s.Verb == Release || s.Verb == Renew || s.Verb == Landed || s.lost {
		w.gone(s)
	}
}

func (w *world) gone(s *sent) {
	i := slices.Index(w.wire, s)
	w.wire = slices.Delete(w.wire, i, i+1)
}

func (w *world) deliverAny(t *rapid.T) {
	w.deliver(pick(t, w.wire, func(s *sent) bool { return s.landed != 0 }))
}

func (w *world) deliver(s *sent) {
	w.gone(s)
	w.past = append(w.past, s)
	c := s.owner
	waits := c != nil && !c.left && c.answered == 0
	w.hand(s)
	w.take(s.node, s)
	if s.Verb == Accept && s.accept.State == Accepted && waits && !slices.Contains(w.fresh[s.snapshot.ID], c) {
		w.Fatalf("caller %d was not told that its run is new", c.Ticket)
	}
	if waits && s.settle.Created && !slices.Contains(w.fresh[s.settle.Holder.ID], c) {
		w.Fatalf("caller %d was not told that its run is new", c.Ticket)
	}
}

func (w *world) hand(s *sent) {
	table, now := w.nodes[s.node], w.now.Time()
	w.step++
	switch s.Verb {
	case Look:
		table.Looked(now, s.Ref, s.look)
	case Accept:
		if s.accept.Err == nil && s.accept.State == Accepted {
			w.settled[s.snapshot.ID] = true
		}
		table.AcceptAnswered(now, s.Ref, s.accept)
	case Claim:
		table.Claimed(now, s.Ref, s.claim)
	case Publish:
		table.Published(s.Ref, s.publish)
	case Settle:
		if s.settle.Created {
			w.settled[s.snapshot.ID] = true
		}
		w.strayed = w.strayed || s.settle.Rejected
		table.Settled(now, s.Ref, s.settle)
	case CheckHolder:
		table.Checked(s.Ref, s.check)
	}
}

// deliverAgain hands over a reply for a second time: nothing may come of it.
func (w *world) deliverAgain(t *rapid.T) {
	s := pick(t, w.past, func(*sent) bool { return true })
	w.hand(s)
	if requests, answers := w.nodes[s.node].Take(); len(requests)+len(answers) > 0 {
		w.Fatalf("a stale reply left %v and %v", requests, answers)
	}
}

// lose answers a request with an error; it was never sent, or has been
// executed, or will be yet.
func (w *world) lose(t *rapid.T) {
	s := pick(t, w.wire, func(s *sent) bool { return !s.lost && s.Verb != Landed })
	fate := rapid.SampledFrom([]string{"not sent", "executed", "late"}).Draw(t, "fate")
	if s.landed != 0 {
		fate = "executed"
	}
	if fate == "executed" && s.landed == 0 {
		w.execute(s)
	}
	reply := *s
	unknown := fate != "not sent" || rapid.Bool().Draw(t, "nobody knows")
	switch s.Verb {
	case Claim:
		reply.claim = ClaimReply{Err: errStore, MaybeClaimed: unknown}
		w.given[s.Token] = w.given[s.Token] || fate == "late" // it may land when it is no longer reckoned with
	case Publish:
		reply.publish = PublishReply{Err: errStore}
	case Settle:
		reply.settle = SettleReply{Err: errStore, Unknown: unknown}
		w.unsure[s.snapshot.ID] = true
		w.unsettled[s.Token] = w.unsettled[s.Token] || unknown
	case CheckHolder:
		reply.check = CheckReply{Err: errStore}
	case Look:
		reply.look = LookReply{Err: errStore}
	case Accept:
		reply.accept = AcceptReply{Err: errStore}
		w.unsettled[s.Token], w.unsure[s.snapshot.ID] = true, true
		w.given[s.Token] = true
	case Release, Renew:
		if slices.Contains(w.wire, s) {
			w.gone(s)
		}
		return
	}
	if fate == "late" {
		s.lost = true
	} else {
		w.gone(s)
	}
	w.past = append(w.past, &reply)
	w.hand(&reply)
	w.take(s.node, &reply)
}

func (w *world) failFlight(t *rapid.T) {
	c := pick(t, w.clients, func(c *client) bool { return !c.left && c.answered == 0 && w.nodes[c.node].callers[c.Ticket] != nil })
	table := w.nodes[c.node]
	f := table.callers[c.Ticket]
	w.given[f.token] = true
	if rapid.Bool().Draw(t, "by ref") {
		table.Fail(f.Ref, errPanicked)
	} else {
		table.FailCaller(c.Ticket, errPanicked)
	}
	if c.take(w); c.answered == 0 {
		w.Fatalf("a failed flight left caller %d alone", c.Ticket)
	}
}

func (c *client) take(w *world) { w.take(c.node, nil) }

// randomGate is what the model's nodes are told by their gate.
type randomGate struct {
	w                    *world
	mollify, blind, full bool
	divert               bool
	heard                run.Instant
	counted              map[*run.Snapshot]int
}

func (g *randomGate) Peek(*run.Snapshot) bool { return g.mollify }

func (g *randomGate) Decide(s *run.Snapshot) bool {
	g.counted[s]++
	return g.mollify
}

func (g *randomGate) Count(s *run.Snapshot) { g.counted[s]++ }
func (g *randomGate) Blind() bool           { return g.blind }

func (g *randomGate) Diverts(*run.Snapshot) bool { return g.divert }

func (g *randomGate) Since() (Moment, bool) {
	return Moment{At: g.heard, Epoch: "e"}, g.heard != 0 && g.w.now-g.heard < 300_000
}

func (w *world) flipGate(t *rapid.T) {
	w.gate.mollify = !w.gate.mollify
	w.gate.full = rapid.IntRange(0, 9).Draw(t, "full") == 0
}

// buffered are the runs that are on their way to Postgres, oldest first.
func (w *world) buffered() []*modelRun {
	var list []*modelRun
	for _, m := range w.byID {
		if m.entry != 0 && m.entry != 'm' {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *modelRun) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return list
}

func (w *world) drainAny(t *rapid.T) {
	w.goOnDrain(pick(t, w.buffered(), func(*modelRun) bool { return true }))
	if w.broken != "" {
		w.Fatalf("%s", w.broken)
	}
}

// leaseOut returns a run whose drainer is gone; it may be in Postgres.
func (w *world) leaseOut(t *rapid.T) {
	pick(t, w.buffered(), func(m *modelRun) bool { return m.entry == 'l' }).entry = 'r'
}

// rest drains the buffer: then every run that a caller was told of is in
// Postgres, and whoever is new was counted.
func (w *world) rest() {
	for list := w.buffered(); len(list) > 0; list = w.buffered() {
		w.goOnDrain(list[0])
	}
	for id := range w.told {
		if !w.byID[id].inPostgres {
			w.Fatalf("%s was answered, and never came to Postgres", id)
		}
	}
	for s, n := range w.gate.counted {
		if n > 1 {
			w.Fatalf("caller %d was counted %d times", w.owners[s].Ticket, n)
		}
	}
	if w.faults || w.strayed {
		return
	}
	for s, c := range w.owners {
		if m := w.byID[s.ID]; m != nil && c.Claims && w.gate.counted[s] != 1 {
			w.Fatalf("caller %d made %s and was counted %d times", c.Ticket, m.ID, w.gate.counted[s])
		}
	}
}

func (w *world) wakeAny(t *rapid.T) {
	n := rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")
	if len(w.wakesTo[n]) == 0 {
		t.Skip("no wake-up")
	}
	h := w.wakesTo[n][0]
	w.wakesTo[n] = w.wakesTo[n][1:]
	if w.faults && rapid.Bool().Draw(t, "lost") {
		return
	}
	w.nodes[n].Wake(h)
	w.take(n, nil)
}

func (w *world) passTime(t *rapid.T) {
	w.now += run.Instant(rapid.SampledFrom([]int{1, 1000, 300_000, 2_000_000, 6_000_000}).Draw(t, "us"))
}

func (w *world) tickAny(t *rapid.T) { w.tick(rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")) }

func (w *world) tick(n int) {
	w.step++
	for _, f := range w.nodes[n].flights {
		// A token that is forgotten because its time is up may be met again for
		// as long as its claim's reply was under way.
		if f.state == idle && !w.now.Time().Before(f.wakeAt) {
			w.given[f.token] = true
		}
	}
	w.nodes[n].Tick(w.now.Time())
	w.take(n, nil)
}

func (w *world) key(t *rapid.T) run.Hash {
	return hashOf(fmt.Sprint("key", rapid.IntRange(1, keyCount-1).Draw(t, "key")), run.KindIdempotency)
}

// reset takes the next step of a reset: the cut, the slot, then the claim.
func (w *world) reset(t *rapid.T) {
	if len(w.resets) == 0 || rapid.IntRange(0, 3).Draw(t, "another") == 0 {
		w.beginReset(w.key(t))
		return
	}
	w.goOnReset(w.resets[rapid.IntRange(0, len(w.resets)-1).Draw(t, "which")])
}

func (w *world) resetAtOnce(t *rapid.T) {
	r := w.beginReset(w.key(t))
	w.goOnReset(r)
	w.goOnReset(r)
}

func (w *world) beginReset(h run.Hash) *resetting {
	w.step++
	cut, k := w.now, w.record(h)
	if k.state == 'f' {
		cut = max(cut, k.acc)
	} else {
		cut = max(cut, k.acc+1)
	}
	r := &resetting{hash: h, cut: cut}
	w.resets = append(w.resets, r)
	return r
}

func (w *world) goOnReset(r *resetting) {
	w.step++
	if !r.begun {
		r.begun = true
		if sl := w.slot(r.hash); sl.holder != nil {
			r.cut = max(r.cut, sl.holder.AcceptedAt+1)
		}
		r.run = w.clear(r.hash, r.cut)
		w.slot(r.hash).cut = max(w.slot(r.hash).cut, r.cut)
		return
	}
	w.cut(r.hash, r.cut)
	for _, h := range w.wakes {
		for n := range w.wakesTo {
			w.wakesTo[n] = append(w.wakesTo[n], h)
		}
	}
	w.wakes = nil
	if r.run != nil && r.run.reset == 0 {
		r.run.reset = w.step
	}
	w.resets = slices.DeleteFunc(w.resets, func(x *resetting) bool { return x == r })
}

func (w *world) failRun(t *rapid.T) {
	w.step++
	if h := w.key(t); w.slot(h).holder != nil && w.slot(h).holder.ended == 0 {
		w.clear(h, w.now)
	}
}

// take carries out what the table has left; cause is the reply that it took.
func (w *world) take(node int, cause *sent) {
	requests, answers := w.nodes[node].Take()
	w.step++
	for _, r := range requests {
		w.post(node, r)
	}
	var again []*client
	for _, a := range slices.Clone(answers) {
		w.answer(node, cause, a)
		c := w.clients[a.Ticket]
		if a.Alone {
			again = append(again, c)
			continue
		}
		for _, b := range c.sharers {
			shared := Answer[int]{Ticket: b.Ticket, Err: a.Err}
			if a.Err == nil {
				shared.Result = a.Shared(b.Snapshot.Key.Kind, b.Snapshot.PayloadHash, b.Snapshot.RequestHash)
			}
			w.answer(node, cause, shared)
		}
		c.sharers = nil
	}
	for _, c := range again {
		w.again(c)
	}
}

func (w *world) post(node int, r Request) {
	s := &sent{Request: r, node: node, at: w.step}
	w.calls++
	if r.Verb != Release && r.Verb != Renew && r.Verb != Landed {
		k := sentKey{node, r.Ref}
		if w.posted[k] != nil {
			w.Fatalf("two requests under one ref: %v and %v", w.posted[k].Verb, r.Verb)
		}
		w.posted[k] = s
	}
	switch r.Verb {
	case Claim:
		if of, ok := w.flightOf[r.Token]; ok && of != [2]uint64{uint64(node), r.Ref.Flight} {
			w.Fatalf("flight %d claims with the token of %v", r.Ref.Flight, of)
		}
		w.flightOf[r.Token] = [2]uint64{uint64(node), r.Ref.Flight}
	case Release:
		if w.unsettled[r.Token] {
			w.Fatalf("released although a write may still land: flight %d", r.Ref.Flight)
		}
		w.given[r.Token] = true
	case Settle, Accept:
		if w.settled[r.Snapshot.ID] {
			w.Fatalf("%s posted after it was written", r.Snapshot.ID)
		}
		snapshot := *r.Snapshot
		s.snapshot, s.owner = &snapshot, w.owners[r.Snapshot]
		w.leads(s)
	}
	w.wire = append(w.wire, s)
}

// drain lets everything come to its end: nothing fails any more.
func (w *world) drain() {
	w.gate.blind, w.gate.full = false, false
	for round := 0; ; round++ {
		for len(w.wire) > 0 {
			w.finish(w.wire[0])
		}
		busy := false
		for n, t := range w.nodes {
			busy = busy || t.Timed() || len(t.flights) > 0
			w.tick(n)
		}
		if !busy && len(w.wire) == 0 {
			break
		}
		if round > 100 {
			w.Fatalf("the tables do not come to rest")
		}
		w.now += 400_000
	}
	w.check()
	for n, t := range w.nodes {
		if len(t.flights)+len(t.keys)+len(t.timed)+len(t.callers)+t.Flights() > 0 {
			w.Fatalf("node %d: the table is not empty", n)
		}
	}
	w.rest()
	for _, c := range w.clients {
		if c.answered == 0 && !c.left {
			w.Fatalf("caller %d was never answered", c.Ticket)
		}
	}
	if !w.faults {
		for h, k := range w.keys {
			if k.state == 'p' {
				w.Fatalf("a claim on %s was left behind", h)
			}
		}
	}
}
