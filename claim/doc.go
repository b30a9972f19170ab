// Package claim keeps, in Redis, the one owner that a key has across all nodes
// while its run is being created, and for a minute afterwards which run that
// was. It owns the record of a key and the scripts that move it; it knows
// nothing of Postgres, shards or flights, and of the buffer only what a record
// says about a buffered run.
//
// # The record
//
// A key has one string record. Its first byte is the version; fields are split
// by '|'; instants are microseconds of Redis's TIME in decimal digits.
//
//	1|p|<token>|<accepted at>|<deadline>|<flags>                         pending: claimed, the run is being created
//	1|r|<run>|<accepted at>|<until>|<payload digest>|<request digest>    resolved: this run holds the key
//	1|b|<run>|<accepted at>|<until>|<payload digest>|<request digest>|<environment tag>
//	                                                                     bound: this run, which is buffered, holds the key
//	1|f|<floor>                                                          free, but not before: the floor
//	(absent)                                                             free
//
// Flags are any of w (a waiter of another node is waiting) and c (recheck: a
// reset cut below this claim), or '-' for none.
//
//	                     claim (1)
//	   ┌──────────────────────────────────────────────────┐
//	   ▼                                                  │
//	┌─────────┐        publish, by the owner        ┌──────────┐
//	│ pending │ ──────────────────────────────────► │ resolved │
//	└─────────┘                                     └──────────┘
//	   ▲   │ release, by the owner                        │
//	   │   │ publish of a found run after a reset (2)     │ reset, acc < cut
//	   │   │ reset, acc < cut                             │
//	   │   ▼                                              │
//	   │ ┌───────┐                                        │
//	   ├─│ floor │ ◄──────────────────────────────────────┘
//	   │ └───────┘
//	   │     ▲ reset
//	   │ ┌────────┐
//	   └─│ absent │ ◄ any state, 60 s after nothing needs it (the record's Redis TTL)
//	claim└────────┘
//
//	pending stays pending: own claim or renew (the deadline moves), another's
//	claim (flag w), another's claim at or after the deadline (the owner
//	changes), reset with acc >= cut (flag c), own claim with a later floor (the
//	acceptance rises to it).
//	(1) TIME >= until, or the run is the one that the claimer observed.
//	(2) flag c is set and Op.Found too.
//
// Package buffer adds one state: accepting a run turns a claim, a floor, an
// absent or an ended record into bound, and bound becomes resolved when the run
// has reached Postgres, or a floor when it failed.
//
//	            accept                     ack
//	pending, floor, ───► bound ──────────────────────────────► resolved
//	absent               │  │
//	                     │  ├── claim: TIME >= until, the run is the observed
//	                     │  │   one, or its entry is gone ───► pending
//	                     │  └── fail; reset: acc < cut ──────► floor
//	                     └───── claim otherwise: answer [Bound]
//
// A bound record has no Redis TTL: it lives as long as the run's entry, whose
// name follows from the record's own name, the run and the environment's tag.
// An entry that is gone without the record having been told (lost, or removed
// by hand) does not hold the key: the next claim heals the record. To publish,
// release and renew a bound record is like a resolved one: somebody else's.
//
// A claim met pending with another token becomes the claimer's when TIME has
// reached the deadline; before that the answer is [Pending] and flag w is set.
//
// # Who is authoritative
//
// The script that runs is: it reads Redis's TIME, compares, and writes, in one
// step. No node clock takes part. The record's Redis TTL only collects
// garbage; it is never what ends a claim or an interval. A claim is over when
// TIME >= deadline, a resolved record when TIME >= until, and both are judged
// where they are written. The time to live of a customer's key therefore can
// not shorten a claim.
//
// Every claim's acceptance time is max(TIME, the record's acceptance time + 1,
// the record's floor). Records stay for 60 s beyond their claim, and longer by
// as much as they lie ahead of TIME (an hour at most), so acceptance times of
// one key rise strictly even where the clock of Redis steps back. Across a
// loss of Redis they rise because Postgres keeps a floor of its own.
//
// Redis is not authoritative about runs. A resolved record says which run held
// the key when it was published; that run may have failed since. Whoever reads
// one asks Postgres, and if the run no longer holds the key claims again with
// [Op.Observed] set: the key is taken only if the record still names that run,
// so of two who saw the same dead run one wins and the other waits.
//
// # How long local knowledge may be trusted
//
// [Claimed] is true until the deadline, that is for the claim's TTL from
// somewhere between sending the claim and its reply; a pipeline that lives
// renews at a third of it. After that, another node may own the key; nothing
// here stops a late owner from writing to Postgres, whose slot then decides.
// [Pending] is true for at most [Reply.Wait]; a wake-up may end it earlier and
// may be lost, so the waiter asks again at the latest when Wait has passed.
// [Resolved] is true at no time after the reply, nor is [Bound]; but a bound
// run that nobody had leased ([Reply.Queued]) held the key at the reply, since
// nothing but this Redis knew it. [Done] and [Lost] are final.
//
// # What a crash leaves behind
//
//   - before the claim is executed: nothing;
//   - after the claim, before publish: a pending record that ends at its
//     deadline; a claimer on any node takes it then;
//   - after publish or release: nothing unfinished;
//   - between the record's write and its announcement: not possible, one script
//     does both; but the announcement itself is not kept for a subscriber that
//     is away, hence Wait;
//   - a claim whose call timed out may be executed by Redis later, even after
//     the release that the node sent to be safe: it then stands until its
//     deadline, owned by nobody.
//
// # Why each script may be repeated
//
// The network may repeat a call, and a caller repeats it when the outcome is
// unknown. Claim and renew find their own token and answer as before, moving
// only the deadline, unless the claim demands a later acceptance than it has, or to be
// taken anew: then the last repetition counts. Publish finds the record resolved to its own run and
// answers [Done]; release finds a floor and answers [Done]. Reset only raises
// the floor, sets a flag, or shortens an interval to the same end. Nothing is counted, and nothing is appended.
//
// # Reset and pending claims
//
// A reset at cut ends what was accepted before cut. A pending claim with an
// earlier acceptance is deleted (its owner's publish answers [Lost]); a later
// one stays and gets flag c, because its owner may have looked into Postgres
// before the reset was there. Then publishing a run that the owner created
// succeeds, for it was accepted after the cut; publishing one that it merely
// found ([Op.Found]) deletes the claim instead and answers [Lost].
//
// Whom a reset has cleared, Postgres says if the run was there when the reset came
// there, and the record if it is bound. Between the two the run may have been drained:
// behind the tombstone its row is written with an interval that ends at the cut, and
// its ack makes the record resolved. A resolved record looks the same when its run
// ended before the reset, so it only names the candidate ([Cleared]), whose row tells.
// The record becomes the floor in the same step, so one reset has the candidate.
//
// Postgres may tell the owner of a claim from before the cut that it is stale,
// before the reset has come to Redis, or although it never will (it failed, and is
// to be repeated). The owner then claims with [Op.Floor], the cut: its own claim is
// taken anew from there on, and the rest of the reset finds a claim that came
// after the cut. A key that meanwhile is another's is answered as such.
//
// # What it refuses
//
// A record with an unknown version or state letter, or of another form, is an
// error for that item and is left as it is: never taken for an absent one. That
// is how a later state meets an older node, and Postgres decides then.
//
// All keys of a call carry the partition's hash tag. The scripts declare the
// records that they touch; the name of an entry is formed from the name of a
// declared record and what that record says, so it is of the same slot.
package claim
