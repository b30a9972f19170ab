// Package mutant switches single protections of the protocol off, so that tests can
// be asked whether they would notice. In a normal build there is nothing to switch:
// [On] is a constant false that the compiler removes, and [Text] returns what it is
// given. A build with the tag mutants switches off the one protection that the
// environment variable MUTANT names.
//
// The name of a mutant says what is left out. Its switch is one line, at the place of
// the protection: in Go a condition with On("name"), in Lua and SQL a comment
//
//	code -- mutant name: other code
//
// which has the mutants build run the other code in place of the code that stands
// before it on its line. Nothing else may stand behind the mark.
//
// The table of mutants, with the tests that kill each, is in cmd/mutants, and its test
// holds table and switches to each other. `make mutants` tries them all.
package mutant
