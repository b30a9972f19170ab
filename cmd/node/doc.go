// Command node serves Mollifier over HTTP.
//
// It owns what belongs to a process and to no library: flags and variables,
// signals, the private stores of a newcomer's first start, the order of start
// and stop, and the two listeners. It decides nothing about triggers.
//
// Without store addresses it runs a private Redis and Postgres in its data
// folder (internal/devstack) and seeds two environments, so that the first
// start can be tried with the curl it prints. With -redis and -postgres it uses
// those, and any number of nodes may share them.
//
// It promises that it answers only when triggers can be accepted, that the one
// ready line on standard output comes after that, and that on SIGINT or SIGTERM
// everything accepted is answered before it ends. When a private store dies while
// the node serves, both are started again on their addresses and with their data;
// if that fails the node ends with status 1, for whoever supervises it.
//
// It refuses to start with a flag, variable or configuration key that it does
// not know. API keys and store passwords are never logged.
//
// Exit status: 0 after an orderly stop, 1 for a failure, 2 for wrong usage.
package main
