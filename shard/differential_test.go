package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"pgregory.net/rapid"

	"github.com/e0ff5a15/mollifier/buffer"
	"github.com/e0ff5a15/mollifier/claim"
	"github.com/e0ff5a15/mollifier/internal/devstack/stacktest"
	"github.com/e0ff5a15/mollifier/redisdb"
	"github.com/e0ff5a15/mollifier/run"
)

func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }

// TestModelIsRedis gives the model of the claim store and of the buffer, on which
// TestRandom stands, and the real scripts the same random calls. States, runs and
// records must be the same; instants are Redis's, and the model's are set to them.
// It leaves out what the model has not: bounds, announcements, batches (see
// claim.TestTwin and buffer.TestTwin), and Postgres.
func TestModelIsRedis(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Redis(t)
	db, err := redisdb.New(redisdb.Config{URL: url, Prefix: prefix, Partitions: 1, Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	claims, err := claim.New(db, claim.Config{TTL: claim.MaxTTL})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := buffer.New(db, buffer.Config{Fence: buffer.Grace/4 - time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opt.Protocol = 2
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	raw := redis.NewClient(opt)
	t.Cleanup(func() { _ = raw.Close() })
	minted := 0
	rapid.Check(t, func(rt *rapid.T) {
		if names := raw.Keys(t.Context(), prefix+":{*").Val(); len(names) > 0 {
			raw.Del(t.Context(), names...)
		}
		d := &differential{
			T: rt, t: t, stores: newStores(claim.MaxTTL), claims: claims, buffer: entries, raw: raw, db: db, prefix: prefix, minted: &minted,
			snaps: map[run.ID]*run.Snapshot{},
		}
		d.tick()
		rt.Repeat(map[string]func(*rapid.T){
			"claim": d.tryClaim, "claim more": d.tryClaim, "publish": d.tryPublish, "release": d.tryRelease, "renew": d.tryRenew,
			"accept": d.tryAccept, "accept more": d.tryAccept, "landed": d.tryLanded, "cut": d.tryCut,
			"lease": d.tryLease, "lapse": d.tryLapse, "ack": d.tryAck, "claim runs out": d.runOut, "grow old": d.growOld,
			"": func(*rapid.T) { d.compare() },
		})
	})
}

type differential struct {
	*rapid.T
	*stores
	t      *testing.T
	claims *claim.Store
	buffer *buffer.Store
	raw    *redis.Client
	db     *redisdb.DB
	prefix string
	minted *int
	snaps  map[run.ID]*run.Snapshot // of the runs of the model
}

// tick sets the model's clock to Redis's.
func (d *differential) tick() {
	if r := d.db.Run(d.t.Context(), []redisdb.Call{redisdb.ClockCall()})[0]; r.Err != nil {
		d.Fatal(r.Err)
	}
	d.now, _, d.epoch = d.db.LastTime()
	d.step++
}

func (d *differential) snap(t *rapid.T) *run.Snapshot {
	trigger := run.Trigger{
		Organisation: "org", Environment: "env", Task: "task", Payload: []byte("x"),
		IdempotencyKey: rapid.SampledFrom([]string{"a", "a", "b"}).Draw(t, "key"), KeyTTL: time.Hour,
	}
	if rapid.IntRange(0, 4).Draw(t, "short") == 0 {
		trigger.KeyTTL = time.Microsecond
	}
	k := trigger.Key()
	*d.minted++
	s := run.NewSnapshot(run.MintID(time.UnixMilli(1_800_000_000_000+int64(*d.minted)), 0), k, k.Hash(), trigger)
	return &s
}

func (d *differential) request(t *rapid.T, v Verb) Request {
	s := d.snap(t)
	return Request{Verb: v, Hash: s.Hash, Token: Token{byte(rapid.IntRange(1, 3).Draw(t, "token"))}, Environment: "env"}
}

func (d *differential) op(v claim.Verb, r Request) claim.Op {
	return claim.Op{Verb: v, Hash: r.Hash, Token: claim.Token(r.Token), Observed: r.Observed, Floor: r.Floor}
}

func (d *differential) do(op claim.Op) claim.Reply {
	d.tick()
	reply := d.claims.Do(d.t.Context(), []claim.Op{op})[0]
	if reply.Err != nil {
		d.Fatal(reply.Err)
	}
	return reply
}

// ofKey are the model's runs of a key, in order.
func (d *differential) ofKey(h run.Hash) []*modelRun {
	var list []*modelRun
	for _, m := range d.byID {
		if m.hash == h {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *modelRun) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return list
}

func (d *differential) someOf(t *rapid.T, h run.Hash) *modelRun {
	list := d.ofKey(h)
	if len(list) == 0 || rapid.Bool().Draw(t, "none") {
		return nil
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(t, "which")]
}

func (d *differential) tryClaim(t *rapid.T) {
	r := d.request(t, Claim)
	if m := d.someOf(t, r.Hash); m != nil {
		r.Observed = m.ID
	}
	if rapid.IntRange(0, 4).Draw(t, "floored") == 0 {
		r.Floor = d.record(r.Hash).acc + 1
	}
	got := d.do(d.op(claim.Claim, r))
	k := *d.record(r.Hash)
	want := d.stores.claim(r)
	states := map[ClaimState]claim.State{Claimed: claim.Claimed, Pending: claim.Pending, Resolved: claim.Resolved, Bound: claim.Bound}
	if got.State != states[want.State] || got.Run != want.Holder.ID || got.Queued != want.Queued {
		d.Fatalf("claim: %+v, the model says %+v", got, want)
	}
	if want.State != Claimed {
		return
	}
	if k.state == 'p' && k.token == r.Token && k.acc >= r.Floor && got.AcceptedAt != k.acc {
		d.Fatalf("claimed again at %d, was %d", got.AcceptedAt, k.acc)
	}
	if got.AcceptedAt < k.acc || got.AcceptedAt < r.Floor {
		d.Fatalf("claimed at %d, the least is %d and %d", got.AcceptedAt, k.acc, r.Floor)
	}
	d.record(r.Hash).acc = got.AcceptedAt
}

// tryPublish publishes a new run, or one that is there.
func (d *differential) tryPublish(t *rapid.T) {
	r := d.request(t, Publish)
	m := d.someOf(t, r.Hash)
	if r.Found = m != nil; m == nil {
		s := d.snap(t)
		s.Hash = r.Hash
		m = d.insert(*s, d.now)
		m.inPostgres, d.snaps[m.ID] = true, s
	}
	r.Holder = m.Holder
	op := d.op(claim.Publish, r)
	op.Run, op.AcceptedAt, op.Until, op.Found = m.ID, m.AcceptedAt, m.Until, r.Found
	d.done("publish", d.do(op), d.stores.publish(r).Done)
}

func (d *differential) done(what string, got claim.Reply, want bool) {
	if (got.State == claim.Done) != want {
		d.Fatalf("%s: %s, the model says done: %t", what, got.State, want)
	}
}

func (d *differential) tryRelease(t *rapid.T) {
	r := d.request(t, Release)
	k := d.record(r.Hash)
	want := k.state == 'p' && k.token == r.Token || d.real(r.Hash) != "" && k.state == 'f'
	got := d.do(d.op(claim.Release, r))
	d.release(r)
	d.done("release", got, want)
}

func (d *differential) tryRenew(t *rapid.T) {
	r := d.request(t, Renew)
	k := d.record(r.Hash)
	got := d.do(d.op(claim.Renew, r))
	d.renew(r)
	d.done("renew", got, k.state == 'p' && k.token == r.Token)
}

func (d *differential) tryAccept(t *rapid.T) {
	r := d.request(t, Accept)
	s := d.snap(t)
	r.Hash = s.Hash
	if m := d.someOf(t, s.Hash); m != nil && d.snaps[m.ID] != nil && rapid.IntRange(0, 2).Draw(t, "again") == 0 {
		s = d.snaps[m.ID]
	}
	r.Snapshot, r.Claimed = s, rapid.Bool().Draw(t, "claimed")
	d.tick()
	r.Since = Moment{At: d.now, Epoch: d.epoch}
	if rapid.IntRange(0, 3).Draw(t, "old") == 0 {
		r.Since.At -= 3_600_000_000
	}
	switch h := d.someOf(t, s.Hash); {
	case rapid.IntRange(0, 5).Draw(t, "blind") == 0:
		r.Seen.Skipped = true
	case h != nil && h.ID != s.ID:
		r.Seen = Seen{Found: true, Live: rapid.Bool().Draw(t, "live"), Holder: h.Holder}
	}
	r.Unsure = rapid.IntRange(0, 4).Draw(t, "unsure") == 0
	a := buffer.Acceptance{Snapshot: s, Since: r.Since.At, Epoch: r.Since.Epoch, CheckSkipped: r.Seen.Skipped, Unsure: r.Unsure}
	if r.Claimed {
		a.Token = r.Token
	}
	if r.Seen.Found {
		h := r.Seen.Holder
		a.Holder = buffer.Holder{ID: h.ID, AcceptedAt: h.AcceptedAt, Until: h.Until, Ended: !r.Seen.Live}
	}
	got := d.buffer.Accept(d.t.Context(), []buffer.Acceptance{a})[0]
	if got.Err != nil {
		d.Fatal(got.Err)
	}
	want := d.stores.accept(r, *s, false)
	states := map[buffer.State]AcceptState{
		buffer.AcceptedNew: Accepted, buffer.AlreadyThere: Accepted, buffer.BoundTo: AcceptBound, buffer.HeldBy: AcceptHeld,
		buffer.PendingForeign: AcceptWait, buffer.Resolved: AcceptMet, buffer.Stale: AcceptStale,
	}
	if states[got.State] != want.State || got.Run != want.Holder.ID || got.Queued != want.Queued {
		d.Fatalf("accept: %+v, the model says %+v", got, want)
	}
	if got.State == buffer.AcceptedNew {
		m := d.byID[s.ID]
		d.snaps[s.ID] = s
		m.AcceptedAt, m.Until = got.AcceptedAt, got.Until
		k := d.record(s.Hash)
		if got.AcceptedAt < k.acc-1_000_000 || got.AcceptedAt < r.Since.At {
			d.Fatalf("accepted at %d, the model says %d", got.AcceptedAt, k.acc)
		}
		k.acc, k.deadline = got.AcceptedAt, got.Until
	}
}

// entry is one of the model's runs that is in the buffer.
func (d *differential) entry(t *rapid.T, fit func(*modelRun) bool) *modelRun {
	var list []*modelRun
	for _, m := range d.byID {
		if m.entry != 0 && fit(m) {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *modelRun) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return pick(t, list, func(*modelRun) bool { return true })
}

func (d *differential) tryLanded(t *rapid.T) {
	m := d.entry(t, func(m *modelRun) bool { return m.entry != 'm' })
	if err := d.buffer.Landed(d.t.Context(), []buffer.Ref{{Environment: "env", ID: m.ID}})[0]; err != nil {
		d.Fatal(err)
	}
	d.landed(m.ID)
	m.told = 0 // here it was told once: an accept that comes later is not told anew
}

func (d *differential) tryLease(*rapid.T) {
	leases, err := d.buffer.Lease(d.t.Context(), 0, "env", 1, buffer.NewToken(), time.Hour)
	if err != nil {
		d.Fatal(err)
	}
	for _, l := range leases {
		m := d.byID[l.ID]
		if queued := l.Entry.Status == buffer.Queued; m == nil || queued != (m.entry == 'q') || m.entry == 'l' || m.entry == 'm' {
			d.Fatalf("leased %s, %s, the model has %+v", l.ID, l.Entry.Status, m)
		}
		m.entry = 'l'
	}
}

func (d *differential) tryLapse(*rapid.T) {
	name := d.db.Names().Leases(0)
	for _, member := range d.raw.ZRange(d.t.Context(), name, 0, -1).Val() {
		d.raw.ZAdd(d.t.Context(), name, redis.Z{Score: 1, Member: member})
	}
	if _, err := d.buffer.Reap(d.t.Context(), 0, 1000); err != nil {
		d.Fatal(err)
	}
	for _, m := range d.byID {
		if m.entry == 'l' {
			m.entry = 'r'
		}
	}
}

func (d *differential) tryAck(t *rapid.T) {
	m := d.entry(t, func(m *modelRun) bool { return m.entry == 'l' })
	if a := d.buffer.Ack(d.t.Context(), []buffer.Ack{{Ref: buffer.Ref{Environment: "env", ID: m.ID}}})[0]; !a.Done() {
		d.Fatalf("%+v", a)
	}
	m.inPostgres = true
	d.goOnDrain(m)
	m.gone += 3_600_000_000 // until it grows old
	if k := d.keys[m.hash]; k != nil && k.gone != 0 {
		k.gone += 3_600_000_000
	}
}

// runOut ends a claim under its owner.
func (d *differential) runOut(t *rapid.T) {
	r := d.request(t, Claim)
	k := d.record(r.Hash)
	if k.state != 'p' {
		t.Skip("no claim")
	}
	f := strings.Split(d.real(r.Hash), "|")
	f[4], k.deadline = "3", 3
	d.raw.Set(d.t.Context(), d.db.Names().Record(0, r.Hash), strings.Join(f, "|"), redis.KeepTTL)
}

// growOld ends the graces of what was acked.
func (d *differential) growOld(*rapid.T) {
	for id, m := range d.byID {
		if m.entry == 'm' {
			m.entry, m.gone = 0, 0
			d.raw.Del(d.t.Context(), d.db.Names().Entry(0, "env", id))
		}
	}
	for h, k := range d.keys {
		if k.gone != 0 {
			*k = record{state: 'f'}
			d.raw.Del(d.t.Context(), d.db.Names().Record(0, h))
		}
	}
}

func (d *differential) tryCut(t *rapid.T) {
	r := d.request(t, Claim)
	cut := max(d.record(r.Hash).acc, 5) + run.Instant(rapid.IntRange(-1, 1).Draw(t, "cut"))
	if _, err := d.claims.Reset(d.t.Context(), 0, r.Hash, cut); err != nil {
		d.Fatal(err)
	}
	d.cut(r.Hash, cut)
}

func (d *differential) real(h run.Hash) string {
	return d.raw.Get(d.t.Context(), d.db.Names().Record(0, h)).Val()
}

// compare holds the records, and the statuses of the entries, to the model's.
func (d *differential) compare() {
	for h := range d.keys {
		k, got := d.record(h), d.real(h)
		want := ""
		switch k.state {
		case 'p':
			want = fmt.Sprintf("1|p|%s|%d|", tokenOf(got), k.acc)
			if f := strings.Split(got, "|"); len(f) != 6 || strings.Contains(f[5], "c") != k.recheck || strings.Contains(f[5], "w") != k.waited {
				d.Fatalf("record %q, the model has recheck %t, waited %t", got, k.recheck, k.waited)
			}
		case 'r', 'b':
			want = fmt.Sprintf("1|%c|%s|%d|", k.state, k.run, k.acc)
		case 'f':
			if k.acc != 0 {
				want = fmt.Sprintf("1|f|%d", k.acc)
			}
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			d.Fatalf("record %q, the model has %q", got, want)
		}
	}
	for id, m := range d.byID {
		status := ""
		if text := d.raw.GetRange(d.t.Context(), d.db.Names().Entry(0, "env", id), 1, 1).Val(); text != "" {
			status = text
		}
		want := ""
		if m.entry != 0 {
			want = string(m.entry)
		}
		if status != want {
			d.Fatalf("%s is %q in the buffer, the model has %q", id, status, want)
		}
	}
}

// tokenOf is the token of a record; that it is the model's is shown by who may publish.
func tokenOf(record string) string {
	if f := strings.Split(record, "|"); len(f) > 2 {
		return f[2]
	}
	return ""
}
