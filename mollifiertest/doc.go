//go:build unix

// Package mollifiertest tests programs that embed the engine: on a real Redis and a
// real Postgres, with a database and a key prefix for each test, and with faults.
//
//	func TestMain(m *testing.M) { mollifiertest.Main(m) }
//
//	func TestOrders(t *testing.T) {
//		node := mollifiertest.Start(t)
//		...node.Trigger(t.Context(), ...)
//	}
//
// The servers are those of the machine (redis-server or valkey-server 7, Postgres 14
// or later, in PATH or where packages put them). The first test binary starts them,
// the last one stops them. Nothing has to be configured and nothing is left behind.
//
// There is no engine in memory. What a key promises is decided by scripts that run in
// Redis and by statements that run in Postgres, with its locks and its unique indexes;
// something else that gave the same answers in a test would be a second
// implementation of all that, and a test against it would prove the wrong one. A
// database and a prefix on servers that are there cost a test a fraction of a second.
//
// # Faults
//
// Each [Node] has a [link.Link] to each store: slow, silent, torn, refused. A reply
// that is lost is one of the things it can do, so what a caller sees of a commit that
// nobody heard of can be tested. [Node.Crash] leaves what a killed process leaves.
// Servers that can be killed themselves are made by [NewPrivate].
//
// # Time
//
// [Stores.Advance] moves Postgres's clock: delays become due, times to live pass. How
// long a key holds its run is measured by Redis's clock while Redis holds the key, and
// nobody can move that: end a key by Engine.Reset, or give it a short KeyTTL.
package mollifiertest
