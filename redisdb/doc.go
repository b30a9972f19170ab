// Package redisdb is the connection to Redis, shared by all that is kept there.
// It owns how Redis is reached and when it is not asked (deadline, breaker), the
// running of scripts, what errors mean, the names of everything in Redis, and
// what a Redis must be to be used. It knows no record's form: what the names
// hold belongs to the packages that write it.
//
// # Scripts
//
// All that this module does in Redis it does in scripts, because every decision
// needs Redis's clock and the write in one step. [DB.Run] sends any number of
// calls in one round trip. Each call is atomic by itself; the round trip is not.
// A script that the server does not have (after a restart, a failover, SCRIPT
// FLUSH) was not executed, and its call alone is sent again with its text.
//
// No call is repeated otherwise. Who knows whether a repetition is harmless
// decides it, with [OutcomeUnknown].
//
// # Redis Cluster
//
// All keys of one call must be of one slot. The names of a partition carry the
// partition as their hash tag, those of an environment's gate the environment.
// A script may form a key that is not among its arguments only from one that
// is, keeping its tag, together with what it read in Redis. [DB.Cluster] says
// whether calls over several tags are allowed.
//
// The calls of a round trip go out to all servers at once. While a slot moves, a
// server answers MOVED, ASK or TRYAGAIN instead of executing a call, and the call
// follows. A script could also be refused in its middle, at a key of its own forming
// that has moved: one that writes has [Names.Absent] among its keys, and so is not
// executed at all while the slot is in two places. The record
// of a key and its entry move with what remains of their lives, and a grace is some
// thirty times the age that an accept's look may have, so the fence of an accept
// holds across a move: since is the least of what all servers told.
//
// A node that was sent elsewhere can not know what others made of the same: it
// counts as trouble ([DB.Unbroken]). So does a server that did not answer, for all
// partitions: which were its, others may know differently.
//
// # Redis's clock, as a node knows it
//
// Redis's clock is never compared with a node's. A node that wants to prove that
// little time has passed for Redis keeps an instant that Redis told it, and
// Redis compares that with its own TIME later. Such an instant means something
// only to the server process that told it: after a restart or a failover, data
// may have been lost and the clock may be another's. So scripts that take part
// read TIME and their server's run id in one execution and hand both over
// together (see [NewClockScript]); nothing is inferred from connections coming
// and going, because a pool's other connections may still lead elsewhere. A
// script can read its own run id with INFO, about 7 us once for a call, and
// compares it with the one that came with the instant.
//
// # What it refuses
//
// Opening refuses a Redis older than 7.0, one that may evict, and one that
// holds another partitioning. [DB.Examine] looks again. Each
// server has a breaker of its own.
package redisdb
