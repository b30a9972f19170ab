// Command chaos drives a deployment from outside while it breaks it, and judges
// what came back.
//
//	make chaos                          # until it is interrupted, or -runs
//	make test-chaos-short               # one run of each of the main faults
//	bin/chaos -only redis-kill -runs 20 # one nemesis
//	bin/chaos -seed 17 -runs 1          # a run again, as far as a seed can do it
//	bin/chaos -base bin/node-base       # upgrades and rollbacks instead of faults
//	make soak DURATION=30m              # rounds on one cluster: does anything grow? (package soak)
//
// It starts several nodes as processes, a Redis and a Postgres of their own, with a
// link between each node and each store (package cluster). Clients trigger with and
// without keys, in trickles and in bursts that trip the gate; they read, list,
// cancel, tag, count in metadata and reset, each through a random node; workers take
// runs and fail some of them (package load). Nemeses break something and mend it, one
// or two at a time (package nemesis). Then everything is mended, the buffer drains, and
// the history of what was asked and answered is judged (package history).
//
// With -base the nodes begin as another build of the program. In the middle of the
// traffic one node after the other becomes -node, then the other again, then -node for
// good, so that both builds work side by side in both directions; scripts/test-upgrade.sh
// builds the base from a commit.
//
// A run is void, and counts for nothing, unless enough was done before the fault. A
// run that breaks a promise keeps its evidence in the folder that its line names: the
// history, the nodes' logs, the stores' folders, a picture of each key that is at
// fault, the seed.
package main
