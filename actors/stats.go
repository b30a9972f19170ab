package actors

import "sync/atomic"

// Stats counts what the shards have done since they started. Reading it is
// cheap and safe at any time; the counters are not read at one instant.
type Stats struct {
	Triggers    uint64 // admitted
	Refused     uint64 // over MaxCallers or MaxBytes
	Flights     uint64 // begun
	Claims      uint64 // claim requests posted
	Publishes   uint64
	Releases    uint64
	Settles     uint64 // snapshots posted to Postgres
	Checks      uint64 // holders checked in Postgres
	RedisCalls  uint64 // batches sent to Redis
	SettleCalls uint64 // batches sent to Postgres to settle
	CheckCalls  uint64 // batches sent to Postgres to check
	Looks       uint64 // keys looked up in Postgres before an accept
	LookCalls   uint64 // batches of them
	Accepts     uint64 // snapshots posted to the buffer
	AcceptCalls uint64 // batches sent to Redis to accept
	Mollified   uint64 // runs that the buffer accepted
	Diverted    uint64 // runs that one store could not take and the other was asked for
	Landed      uint64 // runs that were settled after the reply to their accept was lost
	FailOpen    uint64 // claims that Redis did not decide
	Panics      uint64 // recovered
	Waiting     int64  // callers that wait now
}

type counters struct {
	triggers, refused, claims, publishes, releases, settles, checks     atomic.Uint64
	redisCalls, settleCalls, checkCalls, failOpen, panics               atomic.Uint64
	looks, lookCalls, accepts, acceptCalls, mollified, diverted, landed atomic.Uint64
	callers, bytes                                                      atomic.Int64
}

func (c *counters) stats() Stats {
	return Stats{
		Triggers: c.triggers.Load(), Refused: c.refused.Load(),
		Claims: c.claims.Load(), Publishes: c.publishes.Load(), Releases: c.releases.Load(),
		Settles: c.settles.Load(), Checks: c.checks.Load(),
		RedisCalls: c.redisCalls.Load(), SettleCalls: c.settleCalls.Load(), CheckCalls: c.checkCalls.Load(),
		Looks: c.looks.Load(), LookCalls: c.lookCalls.Load(), Accepts: c.accepts.Load(), AcceptCalls: c.acceptCalls.Load(),
		Mollified: c.mollified.Load(), Diverted: c.diverted.Load(), Landed: c.landed.Load(),
		FailOpen: c.failOpen.Load(), Panics: c.panics.Load(), Waiting: c.callers.Load(),
	}
}
