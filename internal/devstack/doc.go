//go:build unix

// Package devstack runs private Redis and Postgres servers as child processes:
// for a node that was given no store addresses, for the tests, and for the
// benchmarks.
//
// It owns a data folder: the servers' files, their logs, their passwords, a lock
// that keeps two nodes out of one folder, and stack.json, which tells scripts
// where everything listens.
//
// It promises that a server it reports as started answers; that servers listen
// on loopback only and ask for a password; that what was written before a Stop,
// or before the node was killed, is there after the next Start; and that a
// server left behind by a killed process is taken over, never in the way.
//
// It refuses to install anything, to gain privileges, or to know what is stored
// in the servers: schemas and keys belong to the packages above.
package devstack
