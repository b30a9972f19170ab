// Package client talks to a node over HTTP: it triggers runs, reads, lists and
// changes them, and waits for them.
//
// It owns what a careful caller of the HTTP API does: one request key for a call,
// reused on each of its tries; pauses that grow, are spread, and give way to what the
// node asks for; connections that are used again. It promises that a call of
// [Client.Trigger] or [Client.Replay] makes at most one run, and one of
// [Client.TriggerBatch] at most one for each item, however often it is
// repeated and whichever answer is lost. It refuses to repeat what the node says can
// not succeed, and to wait longer than the caller's context or [Config.Patience].
//
// It knows nothing of the engine: a program that embeds the engine needs no client.
package client
