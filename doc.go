// Package mollifier takes trigger storms in front of Postgres. An [Engine]
// turns a trigger into a run, so that the same key gives the same run id,
// whatever the store, the node or the moment, and nothing acknowledged is lost.
//
// Same-key triggers are serialised in memory by actor shards, claimed once in
// Redis across all nodes, and settled by one unique slot in Postgres, whose
// word is the last. Writes are group-committed: the cost of a trigger falls as
// load rises.
//
// The words used here (run, key, claim, flight, settle, slot) are explained in
// docs/concepts.md; the protocol between the stores in docs/protocol.md. The
// vocabulary types are in package run.
package mollifier
