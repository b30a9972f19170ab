// Package peers is what somebody would run instead of an engine: the contestants
// that it is compared with. It is a module of its own, so that the product has
// none of their libraries.
//
// Each gets what it needs to do well: its own pool sizes, auto-pipelining where
// its client has it, prepared statements. None is made to do more than it would
// do in somebody's program.
package peers
