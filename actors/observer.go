package actors

import "time"

// Observer is told what the shards do, once a batch and not once a trigger. Its
// methods are called by many goroutines at once, and return at once.
type Observer interface {
	// Batch is one batch of a writer ("claims", "settles", "debounces", "checks",
	// "looks", "accepts"), from its first call to a store until its shards have been sent
	// the replies.
	Batch(writer string, items int, took time.Duration)
	// Waited is a flight that waited for the claim of another node, from the reply
	// that said so to the one that said otherwise.
	Waited(d time.Duration)
}
