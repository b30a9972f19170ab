// Package limits is what the stores can do alone: the contestants that no engine
// can beat, since each does a part of what an engine has to do, and nothing else.
//
// They use this project's own scripts and statements where those are the limit
// in question (an accept, a settlement), driven by as many goroutines as fill the
// machine and in batches of the size that the stores like best.
package limits
