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
//	      ┌────────────── not held any more: claim again, replacing ──────────┐
//	      ▼                                                                   │
//	  claiming ──resolved to a run──────────────────────────────────────▶ checking ──held──▶ answer
//	   │  │  ▲
//	   │  │  └─ woken, polled or past its deadline ── waiting (nothing under way)
//	   │  └──── pending, somebody else's ────────────▶
//	   │claimed, or the claim store can not be asked
//	   ▼
//	settling ──created, or held by a run──▶ answer, then publishing ──▶ answer, or the next flight
//
// Keys that make no claim (their organisation is not enrolled) start in
// settling and end with its answer. A trigger without a key is a flight of its
// own that only settles.
//
// # Who is answered from what
//
// A caller is answered only from a request that was posted after the caller
// arrived: completion order proves nothing. A flight therefore keeps two lists,
// the cohort (arrived before the request under way was posted) and the late.
// Posting the next request makes the late part of the cohort; an answer goes to
// the cohort alone; whoever is left when the flight ends starts the next one.
// Three replies are answers, each true at an instant between the post and the
// reply:
//
//   - settled: the run was the live holder of the key's slot at commit;
//   - checked: the run was still the holder when Postgres read it;
//   - published: the claim was still ours, hence no reset came between the
//     settle and the publish. (A run that its worker fails in that instant may
//     still be answered to a caller that came in that instant.) It is no answer
//     once the reply to a claim with this token was lost: that claim may have
//     landed after the reset.
//
// So per key the answers are linearizable with resets and expiries, a burst
// that arrives while its claim and settle are under way costs three store calls
// (claim, settle, publish), and exactly one answered caller is told that the
// run is new: the one whose snapshot was created.
//
// # What a lost reply or a dead node leaves
//
// The claim store unreachable: the flight settles without a claim, and its
// answers are provisional; Postgres's slot decides. A settle that is refused for
// its own snapshot's sake costs its leader the error and the next caller leads.
// A settle whose outcome is unknown fails the cohort with a retryable error and
// never releases the claim, because the write may still land: the flight's token
// is kept until the claim has run out, so that a retry on this node re-enters
// its own claim instead of waiting for itself. So it is when nobody knows
// whether a run was published. A node that dies leaves a claim
// that expires, and at most a committed run that nobody was told of: the next
// trigger of the key finds it in the slot.
package shard
