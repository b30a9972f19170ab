// Package load is how every figure of this project is taken: a [Contestant] is
// something that takes triggers, a [Sample] is what a closed loop of callers met,
// and [Stores] are the servers that the contestants of one comparison share.
//
// It promises that all contestants are measured alike: the same loop, the same
// clock, the CPU of this process and of both servers taken over the same time. It
// knows nothing of what it measures.
//
// The loop is closed: each caller sends a trigger, waits for its answer, and sends
// the next. So latency is latency at the load that so many callers make.
package load
