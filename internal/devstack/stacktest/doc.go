//go:build unix

// Package stacktest gives tests real servers: one Redis and one Postgres shared
// by all test binaries of a `go test ./...`, where each test has a database and
// a key prefix of its own; and private servers for tests that stop, kill or
// freeze one.
//
// Test binaries are processes that run side by side. The first that needs the
// shared servers starts them; the others find and use them; the last one out
// stops them. Each holds a shared file lock while it lives, so that a killed
// process neither stops the servers under the others nor blocks the next run:
// what it leaves behind is used again, and cleaned up by the next run that
// finds itself alone.
//
// A package whose tests use it has one line of setup, which also stops the
// servers promptly and can check for leaked goroutines:
//
//	func TestMain(m *testing.M) { stacktest.Main(m, stacktest.NoLeaks()) }
//
// Without that line everything works too, but the servers are left running for
// the next run to find.
package stacktest
