// Package gate decides for each trigger whether it passes to Postgres or is
// mollified. It owns the cascade of rules, the count of each environment's
// triggers in Redis, what a node knows of those counts, and the watch on how
// Postgres fares. It writes no runs, and no trigger ever waits for it.
//
// # The decision
//
// [Decide] is the cascade, a pure function: what bypasses the gate, then the
// switch, then enrolment, then an override, then the rate, then the pressure;
// the first match wins. What comes as far as the rate is counted, whatever
// becomes of it: a storm that is mollified still counts, and so holds the gate
// tripped. What does not come so far costs nothing: an organisation that is not
// enrolled causes no call to Redis and no memory, unless shadow mode is on.
//
// # An environment
//
//	         count > threshold: on this node at once,
//	         elsewhere with that node's next reading
//	passing ────────────────────────────────────────▶ tripped ──┐ every trigger over the
//	   ▲                                                │  ▲    │ threshold renews the hold
//	   └────────────── the hold has run out ────────────┘  └────┘
//
// The trigger that passes the threshold is the first to be mollified. While
// tripped, triggers within the threshold do not renew the hold, so it ends one
// hold after the storm has.
//
// # Who is authoritative
//
// Redis counts for the fleet, by its own clock, one record for each
// environment: "1|f|<held until>|<end of window>|<count>" for the fixed window,
// "1|g|<held until>|<at>|<level>" for GCRA; instants are microseconds of TIME,
// the level nanoseconds of draining. A record of another form is an error and
// is left as it is; the node then counts for itself. The record's TTL only
// collects garbage. What lies further ahead of TIME than the settings allow was
// left by a clock that stepped back, or by other settings, and is drawn in.
//
// A node decides from memory, by two counters that move by the same rules as
// the record, on the node's own clock; either may trip. One counts what this
// node has seen, and asks nobody. The other is what the fleet has counted: the
// last reading, and what this node has counted since. A reading is as old as it
// was on the way; taken as if it were new, it ends windows and holds a little
// later than Redis does, never earlier. What is on its way when a window ends
// may be counted by Redis in the next one, so the node carries it over.
// Therefore:
//
//   - one node is exact: while Redis answers in time, no more than the threshold
//     passes in any window, be it Redis's or the node's own, and what trips is
//     more than a threshold of triggers within a window and the time of two
//     calls. With GCRA, no more passes than the bucket lets through; triggers
//     that come to Redis together fill it as if they had come together, so it
//     trips as early as a batch makes it;
//   - each further node may let through what it has counted since its last
//     reading: one batch, for its next reading says what the others did.
//
// # Reporting
//
// [Gate.Report] is the only I/O: one round trip for all environments that have
// counted something, again as soon as the last has returned, without a timer. It
// brings a reading of Redis's clock along (see [redisdb.DB.LastTime]), so that an
// environment that trips is mollified from its first trigger on without claims.
// It has a budget of 50 ms, which nobody waits for. Counts whose call failed
// are never sent again, and Redis is then left alone for a pause, so a Redis
// that hangs is asked a few times a second whatever the load. Without Redis the
// gate of each node still holds, by its own counter. Counts so old that they would be taken for a burst of now are not
// sent either.
//
// # Pressure
//
// [Gate.Observe] is told of every call to Postgres. When, over a short window,
// too many are slow, wait for a connection, or fail, all environments are
// tripped, under the name of the signal; they are let go when the signal is
// below a second, lower watermark, and not before a dwell has passed. When
// nothing is observed for a window, nothing is known, and it lapses.
//
// # What a crash leaves
//
// Of a node: counts that were not reported are lost, at most one batch, and
// that much more passes. Of Redis: counts begin anew, and what nodes know of
// trips stays with them until the hold ends. Nothing has to be repaired; the
// gate is never what keeps a run from being created twice.
//
// # Errors
//
// Whatever fails in here, the trigger passes, unless this node's own count says
// otherwise. Memory is bounded: environments that say nothing any more are
// forgotten, and those that find no room are not counted and pass.
package gate
