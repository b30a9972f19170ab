package run

// ResetRequest names the idempotency key that is to be reset. Every field is required.
// It is a struct because four texts in a row are easily given in the wrong order, and
// some wrong order names another key.
type ResetRequest struct {
	Organisation, Environment, Task, IdempotencyKey string
}

// TakeRequest says which runs a worker takes.
type TakeRequest struct {
	// Most is how many at the most; at least 1.
	Most int
}
