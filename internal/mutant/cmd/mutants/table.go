package main

// mutant is a protection that a build can be without, and the tests that must notice.
type mutant struct {
	name  string // of the switch; says what is left out
	means string
	dir   string // of the package whose tests kill it
	tests string // pattern of these tests, as for go test -run
}

// table is all mutants, those of one package one after the other.
var table = []mutant{
	// The record of a key.
	{"deaf-to-own-claim", "a claim that is asked for again is another's", "claim", "^TestClaimOwnTokenAgain$"},
	{"replaces-unobserved", "whoever saw some run lose the key takes it, whichever run holds it now", "claim", "^(TestClaimResolved|TestTwin)$"},
	{"no-lookup-in-claim", "a claim does not look whether the key is bound to a buffered run", "claim", "^TestClaimBound$"},
	{"publish-without-token", "a late owner publishes over the next one's claim", "claim", "^TestLateOwner$"},
	{"publishes-what-it-found", "a claim that a reset has flagged publishes a run that it merely met", "claim", "^TestRecheck$"},
	{"release-without-token", "a late owner releases the next one's claim", "claim", "^TestLateOwner$"},
	{"keep-pending-claim", "a reset leaves a claim from before its cut", "claim", "^TestReset$"},
	{"reset-flags-no-claim", "a reset does not flag a claim from after its cut", "claim", "^TestRecheck$"},

	// The buffer.
	{"no-accept-fence", "a free key is accepted however long ago Postgres was asked", "buffer", "^TestFence$"},
	{"accepted-at-claim", "a run is accepted when its key was claimed", "buffer", "^TestAcceptedWhenAccepted$"},
	{"accepts-twice", "an accept does not see that the entry is there", "buffer", "^TestAcceptAgain$"},
	{"replay-restores-pointers", "what is restored binds its key again", "buffer", "^TestRestore$"},
	{"unfenced-requeue", "an entry is returned by who does not hold its lease", "buffer", "^(TestLateDrainer|TestTwin)$"},
	{"unfenced-fail", "an entry is taken away by who does not hold its lease", "buffer", "^(TestLateDrainer|TestTwin)$"},
	{"ack-drops-later-patches", "an ack does not see that the entry has changed", "buffer", "^TestPatchMeetsAck$"},
	{"ack-takes-foreign-record", "an ack resolves a key that is bound to another run", "buffer", "^TestAckLeavesAnothersRecord$"},
	{"no-grace", "the record of the key goes with the ack", "buffer", "^TestAck$"},
	{"patch-without-version", "a patch is added to another version than it was made from", "buffer", "^TestFiftyWriters$"},
	{"lease-takes-again", "a lease that is asked for again takes others", "buffer", "^(TestLostLease|TestTwin)$"},
	{"lapsed-lease-strands", "the reaper does not put an entry back into its queue", "buffer", "^(TestQueue|TestTwin)$"},

	// The slot.
	{"no-alias", "a buffered run whose key another run holds gets a row of its own", "runstore", "^TestAlias$"},
	{"no-tombstone", "a reset leaves the slot empty", "runstore", "^(TestResetOfNothing|TestResetMeetsAnInsertUnderWay)$"},
	{"no-cut", "a reset does not end the interval of the run that it ends", "runstore", "^TestResetClearsTheHolder$"},
	{"cut-below-what-merged", "a reset cuts where it was asked to, whatever the holder merged", "runstore", "^TestResetCutsBehindEverythingMerged$"},
	{"no-key-last", "a run does not remember what was merged into it", "runstore", "^TestAlias$"},
	{"stale-settle-is-raised", "a settle that a reset overtook is accepted behind the cut", "runstore", "^TestResetClearsTheHolder$"},
	{"takeover-below-the-floor", "a takeover keeps its acceptance where it lies before the end of its predecessor", "runstore", "^(TestTakeoverRaisesTheAcceptance|TestTakeoverByStatus)$"},
	{"expiry-by-node-clock", "a node's clock says whether a key has expired", "runstore", "^(TestTakeoverOfAnExpiredKey|TestSettleOneKey)$"},
	{"repeat-is-another-run", "a settle does not see that its run is there", "runstore", "^TestSettleOneKey$"},
	{"cancelled-becomes-alias", "a run that was cancelled becomes another's name", "runstore", "^TestCancelledDuplicate$"},
	{"patches-apply-again", "a row takes patches that it has", "runstore", "^TestReplayAppliesNewerPatches$"},

	// Flights.
	{"postgres-check-before-claim", "a claimed key is accepted on what Postgres said before the claim", "shard", "^(TestTranscripts|TestRandom)$"},
	{"second-id-for-one-trigger", "the other store is asked under another id", "shard", "^(TestTranscripts|TestRandom)$"},
	{"releases-an-unsettled-claim", "a claim is released while a write may land under it", "shard", "^(TestTranscripts|TestRandom)$"},
	{"unsure-accept-unsaid", "the buffer does not learn that its run may be in Postgres", "shard", "^(TestTranscripts|TestRandom)$"},
	{"answers-who-came-after", "a reply answers who came after its request was posted", "shard", "^(TestTranscripts|TestRandom)$"},
	{"stray-publish-answers", "a publish is an answer although its claim may have landed late", "shard", "^TestRandom$"},

	// The drain.
	{"outage-spends-attempts", "an outage of Postgres costs entries their attempts", "drain", "^TestOutageOfPostgresPauses$"},
	{"lost-lease-is-not-asked-for", "a lease whose reply was lost is left to its end", "drain", "^TestLostRepliesOfRedis$"},
	{"leases-are-not-renewed", "a lease runs out under a drainer that works", "drain", "^TestLeasesAreRenewed$"},
	{"failure-without-dead-letter", "a run that can not be stored leaves no bytes behind", "drain", "^TestPoisonInPostgres$"},
	{"drops-the-only-copy", "an entry goes although its failure could not be written", "drain", "^TestFailureThatCanNotBeWritten$"},

	// Reads and changes.
	{"hidden-is-not-found", "a run is not found although Redis was not heard", "fallback", "^(TestReadsWhileAStoreIsDown|TestReadsWhileAStoreFails)$"},
	{"no-last-look-at-postgres", "Postgres is not asked again after the buffer", "fallback", "^TestReadOfARunThatMoves$"},
	{"foreign-entry-is-shown", "an entry is shown without a look at whose it is", "fallback", "^TestOtherEnvironments$"},
	{"changes-without-the-row", "a leased run is changed without a look at its row", "fallback", "^(TestWorkedOnBeforeTheAck|TestNobodyCanTellWhereARunIs)$"},
	{"changes-past-the-buffer", "a row is changed although its entry can not be seen", "fallback", "^TestChangesWhileAStoreIsDown$"},

	// The gate.
	{"gate-opens-without-redis", "without Redis everything passes", "gate", "^TestWithoutRedisTheGateTrips$"},
	{"forgets-what-is-not-reported", "a reading takes the place of what came since it was asked for", "gate", "^(TestOneNodeIsExact|TestCounterIsTheModel)$"},
}
