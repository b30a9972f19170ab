// Package shard holds what a shard actor decides, and nothing that it does: the
// partition that a key belongs to, and the table of flights. It is a pure state
// machine: no I/O, no goroutines, no locks, no clock and no randomness of its
// own. Whoever drives a [Table] calls one method at a time and carries out the
// requests and answers that the call left behind.
//
// # Flights
//
// A flight is one passage of a key through the stores on this node. At most one
// flight of a key is under way, so a burst of one key reaches the stores as one.
// The first caller leads the flight: its snapshot is what may be created. The
// states, and the request that each has under way:
//
//	    ┌───────────── not held any more: claim again, replacing ────────────┐
//	    ▼                                                                    │
//	claiming ──resolved──▶ checking, bound and unsure──▶ confirming ─────────┤
//	 │ │ │ ▲ ╲                                        ▲  │                   ▼
//	 │ │ │ │  ╲─bound to a queued run──▶ answer       │  └─held, or still─▶ answer
//	 │ │ │ └─ woken, polled, late ── waiting          │    in the buffer
//	 │ │ └─── pending, somebody else's ──▶ ▲          │
//	 │ │                                   │          │
//	 │ └ours, mollified ──▶ looking ──▶ accepting ────┘ met, or bound and unsure
//	 │                      ▲    ▲         │ │  ▲
//	 │    no claim: Peek ───┘    │         │ │  └ blind: no look
//	 │                           │         │ └──accepted, held, bound to a queued run──▶ answer
//	 │ours, passed, or           │failed   │its reply was lost: the same id
//	 │nobody to ask              │         ▼
//	 └─────────────────────────▶ settling ──created, or held──▶ answer, then publishing ──▶ answer,
//	                                                                          or the next flight
//
// From settling a flight goes back to claiming when its acceptance is stale: a
// reset has cut above it, and the claim is gone or about to go. From accepting a
// flight also goes back to claiming (the fence has passed, or
// the buffer is full and the key was not claimed) and to waiting (another node's
// claim). Keys that make no claim (their organisation is not enrolled) start in
// settling and end with its answer; they never see the buffer. A trigger without
// a key is a flight of its own that only settles or only accepts, or does the one
// because the other failed.
//
// # The gate
//
// The gate decides when the claim is ours, and it counts then: once for a
// passage, however often it claims. If it says beforehand (Peek, which counts
// nothing) that the key would be mollified, the flight makes no claim at all: it
// looks into Postgres and accepts, fenced by an instant of Redis's clock that was
// received before the look. If the fence has passed, it claims after all. Without
// such an instant, or while a claim of our own may stand, it claims at once. What
// was created without a decision is counted when it has been created. What is
// created while the claim store can not be asked is not counted.
//
// # Who is answered from what
//
// A caller is answered only from a request that was posted after the caller
// arrived: completion order proves nothing. A flight therefore keeps two lists,
// the cohort (arrived before the request under way was posted) and the late.
// Posting the next request makes the late part of the cohort; an answer goes to
// the cohort alone; whoever is left when the flight ends starts the next one.
// These replies are answers, each true at an instant between the post and the
// reply:
//
//   - settled: the run was the live holder of the key's slot at commit. If the
//     snapshot had been sent to a store before, and the reply was lost, the run
//     may have been created then and be over: that is an answer to its own
//     caller, and everybody else goes on;
//   - checked: the run was still the holder when Postgres read it;
//   - published: the claim was still ours, hence no reset came between the
//     settle and the publish. (A run that its worker fails in that instant may
//     still be answered to a caller that came in that instant.) It is no answer
//     once the reply to a claim with this token was lost, for that claim may have
//     landed after the reset, nor after a settle that may be a repeat;
//   - accepted: the run is in the buffer and the key is bound to it. It is an
//     answer to its own caller alone if the run may have been settled before,
//     since it may be over there;
//   - held: Redis found no reset and no later run since Postgres was looked into,
//     and the holder's interval not over. (The same exception as for published.)
//   - bound to a queued run: nothing can have happened to it, since nobody has
//     taken it out of the buffer, and no node has been without Redis since its
//     acceptance, as far as this one has seen;
//   - confirmed: the run is bound, but it may be in Postgres, or it was accepted
//     when Postgres could not be asked, or before an outage of Redis was over, in
//     which another node may have settled its key. Postgres is looked into for both, the run
//     and the key. A holder whose interval the run's meets is the answer: the run
//     is another name of it, or is going to be. If that one has ended, or the run
//     has its row and not the slot, the key is claimed again, replacing the run.
//     Else the run is on its way to the slot; that Postgres does not know it shows
//     that it held the key when the buffer was asked, which is an answer only to
//     those who had come by then; so this look alone leaves the late late.
//
// So per key the answers are linearizable with resets and expiries, a burst
// that arrives while its claim and settle are under way costs three store calls
// (claim, settle, publish; mollified: look and accept, and a claim before them
// unless Peek said so), and exactly one answered caller is told that the run is
// new: the one whose snapshot was created.
//
// # When another trigger of the key is in flight
//
// A caller says what is to happen then ([run.InFlight]); no caller's wish changes
// what becomes of another.
//
//   - share, the default: all of the above.
//   - wait: the caller stands behind the passage that is under way. It is neither
//     answered nor failed with it, and joins the next one when that begins; so it
//     is answered from what was posted after it came, like everybody. It does not
//     wait for another's place either: if the leader has left and its snapshot was
//     not sent to a store, and nobody else is there to lead, those behind step in.
//     The wait budget is theirs too.
//   - conflict: the caller is refused where another trigger is on its way to a run
//     and has not found one: on arrival, while the passage is settling, looking,
//     accepting or waiting; in claiming, when the reply says which of these is
//     next. What has found a run (checking, confirming, publishing) is no conflict,
//     for the key has its run, and the caller is answered with it, late. Whoever
//     leads a passage is in nobody's way here, and is refused only where the claim
//     is another node's; but not if a store may have its snapshot, for a refusal
//     says that nothing was stored. A caller of the leader's own transport request
//     is the same call, and shares.
//
// So of callers that all ask for a conflict, and come to one node while nothing is
// known of the key, one leads and the others are refused, whichever store fails:
// the state that refuses is entered by the post that may make the run, and nobody
// is let in between. On two nodes the claim decides in the same way; where it can
// not be asked, both may lead, and Postgres's slot answers one of them the run of
// the other. What a refusal says of the payload it knows from the leader; of
// another node's trigger nothing is known but its claim. A transport retry that
// comes to another node than its first try, while that is under way, meets a
// foreign claim and is refused: it asked for that.
//
// # When a store is gone
//
// The claim store unreachable: the flight settles without a claim, and its
// answers are provisional; Postgres's slot decides. If a reset has reached
// Postgres by then and not yet the claim store, that makes a new run, and who
// asks the claim store is answered with the buffered one until the reset is
// complete. Nobody is told of two confirmed runs, and the slot keeps their
// intervals apart.
//
// A run that waited in the buffer then is not queued any more for who has seen the
// outage, or that the server was started anew: the key may have been given another
// run meanwhile, and that one may have ended. So Postgres is asked. Nodes come back
// one by one, so this goes for what is accepted until some seconds later. Who was not
// cut off, while another node was, does not know, and answers the buffered run until
// the drain has settled which of the two it is.
//
// Postgres known to be unreachable (Blind): nobody looks or checks. What Redis
// says of the key is the answer, and it is provisional. A look or a check that
// fails while Postgres is said to be there is repeated a few times, and refused
// then: that Postgres is slow is no reason to buffer a run whose key it may hold.
//
// What one store can not take, the other is asked for once, under the same id: a
// failed settle becomes a look and an accept (if diversion is on), a lost accept
// becomes a settle. Whichever of the two writes lands, or both, it is one run:
// the drain finds it in Postgres by its id. From the second write on the snapshot
// stays the flight's, even if its caller leaves. If both fail, the cohort has the
// error.
//
// A run that may be in both must not be answered from the buffer alone, for it may
// end in Postgres while its entry waits. An accept after a settle of unknown
// outcome says so (Unsure), and the entry is never one of which nothing can have
// happened. After a settle that follows a lost accept the table leaves a request
// (Landed) that its driver repeats until the buffer has it. What remains: the
// driver dies before that, and until the drain comes by, the key of a run that has
// ended is answered with it.
//
// A run that was accepted blind is provisional for its own caller, and for all
// others until Postgres has been looked into or the drain has settled it.
//
// # What a lost reply or a dead node leaves
//
// A settle that is refused for its own snapshot's sake costs its leader the error
// and the next caller leads. A write whose outcome is unknown, and that the other
// store could not make good, fails the cohort with a retryable error and
// never releases the claim, because the write may still land: the flight's token
// is kept until the claim has run out, so that a retry on this node re-enters
// its own claim instead of waiting for itself. So it is when nobody knows
// whether a run was published. A node that dies leaves a claim
// that expires, and at most a committed or buffered run that nobody was told of:
// the next trigger of the key finds it in the slot, or bound.
package shard
